//! What is committed and not published yet, found by following the commit logs of all sessions.
//!
//! Each entry's footer is read once, while this lives. A new backlog begins at the start of every log, whose entries are
//! dropped when all in them is published, so that this is bounded too.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::commit_log::{LogEntry, ReadCommitsError, read_commit_log};
use alluvium_metadata::fold::{LogId, commit_logs};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::{MetadataStore, StoreError};
use alluvium_segment::footer::PartitionSpan;
use alluvium_segment::segment_index::SegmentRef;
use object_store::ObjectStore;
use tracing::warn;

use crate::fold::{ReadError, commits_of};

/// Why a backlog could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    /// The logs could not be found.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why one log could not be followed. It is tried again, and keeps no other log from it.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Log(#[from] ReadCommitsError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Format(#[from] alluvium_segment::FormatError),
}

/// What a committed segment holds of one partition.
#[derive(Debug, Clone)]
pub struct PendingSpan {
    /// The log that names it.
    pub log: LogId,
    /// Its place there.
    pub seq: u64,
    /// The segment.
    pub segment: Arc<SegmentRef>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// What it holds.
    pub span: PartitionSpan,
}

impl PendingSpan {
    /// Bytes in the bucket.
    pub fn stored_bytes(&self) -> u64 {
        self.span.stored_bytes()
    }
}

/// Where to look.
pub struct Sources<'a> {
    /// Metadata.
    pub store: &'a dyn MetadataStore,
    /// Its keys.
    pub keys: &'a Keys,
    /// The bucket.
    pub objects: &'a dyn ObjectStore,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Backlog {
    /// How many blocks it should have at most, and how many it may have now.
    bound: usize,
    blocks_max: usize,
    next: BTreeMap<LogId, u64>,
    spans: BTreeMap<TopicPartition, Vec<Arc<PendingSpan>>>,
    blocks: usize,
}

impl Backlog {
    /// Nothing is known. At about `blocks_max` blocks no more is taken in.
    pub fn new(blocks_max: usize) -> Self {
        Self {
            bound: blocks_max,
            blocks_max,
            next: BTreeMap::new(),
            spans: BTreeMap::new(),
            blocks: 0,
        }
    }

    /// Takes in what was committed since the last time, of partitions of which `wanted` says which offsets are to be
    /// published; `None`: not wanted. Logs that cannot be read are left for the next time and counted.
    ///
    /// # Errors
    /// The metadata store fails.
    pub async fn follow(
        &mut self,
        from: &Sources<'_>,
        wanted: &(dyn Fn(TopicPartition) -> Option<Range<Offset>> + Sync),
    ) -> Result<usize, BacklogError> {
        let logs = commit_logs(from.store, from.keys).await?;
        self.next.retain(|log, _| logs.contains(log));
        let mut failed = 0;
        for log in logs {
            if self.is_full() {
                break;
            }
            if let Err(error) = self.follow_log(from, log, wanted).await {
                failed += 1;
                warn!(broker_id = %log.broker_id, broker_epoch = %log.broker_epoch, %error, "a commit log cannot be followed; what it holds is not published yet");
            }
        }
        Ok(failed)
    }

    async fn follow_log(
        &mut self,
        from: &Sources<'_>,
        log: LogId,
        wanted: &(dyn Fn(TopicPartition) -> Option<Range<Offset>> + Sync),
    ) -> Result<(), FollowError> {
        let first = self.next.get(&log).copied().unwrap_or(0);
        let LogId {
            broker_id,
            broker_epoch,
        } = log;
        let entries = read_commit_log(from.store, from.keys, broker_id, broker_epoch, first);
        for entry in entries.await? {
            if self.is_full() {
                return Ok(());
            }
            self.take(from, log, &entry, wanted).await?;
            self.next.insert(log, entry.last_seq() + 1);
        }
        Ok(())
    }

    async fn take(
        &mut self,
        from: &Sources<'_>,
        log: LogId,
        entry: &LogEntry,
        wanted: &(dyn Fn(TopicPartition) -> Option<Range<Offset>> + Sync),
    ) -> Result<(), FollowError> {
        let first = self.next.get(&log).copied().unwrap_or(0);
        let commits = commits_of(from.objects, entry).await?;
        let new = (entry.first_seq()..).zip(commits);
        // A fold may begin before what is known.
        for (seq, commit) in new.filter(|(seq, _)| *seq >= first) {
            let footer = commit.decode_footer()?;
            let segment = Arc::new(SegmentRef {
                object_key: commit.object_key,
                size_bytes: commit.size_bytes,
            });
            for span in footer.partitions {
                if wanted(span.tp).is_some_and(|wanted| has_any_of(&span, &wanted)) {
                    self.add(PendingSpan {
                        log,
                        seq,
                        segment: Arc::clone(&segment),
                        created_ms: footer.header.created_ms,
                        span,
                    });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, pending: PendingSpan) {
        self.blocks += pending.span.blocks.len();
        let spans = self.spans.entry(pending.span.tp).or_default();
        spans.push(Arc::new(pending));
    }

    /// There is so much that no more is taken in until some of it is published.
    pub fn is_full(&self) -> bool {
        self.blocks >= self.blocks_max
    }

    /// What it is full of cannot be published, as what comes before it is in a log that was not read so far: more is taken
    /// in, until there is as little again as there should be.
    pub fn widen(&mut self) {
        self.blocks_max = self.blocks + self.bound;
    }

    /// The topics of which there is something.
    pub fn topics(&self) -> Vec<TopicId> {
        let mut topics: Vec<_> = self.spans.keys().map(|tp| tp.topic_id).collect();
        topics.dedup();
        topics
    }

    /// What there is of a topic, by partition.
    pub fn of(
        &self,
        topic_id: TopicId,
    ) -> impl Iterator<Item = (TopicPartition, &[Arc<PendingSpan>])> {
        let all = self.spans.range(TopicPartition::new(topic_id, FIRST)..);
        let of_topic = all.take_while(move |(tp, _)| tp.topic_id == topic_id);
        of_topic.map(|(tp, spans)| (*tp, spans.as_slice()))
    }

    /// Bytes of segments that hold something of a partition that is not published.
    pub fn stored_bytes(&self, tp: TopicPartition) -> u64 {
        let spans = self.spans.get(&tp).into_iter().flatten();
        spans.map(|pending| pending.stored_bytes()).sum()
    }

    /// Forgets what need not be published any more: of each partition all but the offsets that `needed` gives, or all for
    /// `None`.
    pub fn forget(&mut self, needed: impl Fn(TopicPartition) -> Option<Range<Offset>>) {
        self.spans.retain(|tp, spans| {
            match needed(*tp) {
                Some(needed) => spans.retain(|pending| has_any_of(&pending.span, &needed)),
                None => spans.clear(),
            }
            !spans.is_empty()
        });
        let all = self.spans.values().flatten();
        self.blocks = all.map(|pending| pending.span.blocks.len()).sum();
        if self.blocks < self.bound {
            self.blocks_max = self.bound;
        }
    }
}

fn has_any_of(span: &PartitionSpan, offsets: &Range<Offset>) -> bool {
    span.next_offset > offsets.start && span.base_offset < offsets.end
}

const FIRST: alluvium_common::topic::PartitionIndex = alluvium_common::topic::PartitionIndex(0);
