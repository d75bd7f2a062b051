//! What is ready, and how much of it is published at a time.

use std::collections::BTreeSet;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::model::{PartitionRecord, TailEntry};
use alluvium_segment::footer::{BlockEncoding, BlockEntry, PartitionSpan};
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use alluvium_segment::segment_index::SegmentRef;
use uuid::Uuid;

use super::super::backlog::PendingSpan;
use super::*;

const A: (i32, i64) = (1, 5);
const B: (i32, i64) = (2, 3);

pub fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

pub fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(partition))
}

fn log((broker_id, broker_epoch): (i32, i64)) -> LogId {
    LogId {
        broker_id: BrokerId(broker_id),
        broker_epoch: BrokerEpoch(broker_epoch),
    }
}

pub fn segment(number: u64) -> Arc<SegmentRef> {
    let name = SegmentName {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(5),
        id: Uuid::from_u128(number.into()),
    };
    Arc::new(SegmentRef {
        object_key: ObjectKey::segment(&name),
        size_bytes: 1 << 40,
    })
}

pub fn block(position: u64, stored_length: u32, offsets: std::ops::Range<i64>) -> BlockEntry {
    BlockEntry {
        position,
        stored_length,
        raw_length: stored_length,
        encoding: BlockEncoding::Raw,
        crc: 0,
        base_offset: offset(offsets.start),
        next_offset: offset(offsets.end),
        max_timestamp: 0,
        batch_count: 1,
    }
}

/// A span of one partition in the entry `seq` of a log, in these blocks.
pub fn span(
    partition: i32,
    of: (i32, i64),
    seq: u64,
    segment: Arc<SegmentRef>,
    blocks: Vec<BlockEntry>,
) -> Arc<PendingSpan> {
    Arc::new(PendingSpan {
        log: log(of),
        seq,
        segment,
        created_ms: 1_000 + seq as i64,
        span: PartitionSpan {
            tp: tp(partition),
            base_offset: blocks[0].base_offset,
            next_offset: blocks[blocks.len() - 1].next_offset,
            max_timestamp: 0,
            leader_epochs: Vec::new(),
            blocks,
            producers: Vec::new(),
        },
    })
}

/// A span of one block of so many stored bytes.
fn small(of: (i32, i64), seq: u64, offsets: std::ops::Range<i64>, bytes: u32) -> Arc<PendingSpan> {
    span(0, of, seq, segment(seq), vec![block(32, bytes, offsets)])
}

fn record(tail: &[((i32, i64), u64, Option<u64>)]) -> PartitionRecord {
    let tail = tail.iter().map(|(of, first_seq, last_seq)| TailEntry {
        broker_id: BrokerId(of.0),
        broker_epoch: BrokerEpoch(of.1),
        first_seq: *first_seq,
        last_seq: *last_seq,
    });
    PartitionRecord {
        tail: tail.collect(),
        ..PartitionRecord::new(BrokerId(1))
    }
}

fn places(ready: &ReadyPartition) -> Vec<((i32, i64), u64)> {
    let spans = ready.spans.iter();
    spans
        .map(|span| ((span.log.broker_id.0, span.log.broker_epoch.0), span.seq))
        .collect()
}

#[test]
fn spans_are_ready_in_the_order_of_the_tail() {
    let record = record(&[(A, 2, Some(4)), (B, 0, Some(1)), (A, 7, None)]);
    let mut pending = vec![
        small(A, 2, 0..10, 1),
        small(A, 4, 10..11, 1),
        small(B, 0, 11..20, 1),
        small(B, 1, 20..30, 1),
        small(A, 7, 30..40, 1),
        small(A, 9, 40..50, 1),
    ];
    let expected = [(A, 2), (A, 4), (B, 0), (B, 1), (A, 7), (A, 9)];
    let random = SeededRandom::new(1);
    for _ in 0..50 {
        let place = random.below(6) as usize;
        pending.swap(0, place);
        pending.rotate_left(1);
        let ready = ready(tp(0), &record, Offset::ZERO, &pending);
        assert_eq!(places(&ready), expected);
        assert_eq!((ready.from, ready.end), (offset(0), offset(50)));
    }
}

