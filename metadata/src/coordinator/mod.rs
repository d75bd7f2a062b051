//! The group coordinator: classic consumer groups and their committed offsets.
//!
//! [`group`] holds the state machines, which know neither store nor clock; [`service`] gives them both;
//! `stored` is what the store keeps of them, [`keys`] under which names.

pub mod group;
pub mod keys;
pub mod service;
mod stored;

pub use group::*;
pub use service::{
    CoordinatorOptions, CoordinatorStats, GroupCoordinator, ListFilter, OpenError, Ownership,
    SoleOwner,
};
