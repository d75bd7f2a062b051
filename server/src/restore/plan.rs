//! What to write, from what the bucket tells: pure.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{EpochStart, PartitionRecord, TailEntry, TopicRecord};
use alluvium_metadata::value;
use alluvium_segment::fold_object::FoldedCommit;
use alluvium_segment::footer::PartitionSpan;
use anyhow::Context;
use bytes::Bytes;
use uuid::Uuid;

use super::RESTORED_BROKER;
use super::chain::{Span, extend};
use super::order::{Named, Ordered, order};
use super::scan::{Found, Segment};

/// Producer ids that are skipped beyond the largest seen: those that brokers had taken and not used, or used without
/// the bucket knowing.
const PRODUCER_IDS_SKIPPED: i64 = 1_000_000;

/// Folders of keys that are not copied from the snapshot as they are: they are rewritten, or are of no use to other
/// sessions.
const NOT_COPIED: [&[u8]; 5] = [
    b"commits/",
    b"partitions/",
    b"topics/",
    b"cluster",
    b"coordinators/",
];
/// The key in which a group coordinator says who writes.
const WRITER: &[u8] = b"/writer";

/// A partition as it will be.
#[derive(Debug, Clone)]
pub struct RestoredPartition {
    /// Which.
    pub tp: TopicPartition,
    /// Name of its topic.
    pub topic: TopicName,
    /// Its record.
    pub record: PartitionRecord,
    /// The offset after the last that is restored.
    pub end: i64,
    /// The same as of the snapshot.
    pub end_at_snapshot: i64,
}

/// What a restore will write.
#[derive(Debug)]
pub struct Plan {
    /// Identity of the cluster; `None`: the bucket does not say it, and it gets a new one.
    pub cluster_id: Option<Uuid>,
    /// When the snapshot was made; `None`: there is none.
    pub snapshot_ms: Option<i64>,
    /// Topics.
    pub topics: Vec<TopicRecord>,
    /// Partitions, by topic and number.
    pub partitions: Vec<RestoredPartition>,
    /// Commit logs with their epochs, oldest first.
    pub logs: Vec<(BrokerEpoch, Vec<FoldedCommit>)>,
    /// Keys of the snapshot that are written as they were: groups, committed offsets and others.
    pub copied: Vec<(Bytes, Bytes)>,
    /// The first producer id that may be given out.
    pub next_producer_id: i64,
    /// What a person has to know: what could not be read, is missing, or got another name.
    pub warnings: Vec<String>,
}

/// Decides.
pub fn plan(found: Found, leader: BrokerId, now_ms: i64) -> anyhow::Result<Plan> {
    let mut warnings = found.unreadable.clone();
    // Only this module sees keys without their prefix.
    let keys = Keys::new("");
    let stored = found.snapshot.iter().flat_map(|snapshot| &snapshot.keys);
    let stored: Vec<_> = stored.cloned().collect();
    let mut topics = read_topics(&stored, &mut warnings);
    let records = read_partitions(&keys, &stored, &topics, &mut warnings);
    let spans = Spans::of(&found, &records, &mut topics, now_ms, &mut warnings);

    let mut chains = BTreeMap::new();
    for tp in all_partitions(&topics) {
        let chain = Chain::of(tp, records.get(&tp), &spans, &found.segments, &mut warnings);
        chains.insert(tp, chain);
    }
    let segments = chains.iter().map(|(tp, chain)| (*tp, chain.segments()));
    let segments: BTreeMap<_, Vec<usize>> = segments.collect();
    let alone = superseded_in_part(&found.segments, &chains);
    let age = |segment: usize| {
        let segment: &Segment = &found.segments[segment];
        let header = &segment.footer.header;
        let name = segment.commit.object_key.clone();
        (header.broker_epoch, header.created_ms, name)
    };
    let ordered = order(&segments, &alone, age)
        .context("the segments contradict each other: no order of commits can have made them")?;
    let epochs = epochs_of(&ordered);
    let partitions = chains.iter().filter_map(|(tp, chain)| {
        let topic = topics.get(&tp.topic_id)?.name.clone();
        let tail = tail_of(ordered.tails.get(tp).map_or(&[], Vec::as_slice), &epochs);
        Some(RestoredPartition {
            tp: *tp,
            topic,
            record: chain.record(leader, tail, &found.segments),
            end: chain.end,
            end_at_snapshot: chain.end_at_snapshot,
        })
    });
    let partitions = partitions.collect();
    let logs = epochs.iter().zip(&ordered.logs).map(|(epoch, log)| {
        let commits = log
            .iter()
            .map(|segment| found.segments[*segment].commit.clone());
        (*epoch, commits.collect())
    });
    Ok(Plan {
        cluster_id: found.cluster_id,
        snapshot_ms: found
            .snapshot
            .as_ref()
            .map(|snapshot| snapshot.head.created_ms),
        partitions,
        logs: logs.collect(),
        topics: topics.into_values().collect(),
        copied: stored
            .into_iter()
            .filter(|(key, _)| is_copied(key))
            .collect(),
        next_producer_id: next_producer_id(&found.segments),
        warnings,
    })
}

