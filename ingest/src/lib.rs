//! The write path: WAL, batching, upload, commit, acknowledge.
//!
//! | Module | Duty |
//! |---|---|
//! | [`validate`] | what a produce request may contain |
//! | [`producer_state`] | duplicates and gaps of idempotent producers |
//! | [`partition`] | the leader's state: offsets, durable prefix, high watermark |
//! | `open_segment`, [`seal`] | batches of all partitions, and when they become an object |
//! | [`upload`] | encoding and PUT, in parallel |
//! | `commit`, `publish` | in order; then readers and producers learn of it |
//! | [`ack`] | producers that wait |
//! | [`backpressure`] | the byte budget |
//! | [`wal`] | the write-ahead log of class `local` |
//! | [`pipeline`] | joins the stages |
//! | [`recovery`] | finds again, at start-up, what the log holds |

pub mod ack;
pub mod backpressure;
mod commit;
mod durable_prefix;
pub mod error;
pub mod metrics;
mod open_segment;
pub mod partition;
pub mod pipeline;
pub mod producer_state;
mod publish;
pub mod recovery;
pub mod seal;
pub mod seams;
mod stages;
mod token_bucket;
pub mod upload;
pub mod validate;
pub mod wal;
