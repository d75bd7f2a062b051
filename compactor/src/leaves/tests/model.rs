//! Two levels against one: whatever is published, joined, let go of and moved, both tell the same.

use std::collections::BTreeMap;

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_segment::manifest::{Holder, Manifest, ManifestContent, PublishedPartition};
use proptest::prelude::*;

use super::*;
use crate::retain::{Kept, LogStart, RetentionLimits, without_deleted};
use crate::rewrite::join::run_to_join;
use crate::rewrite::replace_tables;

const PARTITIONS: i32 = 3;
/// Files of half of that are not joined any more.
const TABLE_BYTES: u64 = 4_000;

#[derive(Debug, Clone)]
enum Op {
    /// A file: of each partition how many records, behind how large a gap, and how old they are.
    Publish([(i64, i64, i64); PARTITIONS as usize], u64),
    Join,
    /// Deletes the records of a partition below some offset, as part of a hundred.
    DeleteRecords(i32, i64),
    /// Retention, by age and bytes.
    Retain(Option<i64>, Option<u64>),
    Trim,
    Move,
    Dissolve,
}

fn op() -> impl Strategy<Value = Op> {
    let part = (0..6i64, 0..2i64, -3..40i64);
    let limit = |most: u64| prop_oneof![Just(None), (0..most).prop_map(Some)];
    prop_oneof![
        12 => ([part.clone(), part.clone(), part], 1..2_500u64).prop_map(|(parts, size)| Op::Publish(parts, size)),
        2 => Just(Op::Join),
        1 => (0..PARTITIONS, 0..100i64).prop_map(|(partition, to)| Op::DeleteRecords(partition, to)),
        2 => (limit(60), limit(9_000)).prop_map(|(ms, bytes)| Op::Retain(ms.map(|ms| ms as i64), bytes)),
        2 => Just(Op::Trim),
        3 => Just(Op::Move),
        1 => Just(Op::Dissolve),
    ]
}

struct Both {
    flat: ManifestContent,
    root: ManifestContent,
    leaves: Leaves,
    objects: Arc<InMemory>,
    random: Arc<SeededRandom>,
    log_starts: BTreeMap<PartitionIndex, Offset>,
    now_ms: i64,
}

