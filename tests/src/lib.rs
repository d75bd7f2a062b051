//! Cross-crate suites: conformance, faults, client interop.

pub mod s3;
