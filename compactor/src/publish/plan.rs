//! What to publish next: pure.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::model::PartitionRecord;

use super::backlog::PendingSpan;

/// When a topic is worth publishing, and how much of it at a time.
#[derive(Debug, Clone)]
pub struct PublishLimits {
    /// Bytes of segments that wait: with so many, a topic is published at once.
    pub bytes_min: u64,
    /// How long anything waits: then its topic is published, however little there is.
    pub age_max: Duration,
    /// Bytes of segments that are published of a topic at a time; more waits for the next time. Bounds what a failure
    /// costs.
    pub bytes_max: u64,
}

/// What can be published of a partition.
#[derive(Debug, Clone)]
pub struct ReadyPartition {
    /// Which.
    pub tp: TopicPartition,
    /// First offset: where what is published ends, or the log start.
    pub from: Offset,
    /// The offset after the last.
    pub end: Offset,
    /// The segments that hold these offsets, in order. The first may begin before.
    pub spans: Vec<Arc<PendingSpan>>,
}

impl ReadyPartition {
    /// Bytes of its segments' blocks.
    pub fn stored_bytes(&self) -> u64 {
        self.spans.iter().map(|span| span.stored_bytes()).sum()
    }

    fn oldest_ms(&self) -> Option<TimestampMs> {
        self.spans.iter().map(|span| span.created_ms).min()
    }

    /// Leaves out the span that holds `offset`, and all behind.
    pub fn cut_before(&mut self, offset: Offset) {
        let kept = self
            .spans
            .partition_point(|pending| pending.span.next_offset <= offset);
        self.spans.truncate(kept);
        let last = self.spans.last();
        self.end = last.map_or(self.from, |last| last.span.next_offset);
    }
}

/// What follows what is published of a partition without a gap. `pending` are all committed spans that are known, in any
/// order; they count as far as the partition's record names them, in the order in which it does.
pub fn ready(
    tp: TopicPartition,
    record: &PartitionRecord,
    published_end: Offset,
    pending: &[Arc<PendingSpan>],
) -> ReadyPartition {
    let from = published_end.max(record.log_start);
    let place = |pending: &Arc<PendingSpan>| {
        let mut tail = record.tail.iter();
        let entry = tail.position(|entry| entry.names(pending.log, pending.seq))?;
        Some((entry, pending.seq))
    };
    let named = pending.iter().filter_map(|pending| {
        let place = place(pending)?;
        Some((place, pending))
    });
    let mut named: Vec<_> = named.collect();
    named.sort_unstable_by_key(|(place, _)| *place);
    let (mut end, mut spans) = (from, Vec::new());
    for (_, pending) in named {
        if pending.span.next_offset <= end {
            continue;
        }
        if pending.span.base_offset > end {
            // What lies between is not known yet.
            break;
        }
        end = pending.span.next_offset;
        spans.push(Arc::clone(pending));
    }
    ReadyPartition {
        tp,
        from,
        end,
        spans,
    }
}

/// What is to be published of one topic.
#[derive(Debug, Clone)]
pub struct TopicWork {
    /// Its partitions of which there is something, ascending.
    pub partitions: Vec<ReadyPartition>,
    /// Whether that is all that there was.
    pub is_all: bool,
    /// Bytes of segments of all that there was.
    pub waiting_bytes: u64,
}

impl TopicWork {
    /// What is ready of a topic, about `bytes_max` of it: the same share of each partition.
    pub fn of(mut ready: Vec<ReadyPartition>, bytes_max: u64) -> Self {
        ready.retain(|partition| !partition.spans.is_empty());
        ready.sort_unstable_by_key(|partition| partition.tp);
        let share = bytes_max / ready.len().max(1) as u64;
        let waiting_bytes = ready.iter().map(ReadyPartition::stored_bytes).sum();
        let mut is_all = true;
        for partition in &mut ready {
            let mut bytes = 0;
            let taken = partition.spans.iter().take_while(|pending| {
                let wanted = bytes < share.max(1);
                bytes += pending.stored_bytes();
                wanted
            });
            let taken = taken.count();
            if let Some(left) = partition.spans.get(taken) {
                is_all = false;
                let before = left.span.base_offset;
                partition.cut_before(before);
            }
        }
        Self {
            partitions: ready,
            is_all,
            waiting_bytes,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Bytes of segments.
    pub fn stored_bytes(&self) -> u64 {
        let partitions = self.partitions.iter();
        partitions.map(ReadyPartition::stored_bytes).sum()
    }

    /// When the oldest of its segments was made.
    pub fn oldest_ms(&self) -> Option<TimestampMs> {
        let partitions = self.partitions.iter();
        partitions.filter_map(ReadyPartition::oldest_ms).min()
    }

    /// Whether more waits than comes while as much as is worth it is published: then speed counts, and not how small the
    /// files get.
    pub fn is_behind(&self, limits: &PublishLimits) -> bool {
        self.waiting_bytes >= limits.bytes_min.saturating_mul(2)
    }

    /// Whether to publish it now.
    pub fn is_due(&self, limits: &PublishLimits, now_ms: TimestampMs) -> bool {
        let age_max = i64::try_from(limits.age_max.as_millis()).unwrap_or(i64::MAX);
        let is_old = |oldest: TimestampMs| now_ms.saturating_sub(oldest) >= age_max;
        self.waiting_bytes >= limits.bytes_min || self.oldest_ms().is_some_and(is_old)
    }
}
