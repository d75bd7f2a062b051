//! Leaves of manifests: what keeps a topic's manifest small however much of it is kept.
//!
//! A manifest is written anew for everything that is published, joined or let go of. So it lists recent table files only;
//! when it has enough of older ones, these go to a **leaf**, which is written once (`plan` says which). The leaf is put
//! before the manifest that names it, and both count by the same compare-and-set; until then it is garbage.
//!
//! Files in a leaf are not joined any more. Retention lets go of whole leaves, and writes the oldest one anew without
//! what is below the log start. Key compaction writes all files of a topic anew, time and again: what is compacted stays
//! in one level, and a topic that becomes compacted gets its files back from its leaves before it is cleaned.

mod plan;
mod read;
#[cfg(test)]
mod tests;

pub use plan::{LeafLimits, NEW_LEAVES_MAX, OutOfOrder, leaving};
pub use read::{Leaves, read_leaf};
