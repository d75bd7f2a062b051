//! Who leads what, which offsets exist where; groups, topics, sessions.
//!
//! [`store`] is the seam: ordered keys with etcd's contract. Above it stand typed records ([`model`]) under keys
//! that only [`keys`] builds; [`session`] is a broker's fenced presence, [`commit_log`] makes segments part of the
//! log; [`controller`] decides who leads.

pub mod commit_log;
pub mod compaction;
pub mod controller;
pub mod coordinator;
pub mod drains;
pub mod fold;
pub mod history;
pub mod keys;
pub mod leadership;
pub mod leased_key;
pub mod leftovers;
pub mod model;
pub mod producer_ids;
pub mod session;
pub mod snapshot;
pub mod store;
pub mod topic_config;
pub mod topics;
pub mod value;
pub mod view;
