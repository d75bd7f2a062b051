//! What is read, and how.

use std::collections::BTreeMap;

use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};

use super::super::steps::{Step, steps};
use super::plan::{block, offset, segment, span, tp};
use super::*;

const STEP_BYTES: u64 = 32 << 20;
/// As the module has them.
const GAP_BYTES_MAX: u64 = 64 << 10;
const GET_BYTES_MAX: u64 = 16 << 20;

/// Segments that hold a run of blocks of each partition, back to back, as brokers write them.
fn any_work(random: &dyn Random, block_bytes_max: u64) -> Vec<ReadyPartition> {
    let partitions = 1 + random.below(5) as i32;
    let mut spans: BTreeMap<i32, Vec<_>> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for number in 0..1 + random.below(6) {
        let object = segment(number);
        let mut position = 32;
        for partition in 0..partitions {
            let end = ends.entry(partition).or_insert(0);
            let mut blocks = Vec::new();
            for _ in 0..random.below(5) {
                let next = *end + 1 + random.below(5) as i64;
                let length = 1 + random.below(block_bytes_max) as u32;
                blocks.push(block(position, length, *end..next));
                position += u64::from(length);
                *end = next;
            }
            if !blocks.is_empty() {
                let held = span(partition, (1, 5), number, Arc::clone(&object), blocks);
                spans.entry(partition).or_default().push(held);
            }
        }
    }
    let partitions = spans.into_iter().map(|(partition, spans)| {
        let end = ends[&partition];
        let from = offset(random.below(end as u64) as i64);
        // As `ready` leaves them: the first may begin before what is wanted.
        let wanted = spans
            .into_iter()
            .filter(|held| held.span.next_offset > from);
        ReadyPartition {
            tp: tp(partition),
            from,
            end: offset(end),
            spans: wanted.collect(),
        }
    });
    partitions.collect()
}

/// Each block's bytes lie where its place says, and each GET serves a block.
fn check_places(step: &Step, segments: &BTreeMap<(i32, Offset), String>) {
    let mut used = vec![0; step.fetches.len()];
    for wanted in &step.blocks {
        let (number, at) = wanted.place;
        let fetch = &step.fetches[number];
        let of = &segments[&(wanted.partition.0, wanted.block.base_offset)];
        assert_eq!(fetch.segment.object_key.as_str(), of);
        assert_eq!(fetch.positions.start + at as u64, wanted.block.position);
        let end = wanted.block.position + u64::from(wanted.block.stored_length);
        assert!(end <= fetch.positions.end);
        used[number] += u64::from(wanted.block.stored_length);
    }
    for (fetch, used) in step.fetches.iter().zip(used) {
        let bytes = fetch.positions.end - fetch.positions.start;
        assert!(used > 0 && bytes >= used);
        let blocks = step.blocks.len() as u64;
        assert!(bytes - used <= blocks * GAP_BYTES_MAX, "{bytes} for {used}");
    }
}

#[test]
fn every_wanted_block_is_read_once_and_in_order() {
    for seed in 0..300 {
        let random = SeededRandom::new(seed);
        let work = any_work(&*random, 1 << random.below(25));
        let step_bytes = 1 << random.below(26);
        let mut expected = Vec::new();
        let mut segments = BTreeMap::new();
        for partition in &work {
            for held in &partition.spans {
                for block in &held.span.blocks {
                    let place = (partition.tp.partition.0, block.base_offset);
                    let name = held.segment.object_key.as_str().to_owned();
                    segments.insert(place, name);
                    if block.next_offset > partition.from {
                        expected.push((partition.tp.partition, partition.from, *block));
                    }
                }
            }
        }
        let cut = steps(&work, step_bytes);
        let blocks = cut.iter().flat_map(|step| &step.blocks);
        let blocks: Vec<_> = blocks
            .map(|one| (one.partition, one.from, one.block))
            .collect();
        assert_eq!(blocks, expected, "seed {seed}");
        for (number, step) in cut.iter().enumerate() {
            check_places(step, &segments);
            let stored =
                |block: &super::super::steps::WantedBlock| u64::from(block.block.stored_length);
            let all: u64 = step.blocks.iter().map(stored).sum();
            let but_the_last = all - step.blocks.last().map_or(0, stored);
            assert!(but_the_last < step_bytes, "seed {seed}");
            assert!(all >= step_bytes || number + 1 == cut.len(), "seed {seed}");
            for fetch in &step.fetches {
                let bytes = fetch.positions.end - fetch.positions.start;
                let largest = step.blocks.iter().map(stored).max().unwrap_or(0);
                assert!(bytes <= GET_BYTES_MAX.max(largest), "seed {seed}");
            }
        }
    }
    assert!(steps(&[], STEP_BYTES).is_empty());
}

fn of_one(blocks: Vec<alluvium_segment::footer::BlockEntry>) -> Vec<ReadyPartition> {
    let held = span(0, (1, 5), 0, segment(0), blocks);
    vec![ReadyPartition {
        tp: tp(0),
        from: Offset::ZERO,
        end: held.span.next_offset,
        spans: vec![held],
    }]
}

#[test]
fn what_lies_together_is_read_at_once() {
    // A hundred partitions of one segment: their blocks lie back to back.
    let object = segment(0);
    let work: Vec<_> = (0..100)
        .map(|partition| {
            let position = 32 + partition as u64 * 1_000;
            let blocks = vec![block(position, 500, 0..1), block(position + 500, 500, 1..2)];
            let held = span(partition, (1, 5), 0, Arc::clone(&object), blocks);
            ReadyPartition {
                tp: tp(partition),
                from: Offset::ZERO,
                end: offset(2),
                spans: vec![held],
            }
        })
        .collect();
    let cut = steps(&work, STEP_BYTES);
    assert_eq!(cut.len(), 1);
    assert_eq!(cut[0].fetches.len(), 1);
    assert_eq!(cut[0].fetches[0].positions, 32..100_032);

    // Other topics' blocks between them are read along while they are few.
    for (gap, gets) in [(GAP_BYTES_MAX, 1), (GAP_BYTES_MAX + 1, 2)] {
        let work = of_one(vec![block(32, 10, 0..1), block(42 + gap, 10, 1..2)]);
        assert_eq!(steps(&work, STEP_BYTES)[0].fetches.len(), gets);
    }
    // A GET does not grow without bound.
    let large = 6 << 20;
    let blocks = (0..5).map(|n| block(32 + n * large, large as u32, n as i64..n as i64 + 1));
    let cut = steps(&of_one(blocks.collect()), STEP_BYTES);
    let sizes = cut[0].fetches.iter();
    let sizes: Vec<_> = sizes
        .map(|one| one.positions.end - one.positions.start)
        .collect();
    assert_eq!(sizes, [2 * large, 2 * large, large]);
    // A block that is larger than that is one GET.
    let huge = 100 << 20;
    let cut = steps(&of_one(vec![block(32, huge, 0..1)]), STEP_BYTES);
    assert_eq!((cut.len(), cut[0].fetches.len()), (1, 1));
}