fn is_copied(key: &[u8]) -> bool {
    let is_rewritten = NOT_COPIED.iter().any(|folder| key.starts_with(folder));
    let is_writer = key.starts_with(b"groups/") && key.ends_with(WRITER);
    !is_rewritten && !is_writer
}

fn read_topics(
    stored: &[(Bytes, Bytes)],
    warnings: &mut Vec<String>,
) -> BTreeMap<TopicId, TopicRecord> {
    let mut topics = BTreeMap::new();
    for (key, value) in stored.iter().filter(|(key, _)| key.starts_with(b"topics/")) {
        match value::decode::<TopicRecord>(value) {
            Ok(record) => {
                topics.insert(record.topic_id, record);
            }
            Err(error) => {
                let key = String::from_utf8_lossy(key);
                warnings.push(format!(
                    "{key} in the snapshot: {error}; restored under another name"
                ));
            }
        }
    }
    topics
}

fn read_partitions(
    keys: &Keys,
    stored: &[(Bytes, Bytes)],
    topics: &BTreeMap<TopicId, TopicRecord>,
    warnings: &mut Vec<String>,
) -> BTreeMap<TopicPartition, PartitionRecord> {
    let mut records = BTreeMap::new();
    for (key, value) in stored {
        let Some(tp) = keys.parse_partition(&keys.absolute(key)) else {
            continue;
        };
        // Left behind by a topic that was being deleted.
        if !topics.contains_key(&tp.topic_id) {
            continue;
        }
        match value::decode(value) {
            Ok(record) => {
                records.insert(tp, record);
            }
            Err(error) => warnings.push(format!("partition {tp} in the snapshot: {error}")),
        }
    }
    records
}

fn all_partitions(topics: &BTreeMap<TopicId, TopicRecord>) -> impl Iterator<Item = TopicPartition> {
    topics.values().flat_map(|topic| {
        let indexes = 0..topic.partition_count;
        indexes.map(|index| TopicPartition::new(topic.topic_id, PartitionIndex(index)))
    })
}

/// Where a partition's tail has a span: which of its entries, and which sequence.
type Place = (usize, u64);

/// The spans of every partition that will be.
#[derive(Default)]
struct Spans {
    /// Named by the snapshot, in the order of their commits.
    committed: BTreeMap<TopicPartition, Vec<Span>>,
    candidates: BTreeMap<TopicPartition, Vec<Span>>,
}

impl Spans {
    /// Topics that are seen for the first time are added to `topics`, under a name of their own.
    fn of(
        found: &Found,
        records: &BTreeMap<TopicPartition, PartitionRecord>,
        topics: &mut BTreeMap<TopicId, TopicRecord>,
        now_ms: i64,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut spans = Self::default();
        let mut places: BTreeMap<TopicPartition, Vec<(Place, Span)>> = BTreeMap::new();
        for (number, segment) in found.segments.iter().enumerate() {
            for part in &segment.footer.partitions {
                let span = span_of(number, part);
                let named = segment.place.and_then(|(log, seq)| {
                    let entry = records.get(&part.tp)?.tail.iter().position(|entry| {
                        entry.broker_id == log.broker_id
                            && entry.broker_epoch == log.broker_epoch
                            && entry.first_seq <= seq
                            && entry.last_seq.is_none_or(|last| seq <= last)
                    })?;
                    Some((entry, seq))
                });
                if let Some(place) = named {
                    places.entry(part.tp).or_default().push((place, span));
                } else if segment.place.is_none() {
                    add_topic(part.tp, topics, now_ms, warnings);
                    spans.candidates.entry(part.tp).or_default().push(span);
                }
            }
        }
        for (tp, mut placed) in places {
            placed.sort_by_key(|(place, _)| *place);
            let sorted = placed.into_iter().map(|(_, span)| span);
            spans.committed.insert(tp, sorted.collect());
        }
        spans
    }
}