impl Both {
    fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        Self {
            flat: ManifestContent::empty(TOPIC),
            root: ManifestContent::empty(TOPIC),
            leaves: Leaves::bounded(objects.clone(), 2_000),
            objects,
            random: SeededRandom::new(1),
            log_starts: (0..PARTITIONS)
                .map(|partition| (PartitionIndex(partition), Offset::ZERO))
                .collect(),
            now_ms: 0,
        }
    }

    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Publish(parts, size_bytes) => self.publish(parts, *size_bytes),
            Op::Join => self.join(),
            Op::DeleteRecords(partition, to) => {
                let partition = PartitionIndex(*partition);
                let end = self.end(partition).get();
                self.raise(partition, offset(end * to / 100));
            }
            Op::Retain(ms, bytes) => {
                let limits = RetentionLimits {
                    ms: *ms,
                    bytes: *bytes,
                };
                for partition in (0..PARTITIONS).map(PartitionIndex) {
                    let to = self
                        .log_start(&manifest(&self.root), partition, &limits)
                        .await;
                    let expected = self
                        .log_start(&manifest(&self.flat), partition, &limits)
                        .await;
                    assert_eq!(to, expected, "{partition} at {}", self.now_ms);
                    self.raise(partition, to);
                }
            }
            Op::Trim => self.trim().await,
            Op::Move => {
                let limits = LeafLimits {
                    tables: 3,
                    spans: 8,
                    kept: 2,
                };
                for count in leaving(&self.root, &limits, TABLE_BYTES).expect("in order") {
                    let tables = self.root.tables.drain(..count).collect();
                    let new = self.put_leaf(tables).await;
                    self.root.leaves.push(new);
                }
            }
            Op::Dissolve => {
                if let Some(entry) = self.root.leaves.pop() {
                    let leaf = self.leaves.read(TOPIC, &entry).await.expect("whole");
                    let tables = leaf.tables().iter().map(|table| TableEntry::clone(table));
                    self.root.tables.splice(..0, tables);
                }
            }
        }
    }

    fn publish(&mut self, parts: &[(i64, i64, i64)], size_bytes: u64) {
        self.now_ms += 10;
        let mut spans = Vec::new();
        for (partition, (records, gap, age)) in (0..).zip(parts) {
            if *records == 0 {
                continue;
            }
            let base = self.end(PartitionIndex(partition)).get() + gap;
            let youngest = self.now_ms - age;
            spans.push(SpanEntry {
                min_timestamp: youngest - 7,
                max_timestamp: youngest,
                ..span(partition, base, base + records)
            });
        }
        if spans.is_empty() {
            return;
        }
        let id = self.random.uuid().as_u128();
        let new = table(id, size_bytes, spans);
        for content in [&mut self.flat, &mut self.root] {
            for span in &new.spans {
                let published = PublishedPartition {
                    next_offset: span.next_offset,
                    ..PublishedPartition::default()
                };
                content.partitions.insert(span.partition, published);
            }
            content.tables.push(new.clone());
        }
    }

    /// Both have the same files at the end.
    fn join(&mut self) {
        let Some(run) = run_to_join(&self.root.tables, TABLE_BYTES) else {
            return;
        };
        let joined = self.root.tables[run.clone()].to_vec();
        let size_bytes = joined.iter().map(|table| table.size_bytes).sum();
        let (union, _) = leaf(Uuid::nil(), joined.clone());
        let spans = union.spans.iter().map(|one| one.span).collect();
        let new = table(self.random.uuid().as_u128(), size_bytes, spans);
        let before = self.flat.tables.len() - self.root.tables.len();
        let of_flat = before + run.start..before + run.end;
        assert_eq!(self.flat.tables[of_flat.clone()], joined);
        replace_tables(&mut self.flat, of_flat, vec![new.clone()]);
        replace_tables(&mut self.root, run, vec![new]);
    }

    async fn trim(&mut self) {
        let log_starts = self.log_starts.clone();
        let log_start = |partition| log_starts.get(&partition).copied();
        for _ in 0..2 {
            let root = manifest(&self.root);
            let trimmed = without_deleted(&root, &self.leaves, log_start).await;
            let Some(trimmed) = trimmed.expect("whole") else {
                break;
            };
            self.root = trimmed.content;
            if let Some(tables) = trimmed.first_leaf {
                let tables = tables.iter().map(|table| TableEntry::clone(table));
                self.root.leaves[0] = self.put_leaf(tables.collect()).await;
            }
            for key in trimmed.gone {
                let mut flat = self.flat.tables.iter();
                let gone = flat.find(|table| table.object_key == key).expect("known");
                for span in &gone.spans {
                    assert!(span.next_offset <= log_starts[&span.partition], "early");
                }
            }
        }
        // What is behind the first leaf may have to wait: then both keep it.
        let named = self.named().await;
        let flat = &mut self.flat.tables;
        let unreadable = |table: &TableEntry| {
            let mut spans = table.spans.iter();
            spans.all(|span| span.next_offset <= log_starts[&span.partition])
        };
        assert!(
            flat.iter()
                .all(|table| unreadable(table) || named.contains(&table.object_key))
        );
        flat.retain(|table| named.contains(&table.object_key));
    }

    async fn named(&self) -> Vec<ObjectKey> {
        let mut named: Vec<_> = self
            .root
            .tables
            .iter()
            .map(|table| table.object_key.clone())
            .collect();
        for entry in &self.root.leaves {
            let leaf = self.leaves.read(TOPIC, entry).await.expect("whole");
            named.extend(leaf.tables().iter().map(|table| table.object_key.clone()));
        }
        named
    }

    async fn put_leaf(&self, tables: Vec<TableEntry>) -> LeafEntry {
        put(&self.objects, leaf(self.random.uuid(), tables)).await
    }

    async fn log_start(
        &self,
        manifest: &Manifest,
        partition: PartitionIndex,
        limits: &RetentionLimits,
    ) -> Offset {
        let kept = Kept {
            manifest,
            partition,
            from: self.log_starts[&partition],
            unpublished_bytes: 10,
        };
        let mut known = BTreeMap::new();
        loop {
            let of = |entry: &LeafEntry| known.get(&entry.object_key).cloned();
            match kept.log_start(of, limits, self.now_ms) {
                LogStart::At(at) => return at,
                LogStart::In(entry) => {
                    let leaf = self.leaves.read(TOPIC, &entry).await.expect("whole");
                    let twice = known.insert(entry.object_key.clone(), leaf);
                    assert_eq!(twice, None);
                }
            }
        }
    }

    fn raise(&mut self, partition: PartitionIndex, to: Offset) {
        let known = self.log_starts.get_mut(&partition).expect("there");
        *known = to.max(*known);
    }

    fn end(&self, partition: PartitionIndex) -> Offset {
        let published = self.flat.partitions.get(&partition);
        published.map_or(Offset::ZERO, |published| published.next_offset)
    }

    /// Every question is answered alike.
    async fn compare(&self) {
        let (flat, root) = (manifest(&self.flat), manifest(&self.root));
        assert!(flat.leaves().is_empty());
        for partition in (0..PARTITIONS).map(PartitionIndex) {
            assert_eq!(flat.published_end(partition), root.published_end(partition));
            assert_eq!(flat.stored_bytes(partition), root.stored_bytes(partition));
            for from in (0..self.end(partition).get() + 2).map(offset) {
                let expected: Vec<_> = flat
                    .spans_from(partition, from)
                    .map(|one| *one.span)
                    .collect();
                let mut found = Vec::new();
                for one in root.spans_from(partition, from) {
                    match one.holder {
                        Holder::Table(_) => found.push(*one.span),
                        Holder::Leaf(entry) => {
                            let leaf = self.leaves.read(TOPIC, entry).await.expect("whole");
                            found.extend(leaf.spans_from(partition, from).map(|one| *one.span));
                        }
                    }
                }
                assert_eq!(found, expected, "{partition} from {from}");
            }
        }
    }
}

fn manifest(content: &ManifestContent) -> Manifest {
    Manifest::new(content.clone()).expect("well formed")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// I23 too: retention is as early as in one level, and never earlier.
    #[test]
    fn two_levels_answer_as_one(ops in prop::collection::vec(op(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut both = Both::new();
            for op in &ops {
                both.apply(op).await;
            }
            both.compare().await;
        });
    }
}
