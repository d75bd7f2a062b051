//! Generates the protocol's messages.
fn main() {}
