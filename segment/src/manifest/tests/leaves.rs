//! Manifests of two levels.

use std::sync::Arc;

use super::span as span_of;
use super::*;

/// Table files as they come: each goes on with some partitions where the ones before ended, perhaps behind a gap.
fn files() -> impl Strategy<Value = Vec<TableEntry>> {
    let span = (any::<bool>(), 0..3i64, 1..9i64, 0..4u64, -9..99i64);
    vec([span.clone(), span.clone(), span], 1..30).prop_map(|files| {
        let mut ends = [0i64; 3];
        let files = (0..).zip(files).map(|(number, parts)| {
            let mut spans = Vec::new();
            for ((partition, end), part) in (0..).zip(&mut ends).zip(parts) {
                let (is_there, gap, offsets, records, timestamp) = part;
                if is_there {
                    let base = *end + gap;
                    *end = base + offsets;
                    spans.push(SpanEntry {
                        records,
                        raw_bytes: 70 * records,
                        min_timestamp: timestamp - 5,
                        max_timestamp: timestamp,
                        ..span_of(partition, base, *end)
                    });
                }
            }
            TableEntry {
                size_bytes: 100 * number,
                ..table(u128::from(number), spans)
            }
        });
        files.collect()
    })
}

fn ends(files: &[TableEntry]) -> Vec<(i32, i64)> {
    let end = |partition: i32| {
        let spans = files.iter().flat_map(|file| &file.spans);
        let spans = spans.filter(|span| span.partition.0 == partition);
        spans.map(|span| span.next_offset.get()).max().unwrap_or(0)
    };
    (0..3)
        .map(|partition| (partition, end(partition)))
        .collect()
}

fn leaf(number: u128, tables: &[TableEntry]) -> (LeafEntry, Bytes) {
    let tables = tables.iter().cloned().map(Arc::new).collect();
    let leaf = Leaf::new(TOPIC, tables).expect("well formed");
    let object = leaf.encode().expect("encodes");
    let written = SegmentName {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(5),
        id: Uuid::from_u128(number),
    };
    let name = TableName {
        topic_id: TOPIC,
        written,
    };
    let entry = LeafEntry::new(ObjectKey::leaf(&name), &object, &leaf);
    (entry, object.chunks.concat().into())
}

/// The same files, with the oldest in leaves of these sizes; and what is in the leaves.
fn two_level(files: &[TableEntry], sizes: &[usize]) -> (Manifest, Vec<Leaf>) {
    let (mut rest, mut entries, mut leaves) = (files, Vec::new(), Vec::new());
    for (number, size) in (0..).zip(sizes) {
        let taken = rest.split_off(..(*size).min(rest.len())).expect("within");
        if !taken.is_empty() {
            let (entry, object) = leaf(number, taken);
            leaves.push(entry.open(TOPIC, &object).expect("whole"));
            entries.push(entry);
        }
    }
    let content = ManifestContent {
        leaves: entries,
        ..content(rest.to_vec(), &ends(files))
    };
    let (manifest, _) = Manifest::decode(&encoded(&content)).expect("decodes");
    assert_eq!(manifest.to_content(), content);
    (manifest, leaves)
}

