//! Reading what is published, and comparing it with the model (I20).

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::compaction::PublicationWriter;
use alluvium_segment::manifest::{Manifest, TableEntry};
use alluvium_table::{TableFile, TableRef};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::batches::Seen;
use super::read_manifest;
use super::world::{Rows, World, tp};
use crate::leaves::read_leaf;

impl World {
    /// The manifest of a topic that counts.
    pub async fn manifest(&self, topic_id: TopicId) -> Option<Manifest> {
        let writer = PublicationWriter::new(self.memory.clone(), self.keys.clone());
        let stands = writer.read(topic_id).await.expect("read")?;
        let manifest = read_manifest(&*self.bucket, topic_id, &stands.record).await;
        Some(manifest.expect("whole"))
    }

    pub async fn published_end(&self, tp: TopicPartition) -> i64 {
        let manifest = self.manifest(tp.topic_id).await;
        manifest.map_or(0, |manifest| manifest.published_end(tp.partition).get())
    }

    /// All records of all table files of a topic, by partition, as read from the files.
    pub async fn published_records(
        &self,
        manifest: &Manifest,
    ) -> BTreeMap<TopicPartition, BTreeMap<Offset, Seen>> {
        let topic_id = manifest.content().topic_id;
        let mut all: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        let mut tables = Vec::new();
        for entry in manifest.leaves() {
            let leaf = read_leaf(&*self.bucket, topic_id, entry).await;
            tables.extend_from_slice(leaf.expect("whole").tables());
        }
        tables.extend_from_slice(manifest.tables());
        for table in &tables {
            for (partition, seen) in self.table(table).await.iter() {
                let of_partition = all.entry(tp(topic_id, *partition)).or_default();
                let offset = seen.0.offset;
                let twice = of_partition.insert(offset, seen.clone());
                assert_eq!(twice, None, "partition {partition}, offset {offset}");
            }
        }
        all
    }

    async fn table(&self, table: &TableEntry) -> Rows {
        let known = self
            .tables
            .lock()
            .expect("sound")
            .get(&table.object_key)
            .cloned();
        if let Some(known) = known {
            return known;
        }
        let rows = Arc::new(self.read_table(table).await);
        let mut tables = self.tables.lock().expect("sound");
        tables.insert(table.object_key.clone(), Arc::clone(&rows));
        rows
    }

    async fn read_table(&self, table: &TableEntry) -> Vec<(i32, Seen)> {
        let path = Path::from(table.object_key.as_str());
        let object = self.bucket.get(&path).await.expect("there");
        let bytes: Bytes = object.bytes().await.expect("read");
        assert_eq!(bytes.len() as u64, table.size_bytes);
        let reference = TableRef {
            size_bytes: table.size_bytes,
            tail_length: table.tail_length,
            tail_crc: table.tail_crc,
        };
        let slice =
            |range: std::ops::Range<u64>| bytes.slice(range.start as usize..range.end as usize);
        let file = TableFile::open(&reference, slice(reference.tail_range()));
        let file = file.expect("whole");
        let mut rows: Vec<(i32, Seen)> = Vec::new();
        for (number, stripe) in file.stripes().iter().enumerate() {
            let ranges: Vec<_> = file.ranges(number).into_iter().map(slice).collect();
            let records = file.records(number, &ranges).expect("whole");
            rows.extend(records.into_iter().map(|seen| (stripe.partition.0, seen)));
        }
        let place = |(partition, (record, _)): &(i32, Seen)| (*partition, record.offset);
        assert!(rows.is_sorted_by(|a, b| place(a) < place(b)));
        for span in &table.spans {
            let within = rows.iter().filter(|(partition, (record, _))| {
                *partition == span.partition.0
                    && (span.base_offset..span.next_offset).contains(&record.offset)
            });
            assert_eq!(within.count() as u64, span.records);
        }
        let named: u64 = table.spans.iter().map(|span| span.records).sum();
        assert_eq!(rows.len() as u64, named, "records outside of all spans");
        rows
    }

    /// Whatever is published of a topic is what was committed, without a gap up to where it says.
    pub async fn check_topic(&self, topic_id: TopicId) {
        let Some(manifest) = self.manifest(topic_id).await else {
            return;
        };
        let records = self.published_records(&manifest).await;
        for (tp, model) in &self.model.partitions {
            if tp.topic_id != topic_id {
                continue;
            }
            let end = manifest.published_end(tp.partition);
            assert!(end <= model.end, "{tp:?}: more than is committed");
            let none = BTreeMap::new();
            let published = records.get(tp).unwrap_or(&none);
            for (offset, seen) in published {
                assert_eq!(model.records.get(offset), Some(seen), "{tp:?}");
            }
            // What was deleted before it was published may be missing.
            for offset in model.records.range(model.log_start.min(end)..end) {
                assert!(
                    published.contains_key(offset.0),
                    "{tp:?}: {} is lost",
                    offset.0
                );
            }
        }
        let known = records
            .keys()
            .all(|tp| self.model.partitions.contains_key(tp));
        assert!(known, "records of partitions that have none");
    }

    /// All that is committed is published, and nothing else.
    pub async fn check_all(&self) {
        for topic_id in self.topics.keys() {
            self.check_topic(*topic_id).await;
            let manifest = self.manifest(*topic_id).await;
            let of_topic = self.model.partitions.iter();
            for (tp, model) in of_topic.filter(|(tp, _)| tp.topic_id == *topic_id) {
                let end = manifest.as_ref().map(|all| all.published_end(tp.partition));
                let end = end.unwrap_or(Offset::ZERO);
                let nothing_left = model.log_start >= model.end;
                assert!(
                    end == model.end || nothing_left,
                    "{tp:?}: published to {end} of {}",
                    model.end
                );
            }
        }
    }

    /// The manifests know of producers what a leader would learn from all footers.
    pub async fn check_producers(&self) {
        for (tp, model) in &self.model.partitions {
            let Some(manifest) = self.manifest(tp.topic_id).await else {
                continue;
            };
            let published = &manifest.content().partitions[&tp.partition];
            assert_eq!(published.producers, model.producers(), "{tp:?}");
        }
    }
}
