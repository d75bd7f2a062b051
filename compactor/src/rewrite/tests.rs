use std::collections::BTreeMap;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom, SharedRandom};
use alluvium_common::topic::TopicId;
use alluvium_segment::record_batch::{Codec, RecordHeader, TimestampType};
use alluvium_table::TableFile;
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::join::run_to_join;
use super::*;
use crate::fold::ReadError;
use crate::pace::Pace;
use crate::publish::PublishMetrics;
use crate::tables::PART_BYTES;

type Row = (i32, Record, TimestampType);

struct World {
    objects: Arc<dyn ObjectStore>,
    threads: BackgroundThreads,
    random: SharedRandom,
    metrics: PublishMetrics,
    seeded: Arc<SeededRandom>,
}

fn world(seed: u64) -> World {
    let seeded = SeededRandom::new(seed);
    World {
        objects: Arc::new(InMemory::new()),
        threads: BackgroundThreads::start("test", 1).expect("a thread"),
        random: seeded.clone(),
        metrics: PublishMetrics::default(),
        seeded,
    }
}

fn options() -> TableOptions {
    TableOptions {
        stripe_bytes: 2_000,
        row_group_bytes: 20_000,
        ..TableOptions::default()
    }
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

impl World {
    fn paced(&self) -> PacedObjects {
        PacedObjects {
            objects: Arc::clone(&self.objects),
            pace: Pace::unlimited(),
        }
    }

    fn seams(&self, table_bytes: u64) -> TableOutputSeams<'_> {
        TableOutputSeams {
            objects: self.paced(),
            threads: &self.threads,
            random: &self.random,
            metrics: &self.metrics,
            topic_id: TopicId(Uuid::from_u128(7)),
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(5),
            table_bytes,
            part_bytes: PART_BYTES,
        }
    }

    fn record(&self, at: i64, value_bytes: usize) -> Record {
        let value: Vec<u8> = std::iter::repeat_with(|| self.seeded.next_u64().to_le_bytes())
            .flatten()
            .take(value_bytes)
            .collect();
        let headers = (0..self.seeded.below(3)).map(|number| RecordHeader {
            key: Bytes::from(format!("h{number}")),
            value: None,
        });
        Record {
            offset: offset(at),
            timestamp: at * 7 - 100,
            key: (at % 3 != 0).then(|| Bytes::from(format!("k{at}"))),
            value: (at % 5 != 0).then(|| value.into()),
            headers: headers.collect(),
        }
    }

    /// A file with the records of some partitions, each from and up to an offset.
    async fn file(&self, spans: &[(i32, i64, i64)], value_bytes: usize) -> (TableEntry, Vec<Row>) {
        let mut rows = Vec::new();
        let mut output = TableOutput::new(self.seams(u64::MAX), &options()).expect("options");
        for (partition, from, to) in spans.iter().copied() {
            // Not every offset has a record.
            let offsets = (from..to).filter(|at| at % 4 != 3);
            let new: Vec<_> = offsets
                .map(|at| {
                    (
                        partition,
                        self.record(at, value_bytes),
                        TimestampType::CreateTime,
                    )
                })
                .collect();
            rows.extend(new.clone());
            let written = output.write(move |builder| {
                let partition = PartitionIndex(partition);
                builder.enter(partition, offset(from)).expect("ascends");
                for (_, record, timestamp_type) in &new {
                    let pushed = builder.push_record(record, *timestamp_type, Codec::Lz4);
                    pushed.expect("ascends");
                }
                builder.reach(offset(to));
                Ok(())
            });
            written.await.expect("written");
        }
        let mut files = output.end(Ok(())).await.expect("finished");
        (files.remove(0), rows)
    }

    async fn rows(&self, table: &TableEntry) -> Vec<Row> {
        let source = Source::open(&self.paced(), Arc::new(table.clone())).await;
        let source = source.expect("whole");
        let path = Path::from(table.object_key.as_str());
        let got = self.objects.get(&path).await.expect("there");
        let object = got.bytes().await.expect("read");
        let file: &TableFile = &source.file;
        let mut rows = Vec::new();
        for (number, stripe) in file.stripes().iter().enumerate() {
            let ranges = file.ranges(number).into_iter();
            let bytes = ranges.map(|range| object.slice(range.start as usize..range.end as usize));
            let records = file
                .records(number, &bytes.collect::<Vec<_>>())
                .expect("whole");
            let records = records.into_iter();
            rows.extend(records.map(|(record, kind)| (stripe.partition.0, record, kind)));
        }
        rows
    }

    async fn all_rows(&self, tables: &[TableEntry]) -> Vec<Row> {
        let mut rows = Vec::new();
        for table in tables {
            rows.extend(self.rows(table).await);
        }
        rows
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|(partition, record, _)| (*partition, record.offset));
    rows
}

/// First and next offset of each partition.
fn spans(tables: &[TableEntry]) -> BTreeMap<i32, Vec<(i64, i64)>> {
    let mut spans: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for span in tables.iter().flat_map(|table| &table.spans) {
        let offsets = (span.base_offset.get(), span.next_offset.get());
        spans.entry(span.partition.0).or_default().push(offsets);
    }
    spans
}

/// Written anew, in files of that size.
async fn rewritten(
    world: &World,
    table_bytes: u64,
    tables: Vec<TableEntry>,
    keep: Keep,
) -> Result<Vec<TableEntry>, PublishError> {
    let seams = world.seams(table_bytes);
    rewrite(seams, &options(), &shared(tables), &keep).await
}

