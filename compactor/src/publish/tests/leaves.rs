//! Manifests of two levels, from the first publication to the last file that is let go of.

use std::collections::BTreeSet;

use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::offset::Offset;
use alluvium_metadata::compaction::PublicationWriter;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use super::compactors::eager;
use super::world::{World, tp};
use super::*;
use crate::leaves::{LeafLimits, read_leaf};

/// Leaves of few files: too few are left for joining.
pub fn small_leaves(tables: usize, kept: usize) -> PublishOptions {
    PublishOptions {
        leaves: LeafLimits {
            tables,
            spans: usize::MAX,
            kept,
        },
        ..eager()
    }
}

impl World {
    /// One publication after the other, with what is not named any more deleted at once.
    async fn publications(&mut self, publisher: &mut Publisher, topic: TopicId, count: usize) {
        for _ in 0..count {
            for partition in [0, 1] {
                self.commit(tp(topic, partition), 3).await;
            }
            self.settle_and_delete(publisher).await;
            self.check_topic(topic).await;
        }
    }

    async fn settle_and_delete(&self, publisher: &mut Publisher) {
        self.settle(&mut [&mut *publisher]).await;
        let graves = Arc::clone(&publisher.with.graves);
        while graves.delete_due().await > 0 {}
        assert!(graves.is_empty());
    }

    /// Whatever the manifest that counts names, directly or in leaves, with its own name.
    async fn named(&self, topic: TopicId) -> BTreeSet<String> {
        let writer = PublicationWriter::new(self.memory.clone(), self.keys.clone());
        let stands = writer.read(topic).await.expect("read").expect("published");
        let manifest = self.manifest(topic).await.expect("published");
        let mut named = BTreeSet::from([stands.record.object_key.to_string()]);
        let mut tables = manifest.tables().to_vec();
        for entry in manifest.leaves() {
            named.insert(entry.object_key.to_string());
            let leaf = read_leaf(&*self.bucket, topic, entry).await.expect("whole");
            tables.extend_from_slice(leaf.tables());
        }
        named.extend(tables.iter().map(|table| table.object_key.to_string()));
        named
    }

    /// The bucket has that, and of tables and manifests nothing else.
    async fn check_bucket(&self, topic: TopicId) {
        let mut there = BTreeSet::new();
        for folder in ["tables", "manifests"] {
            let listed = self.bucket.list(Some(&Path::from(folder)));
            let listed: Vec<_> = listed.try_collect().await.expect("listed");
            there.extend(listed.into_iter().map(|object| object.location.to_string()));
        }
        assert_eq!(there, self.named(topic).await);
    }

    async fn leaves(&self, topic: TopicId) -> usize {
        let manifest = self.manifest(topic).await.expect("published");
        manifest.leaves().len()
    }
}

#[tokio::test(start_paused = true)]
async fn older_files_go_to_leaves_and_nothing_else_changes() {
    let mut world = World::new(1).await;
    let broker = world.broker(1).await;
    let topic = world.topic("t", 2, broker).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, small_leaves(3, 2));
    let mut files = Vec::new();
    for _ in 0..12 {
        world.publications(&mut publisher, topic, 1).await;
        let manifest = world.manifest(topic).await.expect("published");
        files.push((manifest.leaves().len(), manifest.tables().len()));
        world.check_bucket(topic).await;
    }
    let expected = [
        (0, 1),
        (0, 2),
        (0, 3),
        (0, 4),
        (1, 2),
        (1, 3),
        (1, 4),
        (2, 2),
        (2, 3),
        (2, 4),
        (3, 2),
        (3, 3),
    ];
    assert_eq!(files, expected);
    assert_eq!(publisher.with.metrics.leaves.get(), 3);
    world.check_all().await;

    // Whoever goes on knows what is there.
    session.close().await.expect("closed");
    let other = world.session(11).await;
    let mut publisher = world.publisher(&other, small_leaves(3, 2));
    world.publications(&mut publisher, topic, 2).await;
    assert_eq!(world.leaves(topic).await, 4);
    world.check_all().await;
}

/// I23: nothing goes early, and what is deleted goes as far as it can.
#[tokio::test(start_paused = true)]
async fn retention_lets_go_of_leaves_and_of_what_is_in_the_first() {
    let mut world = World::new(2).await;
    let broker = world.broker(1).await;
    let topic = world.topic("t", 2, broker).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, small_leaves(3, 2));
    // Files of three records of each partition, three of them in a leaf.
    world.publications(&mut publisher, topic, 12).await;
    let offset = |at| Offset::new(at).expect("not negative");
    let mut left = Vec::new();
    for to in [1, 3, 9, 15, 36] {
        world.set_log_start(tp(topic, 0), offset(to)).await;
        world.settle_and_delete(&mut publisher).await;
        world.check_topic(topic).await;
        // The other partition still has its records there.
        world.set_log_start(tp(topic, 1), offset(to)).await;
        world.settle_and_delete(&mut publisher).await;
        world.check_topic(topic).await;
        world.check_bucket(topic).await;
        left.push((world.leaves(topic).await, world.named(topic).await.len()));
    }
    // With the manifest itself: 12 files in 3 leaves, 11, 9 in 2, 7, none.
    assert_eq!(left, [(3, 16), (3, 15), (2, 12), (2, 10), (0, 1)]);
    world.publications(&mut publisher, topic, 6).await;
    world.check_all().await;
}

