//! Tests of the state machines, by subject, over one small harness.

mod admin;
mod harness;
mod join;
mod leave;
mod many_members;
mod offsets;
mod random;
mod reload;
mod sessions;
mod static_members;
mod sync;
