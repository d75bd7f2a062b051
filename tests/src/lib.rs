//! Cross-crate suites: conformance, faults, client interop.