/// A broker that was fenced may have committed what its successor wrote again, and its segment may have other offsets.
#[test]
fn spans_that_no_tail_names_do_not_count() {
    let record = record(&[(A, 2, Some(4)), (B, 3, None)]);
    let pending = [
        small(A, 1, 0..5, 1),
        small(A, 2, 0..10, 1),
        small(A, 5, 10..99, 1),
        small(B, 2, 10..98, 1),
        small((1, 6), 3, 10..97, 1),
        small(B, 3, 10..20, 1),
    ];
    let ready = ready(tp(0), &record, Offset::ZERO, &pending);
    assert_eq!(places(&ready), [(A, 2), (B, 3)]);
    assert_eq!(ready.end, offset(20));
}

#[test]
fn what_comes_behind_a_gap_waits() {
    let record = record(&[(A, 0, None)]);
    let pending = [small(A, 0, 0..10, 1), small(A, 2, 20..30, 1)];
    let ready_one = ready(tp(0), &record, Offset::ZERO, &pending);
    assert_eq!(places(&ready_one), [(A, 0)]);
    assert_eq!(ready_one.end, offset(10));
    let from_ten = ready(tp(0), &record, offset(10), &pending);
    assert_eq!((from_ten.spans.len(), from_ten.end), (0, offset(10)));
    let from_twenty = ready(tp(0), &record, offset(20), &pending);
    assert_eq!(places(&from_twenty), [(A, 2)]);
    assert!(ready(tp(0), &record, Offset::ZERO, &[]).spans.is_empty());
}

#[test]
fn what_is_published_or_deleted_is_not_ready() {
    let pending = [
        small(A, 0, 0..10, 1),
        small(A, 1, 10..20, 1),
        small(A, 2, 20..30, 1),
    ];
    // Published end, log start, first wanted offset, spans.
    let cases = [
        (0, 0, 0, 3),
        (10, 0, 10, 2),
        (0, 10, 10, 2),
        (10, 15, 15, 2),
        (20, 15, 20, 1),
        (0, 29, 29, 1),
        (0, 30, 30, 0),
        (20, 77, 77, 0),
    ];
    for (published, log_start, from, spans) in cases {
        let record = PartitionRecord {
            log_start: offset(log_start),
            ..record(&[(A, 0, None)])
        };
        let ready = ready(tp(0), &record, offset(published), &pending);
        assert_eq!(ready.from, offset(from));
        assert_eq!(ready.spans.len(), spans, "{published}, {log_start}");
        assert_eq!(ready.end, offset(from.max(if spans > 0 { 30 } else { 0 })));
    }
}

#[test]
fn a_cut_leaves_out_the_span_with_the_offset_and_all_behind() {
    let pending = [
        small(A, 0, 0..10, 1),
        small(A, 1, 10..20, 1),
        small(A, 2, 20..30, 1),
    ];
    for (cut, end) in [
        (0, 3),
        (9, 3),
        (10, 10),
        (19, 10),
        (20, 20),
        (30, 30),
        (99, 30),
    ] {
        let mut ready = ready(tp(0), &record(&[(A, 0, None)]), offset(3), &pending);
        ready.cut_before(offset(cut));
        assert_eq!(ready.end, offset(end), "{cut}");
        let last = ready.spans.last().map(|last| last.span.next_offset);
        assert_eq!(last.unwrap_or(offset(3)), offset(end));
    }
}

/// Partitions with contiguous spans of random sizes.
fn any_ready(random: &dyn Random) -> Vec<ReadyPartition> {
    let partitions = random.below(6) as i32;
    let mut all: Vec<_> = (0..partitions)
        .map(|partition| {
            let (mut end, mut spans) = (0, Vec::new());
            for seq in 0..random.below(6) {
                let next = end + 1 + random.below(9) as i64;
                let blocks = vec![block(32, random.below(50) as u32, end..next)];
                spans.push(span(partition, A, seq, segment(seq), blocks));
                end = next;
            }
            ReadyPartition {
                tp: tp(partition),
                from: Offset::ZERO,
                end: offset(end),
                spans,
            }
        })
        .collect();
    all.reverse();
    all
}

