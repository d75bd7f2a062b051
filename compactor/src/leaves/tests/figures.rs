//! How large manifests become.

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_segment::manifest::{ManifestContent, PublishedPartition};

use super::*;

const FILES: usize = 200_000;
const PARTITIONS: i32 = 12;

/// Bytes of the root of a topic of 50 TiB in 12 partitions, and of what is put for one publication: the root, and now and
/// then a leaf.
const BYTES_MAX: u64 = 384 << 10;

/// Full files, with numbers that look like those of a busy topic.
struct Topic {
    random: Arc<SeededRandom>,
    ends: Vec<i64>,
    now_ms: i64,
}

impl Topic {
    fn next_file(&mut self) -> TableEntry {
        self.now_ms += 60_000 + self.random.below(1_000) as i64;
        let mut spans = Vec::new();
        for (partition, end) in (0..).zip(&mut self.ends) {
            let base = *end;
            let records = 80_000 + self.random.below(40_000);
            *end += records as i64;
            spans.push(SpanEntry {
                records,
                raw_bytes: 1_000 * records + self.random.below(1 << 20),
                min_timestamp: self.now_ms - 60_000 + self.random.below(1_000) as i64,
                max_timestamp: self.now_ms - self.random.below(1_000) as i64,
                ..span(partition, base, *end)
            });
        }
        TableEntry {
            object_key: ObjectKey::table(&name(self.random.uuid())),
            size_bytes: (256 << 20) + self.random.below(1 << 20),
            tail_length: 300_000 + self.random.below(10_000) as u32,
            tail_crc: self.random.next_u64() as u32,
            spans,
        }
    }
}

#[test]
fn a_manifest_does_not_grow_with_history() {
    let limits = LeafLimits::default();
    let random = SeededRandom::new(1);
    let mut topic = Topic {
        random: Arc::clone(&random),
        ends: vec![4_000_000_000; PARTITIONS as usize],
        now_ms: 1_700_000_000_000,
    };
    let mut content = ManifestContent::empty(TOPIC);
    let (mut largest_root, mut largest_put) = (0, 0);
    let mut object = None;
    for files in 1..=FILES {
        content.tables.push(topic.next_file());
        if content.tables.len() < limits.tables + limits.kept {
            continue;
        }
        for (partition, end) in (0..).zip(&topic.ends) {
            let published = PublishedPartition {
                next_offset: offset(*end),
                ..PublishedPartition::default()
            };
            content
                .partitions
                .insert(PartitionIndex(partition), published);
        }
        let leaves = leaving(&content, &limits, 256 << 20).expect("in order");
        assert_eq!(leaves.len(), 1);
        // The root is largest before files leave it, and most is put when they do.
        let is_looked_at = content.leaves.len().is_multiple_of(20) || files > FILES - limits.tables;
        let root_bytes = |content: &ManifestContent| match is_looked_at {
            true => content.encode().expect("encodes").size_bytes,
            false => 0,
        };
        largest_root = largest_root.max(root_bytes(&content));
        let tables = content.tables.drain(..leaves[0]).map(Arc::new).collect();
        let leaf = Leaf::new(TOPIC, tables).expect("well formed");
        // The others are as large as one that was looked at: to encode all takes long.
        if is_looked_at {
            object = Some(leaf.encode().expect("encodes"));
        }
        let object = object.as_mut().expect("the first is looked at");
        object.index_crc = random.next_u64() as u32;
        let object_key = ObjectKey::leaf(&name(random.uuid()));
        let entry = LeafEntry::new(object_key, object, &leaf);
        content.leaves.push(entry);
        largest_put = largest_put.max(object.size_bytes + root_bytes(&content));
    }
    assert_eq!(content.leaves.len(), (FILES - limits.kept) / limits.tables);
    println!("root {largest_root}, with a leaf {largest_put}");
    assert!(largest_root.max(largest_put) <= BYTES_MAX);
    // What it saves: in one level each publication would put what leaves list.
    let in_leaves = content.leaves.iter().map(|leaf| leaf.size_bytes);
    assert!(in_leaves.sum::<u64>() > 100 * BYTES_MAX);
}
