//! Figures against Apache Kafka.
fn main() {}
