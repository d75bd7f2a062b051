//! Which files go to leaves.

use alluvium_segment::manifest::ManifestContent;

use super::*;

const MIB: u64 = 1 << 20;
/// Large enough to be left alone by joining, for files that end at 256 MiB.
const FULL: u64 = 200 * MIB;
const TABLE_BYTES: u64 = 256 * MIB;

fn limits(tables: usize, kept: usize) -> LeafLimits {
    LeafLimits {
        tables,
        spans: usize::MAX,
        kept,
    }
}

/// Files of these sizes that follow each other.
fn content(sizes: &[u64]) -> ManifestContent {
    let tables = (0..).zip(sizes).map(|(number, size_bytes)| {
        let base = 10 * number as i64;
        table(number, *size_bytes, vec![span(0, base, base + 10)])
    });
    ManifestContent {
        tables: tables.collect(),
        ..ManifestContent::empty(TOPIC)
    }
}

fn full(count: usize) -> ManifestContent {
    content(&vec![FULL; count])
}

#[test]
fn the_oldest_files_go_when_enough_stay() {
    let counts = |count| leaving(&full(count), &limits(4, 3), TABLE_BYTES).expect("in order");
    assert_eq!(counts(0), [0; 0]);
    assert_eq!(counts(6), [0; 0]);
    assert_eq!(counts(7), [4]);
    assert_eq!(counts(10), [4]);
    assert_eq!(counts(11), [4, 4]);
    assert_eq!(counts(4_000), [4; NEW_LEAVES_MAX], "some at a time");
}

#[test]
fn files_with_many_spans_fill_a_leaf_sooner() {
    let limits = LeafLimits {
        spans: 5,
        ..limits(4, 1)
    };
    let mut content = full(20);
    let wide = |number: usize, partitions: i32| {
        let base = 10 * number as i64;
        let spans = (0..partitions).map(|partition| span(partition, base, base + 10));
        table(number as u128, FULL, spans.collect())
    };
    content.tables[0] = wide(0, 9);
    content.tables[2] = wide(2, 4);
    let counts = leaving(&content, &limits, TABLE_BYTES).expect("in order");
    assert_eq!(counts[..3], [1, 2, 4]);
}

#[test]
fn files_that_are_still_joined_stay() {
    let mut sizes = vec![FULL; 5];
    sizes.extend([MIB; 8]);
    let counts =
        |sizes: &[u64]| leaving(&content(sizes), &limits(4, 2), TABLE_BYTES).expect("in order");
    assert_eq!(counts(&sizes), [4], "those in front of them go");
    // When joining is behind by more than a leaf they go all the same: the root must not grow.
    let small = |count: usize| vec![MIB; count];
    assert_eq!(counts(&small(9)), [0; 0]);
    assert_eq!(counts(&small(10)), [4]);
    assert_eq!(counts(&small(14)), [4, 4]);
}

#[test]
fn files_that_are_not_in_order_stay_and_that_is_told() {
    let counts = |content: &ManifestContent| {
        leaving(content, &limits(4, 3), TABLE_BYTES).map(|leaves| leaves.len())
    };
    let mut swapped = full(20);
    swapped.tables.swap(2, 12);
    assert_eq!(counts(&swapped), Err(OutOfOrder));
    swapped.tables.truncate(6);
    assert_eq!(counts(&swapped), Ok(0), "too few for a leaf");
    let mut overlapping = full(20);
    assert_eq!(counts(&overlapping), Ok(4));
    let leaf = vec![table(99, FULL, vec![span(0, 0, 11)])];
    overlapping.leaves.push(leaf_entry(leaf));
    assert_eq!(counts(&overlapping), Err(OutOfOrder));
}

fn leaf_entry(tables: Vec<TableEntry>) -> LeafEntry {
    leaf(Uuid::from_u128(1), tables).0
}

#[test]
fn limits_follow_from_one_number() {
    assert_eq!(LeafLimits::default(), LeafLimits::of(512));
    assert_eq!(LeafLimits::of(512).kept, 64);
    let least = LeafLimits::of(0);
    assert_eq!((least.tables, least.kept), (1, 1));
}
