//! Reclaiming: what nothing needs any more is dropped from the metadata, and then deleted from the bucket.
//!
//! Two steps, always in this order. First a commit log's entries are **dropped** ([`log`]), when all that their segments
//! hold is published or deleted; from then on nobody who opens a partition comes to those segments. Then, after a
//! **grace** ([`graves`]) longer than any reader has a segment in hand, the objects are deleted.
//!
//! What a process that ends forgets of the second step, and what failed uploads leave, is found by looking through the
//! bucket ([`sweep`]): an object whose session is over, and that nothing names, is never named again (F2). The same holds of what
//! is no object yet: uploads in parts that nobody completed ([`uploads`]).

pub mod graves;
pub mod log;
mod needed;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod uploads;

pub use graves::{Graves, GravesMetrics};
pub use log::Reclaimer;
pub use needed::Needs;
pub use sweep::Sweeper;
pub use uploads::UploadSweeper;
