//! Manifests of two levels.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::PublishedRecord;
use alluvium_segment::manifest::{Leaf, LeafEntry};
use alluvium_segment::object_key::ManifestName;

use super::*;
use crate::audit::published;

/// What the audit knows of a topic with six files of ten records, the first four of them in two leaves, and the leaves' names.
struct TwoLevels {
    objects: InMemory,
    record: PublishedRecord,
    leaves: Vec<LeafEntry>,
}

impl TwoLevels {
    async fn new(change: impl FnOnce(&mut ManifestContent)) -> Self {
        let objects = InMemory::new();
        let spans: Vec<_> = (0..6)
            .map(|number| (10 * number, 10 * number + 10))
            .collect();
        let mut content = manifest(TOPIC, &spans, 60).to_content();
        for number in 0..2 {
            let tables = content.tables.drain(..2).map(Arc::new).collect();
            let leaf = Leaf::new(TOPIC, tables).expect("well formed");
            let object = leaf.encode().expect("small");
            let written = written(100 + number);
            let key = ObjectKey::leaf(&TableName {
                topic_id: TOPIC,
                written,
            });
            let entry = LeafEntry::new(key, &object, &leaf);
            let bytes = object.chunks.concat();
            let path = Path::from(entry.object_key.as_str());
            objects.put(&path, bytes.into()).await.expect("put");
            content.leaves.push(entry);
        }
        change(&mut content);
        let object = content.encode().expect("small");
        let record = PublishedRecord {
            version: content.version,
            object_key: ObjectKey::manifest(&ManifestName {
                topic_id: TOPIC,
                version: content.version,
                written: written(1),
            }),
            size_bytes: object.size_bytes,
            index_length: object.index_length,
            index_crc: object.index_crc,
        };
        let path = Path::from(record.object_key.as_str());
        let bytes = object.chunks.concat();
        objects.put(&path, bytes.into()).await.expect("put");
        Self {
            objects,
            record,
            leaves: content.leaves,
        }
    }

    /// What is known then, what is referred to, and what is wrong.
    async fn check(&self) -> (Known, HashSet<ObjectKey>, Report) {
        let keys = Keys::new("");
        let topics = vec![(keys.topic(&topic(1).name), topic(1))];
        let partitions = vec![(keys.partition(tp(0)), named(0))];
        let mut known = Known::new(&keys, topics, partitions);
        let (mut referenced, mut report) = (HashSet::new(), Report::default());
        let mut leftovers = BTreeSet::new();
        let published = vec![(keys.published(TOPIC), self.record.clone())];
        published::check(
            &self.objects,
            &keys,
            published,
            &mut known,
            &mut leftovers,
            &mut referenced,
            &mut report,
        )
        .await;
        (known, referenced, report)
    }

    async fn damage(&self, leaf: usize, at: usize) {
        let path = Path::from(self.leaves[leaf].object_key.as_str());
        let whole = self.objects.get(&path).await.expect("there");
        let mut bytes = whole.bytes().await.expect("read").to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 4;
        self.objects.put(&path, bytes.into()).await.expect("put");
    }
}

#[tokio::test]
async fn what_leaves_list_is_checked_like_what_manifests_list() {
    let stored = TwoLevels::new(|_| ()).await;
    let (known, referenced, report) = stored.check().await;
    assert_eq!(report.findings, []);
    assert_eq!(report.leaves, 2);
    let flat = known.manifest(tp(0)).expect("published");
    assert_eq!((flat.leaves().len(), flat.tables().len()), (0, 6));
    // Six files, two leaves, and the manifest.
    assert_eq!(referenced.len(), 9);
    let found = partitions::check(tp(0), &named(0), Some(flat), Vec::new());
    assert_eq!(found, [""; 0]);
}

#[tokio::test]
async fn a_leaf_that_is_damaged_or_missing_is_told_and_the_rest_is_checked() {
    let stored = TwoLevels::new(|_| ()).await;
    // Behind the header, which is for repair tools.
    for at in (32..)
        .take(stored.leaves[1].size_bytes as usize - 32)
        .step_by(7)
    {
        stored.damage(1, at).await;
        let (known, _, report) = stored.check().await;
        let name = stored.leaves[1].object_key.as_str();
        assert_eq!(report.findings.len(), 1, "{at}");
        assert!(
            report.findings[0].what.contains(name),
            "{:?}",
            report.findings
        );
        let rest = known.manifest(tp(0)).expect("published");
        assert_eq!((rest.leaves().len(), rest.tables().len()), (1, 4));
        // Its offsets are not told as missing: they stand in files that nobody can name.
        let found = partitions::check(tp(0), &named(0), Some(rest), Vec::new());
        assert_eq!(found, [""; 0]);
        stored.damage(1, at).await;
    }
    let path = Path::from(stored.leaves[0].object_key.as_str());
    stored.objects.delete(&path).await.expect("deleted");
    assert_eq!(stored.check().await.2.findings.len(), 1);
}

#[tokio::test]
async fn what_a_root_says_of_its_leaves_has_to_be_true() {
    let changes: [fn(&mut ManifestContent); 5] = [
        |content| content.leaves[0].size_bytes += 1,
        |content| content.leaves[0].index_crc ^= 1,
        |content| content.leaves[0].tables = 1,
        |content| content.leaves[0].spans[0].span.records -= 1,
        |content| content.leaves[0].spans[0].stored_bytes += 1,
    ];
    for change in changes {
        let stored = TwoLevels::new(change).await;
        let found = stored.check().await.2.findings;
        assert_eq!(found.len(), 1, "{found:?}");
    }
    // A gap between two leaves is a loss, as one between two files is.
    let stored = TwoLevels::new(|content| drop(content.leaves.remove(1))).await;
    let (known, _, report) = stored.check().await;
    assert_eq!(report.findings, []);
    let found = partitions::check(tp(0), &named(0), known.manifest(tp(0)), Vec::new());
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("offsets 20 to before 40"), "{found:?}");
}