proptest! {
    /// Whoever opens leaves where the root names one finds what one level would have told.
    #[test]
    fn two_levels_tell_what_one_tells(files in files(), sizes in vec(1..6usize, 0..8)) {
        let flat = Manifest::new(content(files.clone(), &ends(&files))).expect("well formed");
        let (root, leaves) = two_level(&files, &sizes);
        for partition in (0..3).map(PartitionIndex) {
            prop_assert_eq!(flat.published_end(partition), root.published_end(partition));
            prop_assert_eq!(flat.stored_bytes(partition), root.stored_bytes(partition));
            for from in (0..flat.published_end(partition).get() + 2).map(offset) {
                let one = flat.spans_from(partition, from).map(|found| match found.holder {
                    Holder::Table(table) => (table.tail_crc, *found.span),
                    Holder::Leaf(_) => unreachable!("one level"),
                });
                let two = root.spans_from(partition, from).flat_map(|found| match found.holder {
                    Holder::Table(table) => vec![(table.tail_crc, *found.span)],
                    Holder::Leaf(entry) => {
                        let number = root.leaves().iter().position(|one| Arc::ptr_eq(one, entry));
                        let within = leaves[number.expect("named")].spans_from(partition, from);
                        within.map(|found| (found.table.tail_crc, *found.span)).collect()
                    }
                });
                prop_assert_eq!(one.collect::<Vec<_>>(), two.collect::<Vec<_>>());
            }
        }
    }

    /// The root says of a leaf what is true of all in it.
    #[test]
    fn a_root_knows_the_bounds_of_its_leaves(files in files()) {
        let (entry, _) = leaf(1, &files);
        for one in &entry.spans {
            let within = files.iter().flat_map(|file| &file.spans);
            let within: Vec<_> = within.filter(|span| span.partition == one.span.partition).collect();
            let records = |span: &&&SpanEntry| span.records > 0;
            let min = within.iter().filter(records).map(|span| span.min_timestamp).min();
            let max = within.iter().filter(records).map(|span| span.max_timestamp).max();
            prop_assert!(min.is_none_or(|min| min == one.span.min_timestamp));
            prop_assert!(max.is_none_or(|max| max == one.span.max_timestamp));
            prop_assert_eq!(within.iter().map(|span| span.records).sum::<u64>(), one.span.records);
        }
    }

    #[test]
    fn any_flipped_bit_of_a_leaf_behind_the_header_is_found(
        files in files(),
        at: prop::sample::Index,
        bits in 1..=255u8,
    ) {
        let (entry, object) = leaf(1, &files);
        let mut bytes = object.to_vec();
        let header = crate::parted::PARTED_HEADER_BYTES;
        let at = header + at.index(bytes.len() - header);
        bytes[at] ^= bits;
        prop_assert!(entry.open(TOPIC, &bytes.into()).is_err());
    }

    #[test]
    fn random_bytes_are_no_leaf(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Leaf::decode(&bytes.into()).is_err());
    }
}

#[test]
fn another_leaf_than_the_one_that_is_named_is_refused() {
    let files = [
        table(1, vec![span_of(0, 0, 10)]),
        table(2, vec![span_of(0, 10, 20)]),
    ];
    let (entry, object) = leaf(1, &files);
    assert!(entry.open(TOPIC, &object).is_ok());
    assert!(entry.open(TopicId(Uuid::from_u128(8)), &object).is_err());
    let (_, other) = leaf(1, &files[..1]);
    assert!(entry.open(TOPIC, &other).is_err());
    let changes: [fn(&mut LeafEntry); 5] = [
        |entry| entry.index_crc ^= 1,
        |entry| entry.tables += 1,
        |entry| entry.spans[0].span.records -= 1,
        |entry| entry.spans[0].stored_bytes += 1,
        |entry| entry.spans.clear(),
    ];
    for change in changes {
        let mut entry = entry.clone();
        change(&mut entry);
        assert!(entry.open(TOPIC, &object).is_err(), "{entry:?}");
    }
}

#[test]
fn leaves_and_tables_have_no_offset_in_common() {
    let files = [
        table(1, vec![span_of(0, 0, 10), span_of(1, 0, 5)]),
        table(2, vec![span_of(0, 20, 30)]),
    ];
    let (entry, _) = leaf(1, &files);
    let named = |leaves: Vec<LeafEntry>, base: i64| {
        let content = ManifestContent {
            leaves,
            ..content(
                vec![table(3, vec![span_of(0, base, 40)])],
                &[(0, 40), (1, 5)],
            )
        };
        Manifest::new(content)
    };
    assert!(named(vec![entry.clone()], 30).is_ok());
    assert!(named(vec![entry.clone()], 29).is_err());
    // Within the leaf nothing answers for 10 to 20, and nothing else may.
    assert!(named(vec![entry.clone()], 12).is_err());
    assert!(named(vec![entry.clone(), entry.clone()], 30).is_err());
    let mut beyond = entry;
    beyond.spans[1].span.next_offset = offset(6);
    assert!(named(vec![beyond], 30).is_err(), "beyond what is published");
    assert!(
        Leaf::new(TOPIC, Vec::new()).is_err(),
        "there is nothing in it"
    );
    let overlap = [table(1, vec![span_of(0, 0, 11)]), files[0].clone()];
    let overlap = overlap.into_iter().map(Arc::new).collect();
    assert!(Leaf::new(TOPIC, overlap).is_err());
}
