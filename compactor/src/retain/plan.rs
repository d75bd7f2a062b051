//! Where the log of a partition shall start: pure.

use std::sync::Arc;

use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::{Holder, Leaf, LeafEntry, Manifest, RootSpan, SpanEntry};

/// How much of a partition is kept. What is over any limit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Records are kept this long after their timestamp (`retention.ms`); `None`: for ever.
    pub ms: Option<i64>,
    /// So many bytes of it are kept (`retention.bytes`); `None`: all.
    pub bytes: Option<u64>,
}

/// A partition of which too much may be kept.
pub struct Kept<'a> {
    /// What is published of its topic.
    pub manifest: &'a Manifest,
    /// Which.
    pub partition: PartitionIndex,
    /// Where its log begins now.
    pub from: Offset,
    /// Bytes of its segments, which count and are kept.
    pub unpublished_bytes: u64,
}

/// Where a log shall start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogStart {
    /// Here: where it starts now, if nothing is to go.
    At(Offset),
    /// That depends on what this leaf of the manifest lists.
    In(Arc<LeafEntry>),
}

impl Kept<'_> {
    /// Where the log shall start. `leaf` gives what is known of leaves.
    ///
    /// As in Kafka, what goes is a whole part of the log, here what one table file holds of it: when the youngest of its
    /// records is too old, or when without it there is still enough. A record without a timestamp is never too old.
    pub fn log_start(
        &self,
        leaf: impl Fn(&LeafEntry) -> Option<Arc<Leaf>>,
        limits: &RetentionLimits,
        now_ms: TimestampMs,
    ) -> LogStart {
        let known = |entry: &Arc<LeafEntry>| leaf(entry).ok_or_else(|| Arc::clone(entry));
        match self.walk(known, limits, now_ms) {
            Ok(start) => LogStart::At(start),
            Err(unknown) => LogStart::In(unknown),
        }
    }

    /// The error is a leaf that has to be known.
    fn walk(
        &self,
        leaf: impl Fn(&Arc<LeafEntry>) -> Result<Arc<Leaf>, Arc<LeafEntry>>,
        limits: &RetentionLimits,
        now_ms: TimestampMs,
    ) -> Result<Offset, Arc<LeafEntry>> {
        let mut walk = Walk {
            limits,
            now_ms,
            left: self.unpublished_bytes,
            start: self.from,
        };
        for found in self.spans() {
            let stored_bytes = match found.holder {
                Holder::Leaf(entry) if self.is_cut(&found) => {
                    let leaf = leaf(entry)?;
                    let within = leaf.spans_from(self.partition, self.from);
                    within.map(|found| found.stored_bytes()).sum()
                }
                _ => found.stored_bytes(),
            };
            walk.left = walk.left.saturating_add(stored_bytes);
        }
        for found in self.spans() {
            let goes_on = match found.holder {
                Holder::Table(_) => walk.table(found.span, found.stored_bytes()),
                Holder::Leaf(_) if walk.none_goes(found.span) => false,
                Holder::Leaf(_) if !self.is_cut(&found) && walk.all_go(&found) => {
                    walk.let_go(found.span, found.stored_bytes());
                    true
                }
                Holder::Leaf(entry) => leaf(entry)?
                    .spans_from(self.partition, self.from)
                    .all(|found| walk.table(found.span, found.stored_bytes())),
            };
            if !goes_on {
                break;
            }
        }
        Ok(walk.start)
    }

    fn spans(&self) -> impl Iterator<Item = RootSpan<'_>> {
        self.manifest.spans_from(self.partition, self.from)
    }

    /// Whether some of a leaf's files lie below the log start.
    fn is_cut(&self, found: &RootSpan<'_>) -> bool {
        found.span.base_offset < self.from
    }
}

/// Goes through a log from its start on.
struct Walk<'a> {
    limits: &'a RetentionLimits,
    now_ms: TimestampMs,
    /// Bytes from here on.
    left: u64,
    start: Offset,
}

impl Walk<'_> {
    /// Whether a file's share goes, and the next may, too.
    fn table(&mut self, span: &SpanEntry, stored_bytes: u64) -> bool {
        let youngest = span.max_timestamp;
        let is_old = youngest >= 0 && self.is_old(youngest);
        let goes = is_old || self.is_surplus(stored_bytes);
        if goes {
            self.let_go(span, stored_bytes);
        }
        goes
    }

    /// Whether all of a leaf goes, whatever the files in it: each is old, or each is too much.
    fn all_go(&self, found: &RootSpan<'_>) -> bool {
        let (oldest, youngest) = (found.span.min_timestamp, found.span.max_timestamp);
        let are_old = oldest >= 0 && self.is_old(youngest);
        are_old || self.is_surplus(found.stored_bytes())
    }

    /// Whether no file of a leaf goes, whatever they are: each is young, and there is not too much.
    fn none_goes(&self, span: &SpanEntry) -> bool {
        !self.is_old(span.min_timestamp) && !self.is_surplus(0)
    }

    fn is_old(&self, timestamp: TimestampMs) -> bool {
        let age = self.now_ms.saturating_sub(timestamp);
        self.limits.ms.is_some_and(|ms| age > ms)
    }

    /// Whether there is enough without so many bytes.
    fn is_surplus(&self, stored_bytes: u64) -> bool {
        let behind = self.left.saturating_sub(stored_bytes);
        self.limits.bytes.is_some_and(|bytes| behind >= bytes)
    }

    fn let_go(&mut self, span: &SpanEntry, stored_bytes: u64) {
        self.left = self.left.saturating_sub(stored_bytes);
        self.start = self.start.max(span.next_offset);
    }
}
