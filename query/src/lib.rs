//! The read path: log reads, Kafka fetch semantics.