/// Some at a time, and none is taken for one of which something is left.
#[tokio::test(start_paused = true)]
async fn many_leaves_go_one_after_the_other() {
    let mut world = World::new(6).await;
    let broker = world.broker(1).await;
    let topic = world.topic("t", 2, broker).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, small_leaves(2, 1));
    world.publications(&mut publisher, topic, 40).await;
    let leaves = world.leaves(topic).await;
    assert_eq!(leaves, 19);
    // Within the last leaf but one.
    let to = Offset::new(3 * 35).expect("not negative");
    for partition in [0, 1] {
        world.set_log_start(tp(topic, partition), to).await;
    }
    let round = world.round(&mut publisher).await;
    assert_eq!((round.failed, round.more), (0, true));
    assert_eq!(
        world.leaves(topic).await,
        leaves - crate::leaves::NEW_LEAVES_MAX
    );
    world.settle_and_delete(&mut publisher).await;
    world.check_topic(topic).await;
    world.check_bucket(topic).await;
    // Of the one in which the logs begin the second file, the last one, what is in none, and the manifest.
    let named = world.named(topic).await.len();
    assert_eq!(
        (world.leaves(topic).await, named),
        (2, 1 + 1 + 1 + 2 + 2 + 1)
    );
}

/// Of a leaf that is lost nobody knows which files it listed: when it goes they are left to a sweep.
#[tokio::test(start_paused = true)]
async fn a_damaged_leaf_does_not_keep_what_is_behind_it() {
    let mut world = World::new(3).await;
    let broker = world.broker(1).await;
    let topic = world.topic("t", 2, broker).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, small_leaves(3, 2));
    world.publications(&mut publisher, topic, 9).await;
    let manifest = world.manifest(topic).await.expect("published");
    let damaged = manifest.leaves()[0].object_key.to_string();
    world.bucket_faults.add(FaultRule {
        name_contains: Some(damaged.clone()),
        ..FaultRule::always(Operation::Get, Fault::FlipBit)
    });
    for partition in [0, 1] {
        let to = Offset::new(5).expect("not negative");
        world.set_log_start(tp(topic, partition), to).await;
    }
    world.settle_and_delete(&mut publisher).await;
    assert_eq!(world.leaves(topic).await, 2, "something of it is readable");
    for partition in [0, 1] {
        let to = Offset::new(20).expect("not negative");
        world.set_log_start(tp(topic, partition), to).await;
    }
    world.settle_and_delete(&mut publisher).await;
    let named = world.named(topic).await;
    assert!(!named.contains(&damaged), "{named:?}");
    assert_eq!(world.leaves(topic).await, 0);
    world.check_topic(topic).await;
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_is_not_put_is_put_later() {
    for fault in [Fault::LoseReply, Fault::Hang] {
        let mut world = World::new(4).await;
        let broker = world.broker(1).await;
        let topic = world.topic("t", 2, broker).await;
        let session = world.session(10).await;
        let mut publisher = world.publisher(&session, small_leaves(3, 2));
        world.publications(&mut publisher, topic, 4).await;
        world.bucket_faults.add(FaultRule {
            name_contains: Some("/leaves/".to_owned()),
            ..FaultRule::next(Operation::Put, 1, fault)
        });
        world.commit(tp(topic, 0), 3).await;
        let round = world.round(&mut publisher).await;
        assert_eq!((round.published, round.failed), (0, 1));
        world.check_topic(topic).await;
        world.publications(&mut publisher, topic, 1).await;
        assert_eq!(world.leaves(topic).await, 1);
        world.check_all().await;
    }
}

/// Key compaction has to write all files anew: they come back, and stay.
#[tokio::test(start_paused = true)]
async fn a_topic_that_becomes_compacted_gets_its_files_back() {
    let mut world = World::new(5).await;
    let broker = world.broker(1).await;
    let topic = world.topic("t", 2, broker).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, small_leaves(1, 1));
    world.publications(&mut publisher, topic, 20).await;
    assert_eq!(world.leaves(topic).await, 19);
    session.close().await.expect("closed");

    let mut options = small_leaves(1, 1);
    // Never so dirty that it is cleaned.
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "1"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    options.topic_defaults = settings.into();
    let other = world.session(11).await;
    let mut publisher = world.publisher(&other, options);
    let round = world.round(&mut publisher).await;
    assert_eq!((round.failed, round.more), (0, true));
    assert_eq!(
        world.leaves(topic).await,
        19 - crate::leaves::NEW_LEAVES_MAX
    );
    world.settle_and_delete(&mut publisher).await;
    assert_eq!(world.leaves(topic).await, 0);
    world.publications(&mut publisher, topic, 3).await;
    assert_eq!(world.leaves(topic).await, 0);
    world.check_bucket(topic).await;
    world.check_all().await;
}
