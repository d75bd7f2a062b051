//! The read path: log reads, Kafka fetch semantics.
//!
//! A [`log_reader::LogReader`] turns an offset into whole record batches, wherever they are: in the
//! tail, in the write-ahead log, in segments, in table files (`history`). On top of it stand Kafka's Fetch with its long polls
//! and sessions ([`fetch`]), ListOffsets ([`list_offsets`]) and OffsetForLeaderEpoch
//! ([`leader_epoch`]). Everything speaks in domain terms; the server translates to and from the wire.

pub mod error;
pub mod fetch;
pub mod guard;
mod history;
pub mod leader_epoch;
pub mod list_offsets;
pub mod log_reader;
pub mod metrics;
#[cfg(test)]
pub(crate) mod testing;

pub use error::ReadError;
pub use guard::LeaderGuard;
pub use log_reader::{Isolation, LogRead, LogReader, ReadRequest};
