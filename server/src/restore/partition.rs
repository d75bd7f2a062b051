//! What is restored of each partition: pure.

use std::collections::BTreeMap;

use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicName, TopicPartition};
use alluvium_metadata::model::{EpochStart, PartitionRecord, TailEntry, TopicRecord};
use alluvium_segment::footer::PartitionSpan;
use alluvium_segment::manifest::Manifest;

use super::chain::{Span, extend};
use super::scan::{Found, Segment};

/// Leader epochs that are skipped beyond the largest known: openings of which neither snapshot nor bucket tell.
const LEADER_EPOCHS_SKIPPED: i32 = 1_000;

/// Where a partition's tail has a span: which of its entries, and which sequence.
type Place = (usize, u64);

/// The spans of every partition that will be.
#[derive(Default)]
pub(super) struct Spans {
    /// Named by the snapshot, in the order of their commits.
    committed: BTreeMap<TopicPartition, Vec<Span>>,
    candidates: BTreeMap<TopicPartition, Vec<Span>>,
}

impl Spans {
    /// Topics that are seen for the first time are added to `topics`, under a name of their own.
    pub(super) fn of(
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
pub(super) fn add_topic(
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

/// What is known of a partition beside segments.
pub(super) struct Told<'a> {
    /// As of the snapshot.
    pub(super) record: Option<&'a PartitionRecord>,
    /// What is published of its topic.
    pub(super) manifest: Option<&'a Manifest>,
}

/// What is restored of a partition.
pub(super) struct Chain {
    spans: Vec<Span>,
    /// Segments that the snapshot names, of which this partition's part is published. It needs them no more; but they stand
    /// in front of its others, in whichever commit log they come to lie because others do.
    before: Vec<Span>,
    pub(super) log_start: i64,
    /// Where the spans must begin: behind the log start and all that is published.
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) end_at_snapshot: i64,
    /// As of the snapshot.
    record: Option<PartitionRecord>,
}

impl Chain {
    pub(super) fn of(
        tp: TopicPartition,
        told: &Told<'_>,
        spans: &Spans,
        segments: &[Segment],
        warnings: &mut Vec<String>,
    ) -> Self {
        let candidates = spans.candidates.get(&tp).map_or(&[][..], Vec::as_slice);
        let committed = spans.committed.get(&tp).map_or(&[][..], Vec::as_slice);
        let first = committed.first().map(|span| span.base);
        let lowest = || candidates.iter().map(|span| span.base).min();
        let known_start = told.record.map(|record| record.log_start.get());
        let published = |manifest: &Manifest| {
            let mut spans = manifest.spans_from(tp.partition, Offset::ZERO);
            spans.next().map(|span| span.offsets().start.get())
        };
        // Without a snapshot nothing says where the log began, but that the first there is did.
        let first_known = || {
            let published = told.manifest.and_then(published);
            let first = first.or_else(lowest);
            first.into_iter().chain(published).min()
        };
        let log_start = known_start.or_else(first_known).unwrap_or(0);
        let published_end = told
            .manifest
            .map_or(0, |manifest| manifest.published_end(tp.partition).get());
        let start = log_start.max(published_end);
        let mut chain = Self {
            spans: Vec::new(),
            before: Vec::new(),
            log_start,
            start,
            end: first.unwrap_or(start).min(start),
            end_at_snapshot: 0,
            record: told.record.cloned(),
        };
        if chain.take_committed(tp, committed, segments, warnings) {
            chain.take_candidates(candidates);
        }
        chain.end = chain.end.max(start);
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
        let end = committed.last().map_or(self.start, |span| span.next);
        self.end_at_snapshot = end.max(self.start);
        for span in committed {
            let segment = &segments[span.segment];
            if span.next <= self.start {
                if span.next > self.log_start && segment.exists {
                    self.before.push(*span);
                }
                continue;
            }
            let starts = self.spans.is_empty() && span.base <= self.start;
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
        // The start may lie within the first span, of which nothing was committed at the snapshot.
        let around = candidates
            .iter()
            .filter(|span| span.base <= self.start && span.next > self.start);
        let start = match self.spans.is_empty() {
            true => around.map(|span| span.base).max().unwrap_or(self.start),
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

    pub(super) fn segments(&self) -> Vec<usize> {
        let spans = self.before.iter().chain(&self.spans);
        spans.map(|span| span.segment).collect()
    }

    pub(super) fn record(
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
        let fresh = PartitionRecord::new(leader);
        let with_log = self.record.as_ref().filter(|record| record.wal.is_some());
        let known = self.record.as_ref().unwrap_or(&fresh).leader_epoch;
        let newest = history.last().map_or(known, |last| last.leader_epoch);
        let newest = newest.max(known).0;
        PartitionRecord {
            leader: with_log.map_or(leader, |record| record.leader),
            leader_epoch: LeaderEpoch(newest.saturating_add(LEADER_EPOCHS_SKIPPED)),
            epoch_history: history,
            log_start: Offset::new(self.log_start).unwrap_or(Offset::ZERO),
            tail,
            wal: with_log.and_then(|record| record.wal),
            ..fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::BrokerEpoch;
    use alluvium_common::topic::PartitionIndex;
    use alluvium_metadata::fold::LogId;
    use alluvium_metadata::model::WalHolder;
    use alluvium_segment::fold_object::FoldedCommit;
    use alluvium_segment::footer::{Footer, SegmentHeader};
    use alluvium_segment::manifest::{ManifestContent, PublishedPartition};
    use alluvium_segment::object_key::{ObjectKey, SegmentName};
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    /// Segments with offsets of one partition: from, to before, whether the snapshot names it, whether it exists.
    fn chain(
        log_start: Option<i64>,
        published: Option<i64>,
        parts: &[(i64, i64, bool, bool)],
    ) -> (Chain, Vec<String>) {
        let topic_id = TopicId(Uuid::from_u128(7));
        let tp = TopicPartition::new(topic_id, PartitionIndex(0));
        let log = LogId {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(5),
        };
        let segments = (0..).zip(parts).map(|(seq, (base, next, named, exists))| {
            let header = SegmentHeader {
                broker_id: log.broker_id,
                broker_epoch: log.broker_epoch,
                created_ms: 0,
            };
            let offset = |value: i64| Offset::new(value).expect("not negative");
            let part = PartitionSpan {
                tp,
                base_offset: offset(*base),
                next_offset: offset(*next),
                max_timestamp: 0,
                leader_epochs: vec![(LeaderEpoch(1), offset(*base))],
                blocks: Vec::new(),
                producers: Vec::new(),
            };
            Segment {
                commit: FoldedCommit {
                    object_key: ObjectKey::segment(&SegmentName {
                        broker_id: log.broker_id,
                        broker_epoch: log.broker_epoch,
                        id: Uuid::from_u128(seq.into()),
                    }),
                    size_bytes: 0,
                    footer_crc: 0,
                    footer: Bytes::new(),
                },
                footer: Footer {
                    header,
                    partitions: vec![part],
                },
                place: named.then_some((log, seq)),
                exists: *exists,
            }
        });
        let found = Found {
            segments: segments.collect(),
            ..Found::default()
        };
        let record = log_start.map(|log_start| PartitionRecord {
            log_start: Offset::new(log_start).expect("not negative"),
            tail: vec![TailEntry {
                broker_id: log.broker_id,
                broker_epoch: log.broker_epoch,
                first_seq: 0,
                last_seq: None,
            }],
            ..PartitionRecord::new(BrokerId(1))
        });
        let records = record.iter().map(|record| (tp, record.clone())).collect();
        let (mut topics, mut warnings) = (BTreeMap::new(), Vec::new());
        let spans = Spans::of(&found, &records, &mut topics, 0, &mut warnings);
        warnings.clear();
        let manifest = published.map(|end| {
            let next_offset = Offset::new(end).expect("not negative");
            let partition = PublishedPartition {
                next_offset,
                ..PublishedPartition::default()
            };
            let content = ManifestContent {
                partitions: [(tp.partition, partition)].into(),
                ..ManifestContent::empty(topic_id)
            };
            Manifest::new(content).expect("well formed")
        });
        let told = Told {
            record: record.as_ref(),
            manifest: manifest.as_ref(),
        };
        let chain = Chain::of(tp, &told, &spans, &found.segments, &mut warnings);
        (chain, warnings)
    }

    #[test]
    fn a_chain_begins_where_what_is_published_ends() {
        let parts = [
            (0, 10, true, false),
            (10, 20, true, true),
            (20, 30, true, true),
            (30, 40, false, true),
        ];
        let (whole, warnings) = chain(Some(0), Some(20), &parts);
        assert_eq!((whole.end, whole.end_at_snapshot), (40, 30));
        assert_eq!((whole.log_start, whole.segments()), (0, vec![1, 2, 3]));
        assert_eq!(warnings, [""; 0]);
        let (broken, warnings) = chain(Some(0), None, &parts);
        assert_eq!((broken.end, broken.segments().len()), (0, 0));
        assert!(warnings[0].contains("LOST"), "{warnings:?}");
    }

    #[test]
    fn what_is_published_needs_no_segment() {
        for log_start in [Some(0), None] {
            let (chain, warnings) = chain(log_start, Some(20), &[]);
            let (end, segments) = (chain.end, chain.segments());
            assert_eq!((end, segments, warnings), (20, Vec::new(), Vec::new()));
        }
        // More is published than the snapshot knew of, and what comes next was committed after that.
        let parts = [(0, 10, true, false), (20, 30, false, true)];
        let (after, warnings) = chain(Some(0), Some(20), &parts);
        assert_eq!((after.end, after.segments()), (30, vec![1]));
        assert_eq!(warnings, [""; 0]);
        // Nothing continues it.
        let (gap, warnings) = chain(Some(0), Some(15), &parts);
        assert_eq!((gap.end, gap.segments().len()), (15, 0));
        assert!(warnings[0].contains("NOT restored"), "{warnings:?}");
    }

    #[test]
    fn what_a_write_ahead_log_may_hold_more_of_stays_with_it() {
        let given = BrokerId(1);
        let record = |wal| PartitionRecord {
            leader_epoch: LeaderEpoch(7),
            wal,
            ..PartitionRecord::new(BrokerId(2))
        };
        let restored = |record| {
            let chain = Chain {
                spans: Vec::new(),
                before: Vec::new(),
                log_start: 5,
                start: 5,
                end: 5,
                end_at_snapshot: 5,
                record,
            };
            chain.record(given, Vec::new(), &[])
        };
        let moved = restored(Some(record(None)));
        assert_eq!((moved.leader, moved.wal), (given, None));
        assert!(moved.leader_epoch > LeaderEpoch(7) && moved.open_by().is_none());
        let wal = Some(WalHolder(Uuid::from_u128(3)));
        let bound = restored(Some(record(wal)));
        assert_eq!((bound.leader, bound.wal), (BrokerId(2), wal));
        assert_eq!(restored(None).leader, given);
    }
}
