//! The store in a real etcd: the suite that every store passes, and what only a store behind a network can meet.

mod broker;
mod conformance;
mod failover;
mod lost_replies;
mod proxied;
mod security;
mod space;
mod watches;