fn shared(tables: Vec<TableEntry>) -> Vec<Arc<TableEntry>> {
    tables.into_iter().map(Arc::new).collect()
}

#[tokio::test]
async fn joined_files_hold_the_same_records_in_order() {
    let world = world(1);
    let files = [
        vec![(0, 0, 50), (2, 10, 40)],
        vec![(0, 50, 51), (1, 0, 200)],
        vec![(0, 51, 90), (1, 200, 210), (2, 40, 41)],
    ];
    let (mut tables, mut rows) = (Vec::new(), Vec::new());
    for file in &files {
        let (table, new) = world.file(file, 300).await;
        tables.push(table);
        rows.extend(new);
    }
    let joined = rewritten(&world, u64::MAX, tables.clone(), keep_all());
    let joined = joined.await.expect("joined");
    assert_eq!(joined.len(), 1);
    assert_eq!(world.all_rows(&joined).await, sorted(rows.clone()));
    let expected = [(0, vec![(0, 90)]), (1, vec![(0, 210)]), (2, vec![(10, 41)])];
    assert_eq!(spans(&joined), expected.into());

    // In as many files as it takes.
    let cut = rewritten(&world, 1, tables, keep_all());
    let cut = cut.await.expect("joined");
    assert!(cut.len() > 3);
    assert_eq!(world.all_rows(&cut).await, sorted(rows));
    for (partition, spans) in spans(&cut) {
        let follow = spans.windows(2).all(|pair| pair[0].1 == pair[1].0);
        assert!(follow, "partition {partition}: {spans:?}");
    }
}

#[tokio::test]
async fn what_is_not_kept_leaves_gaps_that_are_answered_for() {
    let world = world(2);
    let (table, rows) = world.file(&[(0, 0, 100), (1, 5, 20)], 100).await;
    let keep: Keep = Arc::new(|partition, record| partition.0 == 0 && record.offset.get() >= 60);
    let kept = rewritten(&world, u64::MAX, vec![table], keep);
    let kept = kept.await.expect("written");
    let expected = rows
        .into_iter()
        .filter(|row| row.0 == 0 && row.1.offset.get() >= 60);
    assert_eq!(world.all_rows(&kept).await, expected.collect::<Vec<_>>());
    assert_eq!(spans(&kept), [(0, vec![(0, 100)])].into());
    let none: Keep = Arc::new(|_, _| false);
    let nothing = rewritten(&world, u64::MAX, kept, none);
    assert_eq!(nothing.await.expect("written"), []);
}

/// Larger than what is held in memory as a whole.
#[tokio::test]
async fn a_large_file_is_read_in_pieces() {
    let world = world(3);
    let (large, mut rows) = world.file(&[(0, 0, 160), (1, 0, 20)], 100_000).await;
    assert!(large.size_bytes > 8 << 20, "{}", large.size_bytes);
    let (small, more) = world.file(&[(0, 160, 170)], 100).await;
    rows.extend(more);
    let joined = rewritten(&world, u64::MAX, vec![large, small], keep_all());
    let joined = joined.await.expect("joined");
    assert_eq!(world.all_rows(&joined).await, sorted(rows));
}

/// I18
#[tokio::test]
async fn damage_is_told_by_name() {
    let world = world(4);
    let (table, _) = world.file(&[(0, 0, 100)], 100).await;
    let path = Path::from(table.object_key.as_str());
    let got = world.objects.get(&path).await.expect("there");
    let mut bytes = got.bytes().await.expect("read").to_vec();
    bytes[500] ^= 1;
    let payload = PutPayload::from(bytes);
    world.objects.put(&path, payload).await.expect("put");
    let name = table.object_key.clone();
    let written = rewritten(&world, u64::MAX, vec![table], keep_all());
    let error = written.await.expect_err("damaged");
    assert!(
        matches!(&error, PublishError::Read(ReadError::Damaged { key, .. }) if *key == name),
        "{error}"
    );
}

#[test]
fn files_are_joined_level_by_level() {
    let table = |number: u128, size_bytes| {
        Arc::new(TableEntry {
            object_key: alluvium_segment::object_key::ObjectKey::table(
                &alluvium_segment::object_key::TableName {
                    topic_id: TopicId(Uuid::from_u128(7)),
                    written: alluvium_segment::object_key::SegmentName {
                        broker_id: BrokerId(1),
                        broker_epoch: BrokerEpoch(5),
                        id: Uuid::from_u128(number),
                    },
                },
            ),
            size_bytes,
            tail_length: 1,
            tail_crc: 0,
            spans: Vec::new(),
        })
    };
    let tables = |sizes: &[u64]| -> Vec<_> {
        let numbered = (0..).zip(sizes);
        numbered
            .map(|(number, mebibytes)| table(number, mebibytes << 20))
            .collect()
    };
    let run = |sizes: &[u64]| run_to_join(&tables(sizes), 256 << 20);
    assert_eq!(run(&[0; 7]), None);
    assert_eq!(run(&[0; 9]), Some(0..8));
    assert_eq!(run(&[20, 0, 0, 0, 0, 0, 0, 0, 0]), Some(1..9));
    assert_eq!(run(&[200; 20]), None, "as large as files get");
    let mut mixed = vec![9; 7];
    mixed.extend([0; 7]);
    assert_eq!(run(&mixed), None);
    mixed.insert(7, 60);
    assert_eq!(run(&mixed), Some(0..8));
}
