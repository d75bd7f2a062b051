//! Memory and disk in front of the object store; the tail that ingest leaves for readers.
//!
//! A partition's log, as a broker that serves it sees it, is a [`log::PartitionLog`]: the newest
//! batches in memory ([`tail::PartitionTail`]), and an index of the segments that hold all older
//! ones. The write path appends to the tail, moves the high watermark, adds committed segments to the
//! index and then tells the tail what is uploaded. The read path asks the tail first, and the index
//! for what is [`tail::TailRead::Below`] it.

pub mod budget;
pub mod log;
pub mod metrics;
pub mod segment_cache;
pub mod tail;
