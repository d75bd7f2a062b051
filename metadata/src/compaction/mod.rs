//! Compaction as the cluster agrees on it: who compacts which topics, and how far each is published.
//!
//! Topics are divided into [`COMPACTION_SHARDS`] shards, which the processes that compact divide among themselves: each
//! takes those that [`shards_of`] gives it, by creating the shard's claim. The revision that created a claim is its
//! epoch, which is compared by whatever its holder writes, so that of two that compact one topic the later one counts.
//! What keeps a topic's history right is not that, but the comparison of the manifest that is replaced.

mod claims;
mod publication;
mod shard;
#[cfg(test)]
mod tests;

pub use claims::{Claims, shards_of};
pub use publication::{Advance, Advanced, PublicationWriter, ReadPublishedError, RequestError};
pub use shard::{COMPACTION_SHARDS, CompactionShard};
