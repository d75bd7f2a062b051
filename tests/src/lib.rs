//! Cross-crate suites: conformance, faults, client interop.

pub mod broker;
pub mod client;
pub mod etcd;
pub mod history;
pub mod proxy;
pub mod s3;
pub mod workload;
