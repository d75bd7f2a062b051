//! Cross-crate suites: conformance, faults, client interop.

pub mod broker;
pub mod client;
pub mod cluster;
pub mod compacted;
pub mod disk;
pub mod etcd;
pub mod events;
pub mod history;
pub mod load;
pub mod proxy;
pub mod published;
pub mod s3;
pub mod schedule;
pub mod trial;
pub mod workload;