fn span_of(segment: usize, part: &PartitionSpan) -> Span {
    let epoch = |epoch: Option<&(LeaderEpoch, Offset)>| epoch.map_or(-1, |epoch| epoch.0.0);
    Span {
        segment,
        base: part.base_offset.get(),
        next: part.next_offset.get(),
        first_epoch: epoch(part.leader_epochs.first()),
        last_epoch: epoch(part.leader_epochs.last()),
    }
}

/// Makes sure that the topic has the partition.
fn add_topic(
    tp: TopicPartition,
    topics: &mut BTreeMap<TopicId, TopicRecord>,
    now_ms: i64,
    warnings: &mut Vec<String>,
) {
    let count = tp.partition.0.saturating_add(1);
    let recovered = format!("recovered-{}", tp.topic_id.0.simple());
    let Ok(name) = TopicName::new(&recovered) else {
        return;
    };
    let topic = topics.entry(tp.topic_id).or_insert_with(|| {
        warnings.push(format!(
            "topic {} is not in the snapshot: it was created after it, or deleted and not cleaned up. Its name and its \
             settings are lost; it is restored as {name}",
            tp.topic_id
        ));
        TopicRecord {
            name,
            topic_id: tp.topic_id,
            partition_count: count,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: now_ms,
        }
    });
    topic.partition_count = topic.partition_count.max(count);
}

/// What is restored of a partition.
struct Chain {
    spans: Vec<Span>,
    log_start: i64,
    end: i64,
    end_at_snapshot: i64,
    /// As of the snapshot.
    record: Option<PartitionRecord>,
}

impl Chain {
    fn of(
        tp: TopicPartition,
        record: Option<&PartitionRecord>,
        spans: &Spans,
        segments: &[Segment],
        warnings: &mut Vec<String>,
    ) -> Self {
        let candidates = spans.candidates.get(&tp).map_or(&[][..], Vec::as_slice);
        let committed = spans.committed.get(&tp).map_or(&[][..], Vec::as_slice);
        let first = committed.first().map(|span| span.base);
        let lowest = || candidates.iter().map(|span| span.base).min();
        let known_start = record.map(|record| record.log_start.get());
        // Without a snapshot nothing says where the log began, but that the first there is did.
        let log_start = known_start.or_else(|| first.or_else(lowest)).unwrap_or(0);
        let mut chain = Self {
            spans: Vec::new(),
            log_start,
            end: first.unwrap_or(log_start).min(log_start),
            end_at_snapshot: 0,
            record: record.cloned(),
        };
        if chain.take_committed(tp, committed, segments, warnings) {
            chain.take_candidates(candidates);
        }
        chain.end = chain.end.max(log_start);
        chain.tell_what_is_left(tp, candidates, warnings);
        chain
    }

    /// Takes what the snapshot names. False if the chain breaks within it.
    fn take_committed(
        &mut self,
        tp: TopicPartition,
        committed: &[Span],
        segments: &[Segment],
        warnings: &mut Vec<String>,
    ) -> bool {
        let end = committed.last().map_or(self.log_start, |span| span.next);
        self.end_at_snapshot = end.max(self.log_start);
        for span in committed {
            if span.next <= self.log_start {
                continue;
            }
            let starts = self.spans.is_empty() && span.base <= self.log_start;
            let segment = &segments[span.segment];
            if !segment.exists || !(starts || span.base == self.end) {
                warnings.push(format!(
                    "partition {tp}: offsets {} to {} are LOST: segment {} {}",
                    span.base,
                    self.end_at_snapshot - 1,
                    segment.commit.object_key,
                    match segment.exists {
                        true => "does not continue what is before it",
                        false => "is not in the bucket",
                    }
                ));
                return false;
            }
            self.end = span.next;
            self.spans.push(*span);
        }
        true
    }

    fn take_candidates(&mut self, candidates: &[Span]) {
        // The log start may lie within the first span, of which nothing was committed at the snapshot.
        let around = candidates
            .iter()
            .filter(|span| span.base <= self.log_start && span.next > self.log_start);
        let start = match self.spans.is_empty() {
            true => around.map(|span| span.base).max().unwrap_or(self.log_start),
            false => self.end,
        };
        let min_epoch = self.spans.last().map_or(-1, |span| span.last_epoch);
        let history: &[EpochStart] = self.record.as_ref().map_or(&[], |r| &r.epoch_history);
        // What the snapshot says began within a span, or before its end, must be in it.
        let begun = |span: &Span| {
            let known = history.iter().filter(|epoch| epoch.start.get() < span.next);
            let at_base = history
                .iter()
                .filter(|epoch| epoch.start.get() <= span.base);
            let newest = |epochs: Option<i32>| epochs.unwrap_or(-1);
            span.last_epoch >= newest(known.map(|epoch| epoch.leader_epoch.0).max())
                && span.first_epoch >= newest(at_base.map(|epoch| epoch.leader_epoch.0).max())
        };
        let more = extend(start, min_epoch, candidates, begun);
        self.end = more.last().map_or(self.end, |span| span.next);
        self.spans.extend(more);
    }

