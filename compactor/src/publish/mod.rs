//! Publishing: committed records become Parquet table files, and a topic's manifest says so.
//!
//! Nouns: the **backlog** is what is committed and not published, found by following commit logs. A **topic's work** is
//! what of it follows what is published without a gap, up to a limit. A **step** is as much as is in memory at a time.
//!
//! Flow of a round (`publisher`), for the topics of the shards that this process has claimed:
//! 1. `find`, `backlog`: new commits, a footer each.
//! 2. `due`, `plan`: which topics are worth it: because much waits, or because something waits long, or because somebody
//!    asked.
//! 3. For each (`topic`): blocks are read (`fetch`), opened and written as rows (`write`), and put while that goes on
//!    (`crate::tables`). Files have new names, and are garbage until a manifest names them.
//! 4. The next manifest (`manifests`) is put, and made to count by one compare-and-set, which also compares session and
//!    claim. Of two that publish one topic the later one fails, and its files are garbage.
//!
//! Then, as long as nothing more is due, a compacted topic is cleaned ([`crate::clean`]), or small files are joined.
//!
//! A process that dies at any point has changed nothing or all; whoever comes next begins with what counts. What is
//! published is what is committed: below the high watermark, and, as long as there are no transactions, below the last
//! stable offset.

mod backlog;
mod bounds;
mod clean;
mod dissolve;
mod due;
mod error;
mod fetch;
mod find;
mod join;
mod manifests;
mod metrics;
mod plan;
mod publisher;
mod retain;
mod shards;
mod steps;
#[cfg(test)]
mod tests;
mod topic;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::rand::SharedRandom;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::MetadataStore;
use alluvium_metadata::view::ClusterView;
use alluvium_table::TableOptions;
use object_store::ObjectStore;

use crate::clean::CleanOptions;
use crate::leaves::LeafLimits;
use crate::pace::{Pace, PacedObjects};
use crate::reclaim::Graves;
pub use error::PublishError;
pub use metrics::PublishMetrics;
pub use plan::PublishLimits;
pub use publisher::Publisher;

/// What publishing works with.
#[derive(Clone)]
pub struct PublishSeams {
    /// Metadata.
    pub store: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
    /// The session on whose behalf.
    pub session: Arc<Session>,
    /// The picture of the cluster.
    pub view: Arc<ClusterView>,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// How fast what is published, cleaned and joined is read from it and written to it.
    pub pace: Arc<Pace>,
    /// Where what nothing names any more goes.
    pub graves: Arc<Graves>,
    /// For dates and ages.
    pub clock: SharedClock,
    /// For names.
    pub random: SharedRandom,
    /// What is counted.
    pub metrics: PublishMetrics,
}

impl PublishOptions {
    /// How table files are written when speed counts.
    fn hasty_table(&self) -> TableOptions {
        TableOptions {
            zstd_level: self.zstd_level_behind,
            ..self.table.clone()
        }
    }
}

impl PublishSeams {
    /// The bucket, for what is read and written by the mebibyte.
    fn paced(&self) -> PacedObjects {
        PacedObjects {
            objects: Arc::clone(&self.objects),
            pace: Arc::clone(&self.pace),
        }
    }
}

/// How to publish.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// When, and how much at a time.
    pub limits: PublishLimits,
    /// Size at which a table file ends.
    pub table_bytes: u64,
    /// How table files are written.
    pub table: TableOptions,
    /// Their Zstandard level instead where more waits than can be published soon, and where they are written anew again and
    /// again.
    pub zstd_level_behind: i32,
    /// Broker-wide settings of topics.
    pub topic_defaults: BTreeMap<String, String>,
    /// Producers that are silent for longer are forgotten, in milliseconds.
    pub producers_expire_ms: i64,
    /// How compacted topics are cleaned.
    pub clean: CleanOptions,
    /// When a topic's manifest gets leaves.
    pub leaves: LeafLimits,
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Topics that were published further.
    pub published: usize,
    /// Topics that could not be, and logs that could not be followed.
    pub failed: usize,
    /// There is more that is due.
    pub more: bool,
}