#[test]
fn work_is_a_fair_part_of_what_is_ready_and_nothing_is_lost_by_that() {
    for seed in 0..500 {
        let random = SeededRandom::new(seed);
        let all = any_ready(&*random);
        let bytes_max = random.below(200);
        let work = TopicWork::of(all.clone(), bytes_max);
        let with_some: BTreeSet<_> = all.iter().filter(|one| !one.spans.is_empty()).collect_tps();
        let tps: Vec<_> = work.partitions.iter().map(|one| one.tp).collect();
        assert_eq!(
            tps,
            with_some.into_iter().collect::<Vec<_>>(),
            "seed {seed}"
        );
        let share = bytes_max / tps.len().max(1) as u64;
        let mut is_all = true;
        for part in &work.partitions {
            let whole = all.iter().find(|one| one.tp == part.tp).expect("known");
            let kept = part.spans.len();
            assert!(kept > 0, "seed {seed}: everybody gets on");
            let seqs =
                |spans: &[Arc<PendingSpan>]| spans.iter().map(|one| one.seq).collect::<Vec<_>>();
            assert_eq!(seqs(&part.spans), seqs(&whole.spans[..kept]), "seed {seed}");
            assert_eq!(part.end, part.spans[kept - 1].span.next_offset);
            assert_eq!(part.from, whole.from);
            is_all &= kept == whole.spans.len();
            let but_the_last: u64 = part.spans[..kept - 1]
                .iter()
                .map(|one| one.stored_bytes())
                .sum();
            assert!(
                but_the_last < share.max(1),
                "seed {seed}: no more than a span too much"
            );
            let enough = part.stored_bytes() >= share || kept == whole.spans.len();
            assert!(enough, "seed {seed}: no less than its share");
        }
        assert_eq!(work.is_all, is_all, "seed {seed}");
        assert_eq!(work.is_empty(), tps.is_empty());
    }
}

trait CollectTps<'a> {
    fn collect_tps(self) -> BTreeSet<TopicPartition>;
}

impl<'a, I: Iterator<Item = &'a ReadyPartition>> CollectTps<'a> for I {
    fn collect_tps(self) -> BTreeSet<TopicPartition> {
        self.map(|one| one.tp).collect()
    }
}

fn limits(bytes_min: u64, age_ms: u64) -> PublishLimits {
    PublishLimits {
        bytes_min,
        age_max: Duration::from_millis(age_ms),
        bytes_max: 100,
    }
}

fn of_one(spans: Vec<Arc<PendingSpan>>) -> Vec<ReadyPartition> {
    vec![ready(tp(0), &record(&[(A, 0, None)]), Offset::ZERO, &spans)]
}

#[test]
fn work_is_due_when_it_is_much_or_old() {
    // Made at 1000 and 1001.
    let two = vec![small(A, 0, 0..10, 30), small(A, 1, 10..20, 30)];
    let work = TopicWork::of(of_one(two), 100);
    assert_eq!((work.stored_bytes(), work.oldest_ms()), (60, Some(1_000)));
    assert!(work.is_due(&limits(60, 1 << 40), 0));
    assert!(!work.is_due(&limits(61, 1 << 40), 0));
    assert!(!work.is_due(&limits(61, 50), 1_049));
    assert!(work.is_due(&limits(61, 50), 1_050));
    assert!(!work.is_due(&limits(61, 50), 0), "clocks go backwards");
    let forever = limits(61, u64::MAX);
    assert!(!work.is_due(&forever, i64::MAX - 1));
    assert!(work.is_behind(&limits(30, 0)) && !work.is_behind(&limits(31, 0)));
    let nothing = TopicWork::of(Vec::new(), 100);
    assert!(!nothing.is_due(&limits(1, 0), i64::MAX));
}

/// One busy partition among many others has a small share of what is published at a time. It waits all the same.
#[test]
fn all_that_waits_makes_a_topic_due_and_not_only_what_comes_next() {
    let busy: Vec<_> = (0..10)
        .map(|seq| small(A, seq, seq as i64 * 10..seq as i64 * 10 + 10, 30))
        .collect();
    let mut all = of_one(busy);
    for partition in 1..50 {
        let blocks = vec![block(32, 1, 0..1)];
        all.push(ReadyPartition {
            tp: tp(partition),
            from: Offset::ZERO,
            end: offset(1),
            spans: vec![span(partition, A, 0, segment(0), blocks)],
        });
    }
    let work = TopicWork::of(all, 100);
    assert!(!work.is_all);
    assert_eq!(work.stored_bytes(), 30 + 49, "what comes next");
    assert!(work.is_due(&limits(349, 1 << 40), 0), "what waits");
    assert!(!work.is_due(&limits(350, 1 << 40), 0));
}
