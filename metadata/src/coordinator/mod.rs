//! The group coordinator: classic consumer groups and their committed offsets.
//!
//! [`group`] holds the state machines, which know neither store nor clock.

pub mod group;