    fn tell_what_is_left(
        &self,
        tp: TopicPartition,
        candidates: &[Span],
        warnings: &mut Vec<String>,
    ) {
        let beyond = candidates.iter().filter(|span| span.base > self.end);
        let (first, last) = (
            beyond.clone().map(|span| span.base).min(),
            beyond.map(|span| span.next).max(),
        );
        if let (Some(first), Some(last)) = (first, last) {
            warnings.push(format!(
                "partition {tp}: the bucket holds offsets {first} to {}, but nothing between {} and them; they are NOT \
                 restored",
                last - 1,
                self.end
            ));
        }
    }

    fn segments(&self) -> Vec<usize> {
        self.spans.iter().map(|span| span.segment).collect()
    }

    fn record(
        &self,
        leader: BrokerId,
        tail: Vec<TailEntry>,
        segments: &[Segment],
    ) -> PartitionRecord {
        let mut history: Vec<EpochStart> = match &self.record {
            Some(record) => record
                .epoch_history
                .iter()
                .filter(|epoch| epoch.start.get() <= self.end)
                .copied()
                .collect(),
            None => Vec::new(),
        };
        for span in &self.spans {
            let parts = &segments[span.segment].footer.partitions;
            let part = parts.iter().find(|part| {
                (part.base_offset.get(), part.next_offset.get()) == (span.base, span.next)
                    && span_of(span.segment, part) == *span
            });
            for (leader_epoch, start) in part.map_or(&[][..], |part| &part.leader_epochs) {
                if history
                    .last()
                    .is_none_or(|last| last.leader_epoch < *leader_epoch)
                {
                    history.push(EpochStart {
                        leader_epoch: *leader_epoch,
                        start: *start,
                    });
                }
            }
        }
        let known = self
            .record
            .as_ref()
            .map_or(LeaderEpoch(0), |r| r.leader_epoch);
        let newest = history.last().map_or(known, |last| last.leader_epoch);
        PartitionRecord {
            leader,
            leader_epoch: newest.max(known),
            epoch_history: history,
            log_start: Offset::new(self.log_start).unwrap_or(Offset::ZERO),
            tail,
        }
    }
}

/// Segments with a part that a restored partition does not use, though it lies behind its log start.
fn superseded_in_part(
    segments: &[Segment],
    chains: &BTreeMap<TopicPartition, Chain>,
) -> BTreeSet<usize> {
    let used: BTreeMap<_, BTreeSet<usize>> = chains
        .iter()
        .map(|(tp, chain)| (*tp, chain.segments().into_iter().collect()))
        .collect();
    let is_unused = |number: usize, part: &PartitionSpan| {
        chains.get(&part.tp).is_some_and(|chain| {
            part.next_offset.get() > chain.log_start && !used[&part.tp].contains(&number)
        })
    };
    segments
        .iter()
        .enumerate()
        .filter(|(number, segment)| {
            let mut parts = segment.footer.partitions.iter();
            parts.any(|part| is_unused(*number, part))
        })
        .map(|(number, _)| number)
        .collect()
}

/// The youngest log has epoch 0: all are older than the first revision of any store.
fn epochs_of(ordered: &Ordered) -> Vec<BrokerEpoch> {
    let count = ordered.logs.len() as i64;
    (0..count).map(|log| BrokerEpoch(log + 1 - count)).collect()
}

fn tail_of(named: &[Named], epochs: &[BrokerEpoch]) -> Vec<TailEntry> {
    let entries = named.iter().filter_map(|(log, first_seq, last_seq)| {
        Some(TailEntry {
            broker_id: RESTORED_BROKER,
            broker_epoch: *epochs.get(*log)?,
            first_seq: *first_seq,
            last_seq: Some(*last_seq),
        })
    });
    entries.collect()
}

fn next_producer_id(segments: &[Segment]) -> i64 {
    let spans = segments
        .iter()
        .flat_map(|segment| &segment.footer.partitions);
    let ids = spans
        .flat_map(|span| &span.producers)
        .map(|producer| producer.producer_id.0);
    ids.max().unwrap_or(0).saturating_add(PRODUCER_IDS_SKIPPED)
}
