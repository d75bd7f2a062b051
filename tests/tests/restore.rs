//! An etcd that is lost, and the metadata rebuilt from the bucket.

use alluvium_protocol::messages::OffsetCommitRequest;
use alluvium_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use alluvium_tests::broker::{Broker, BrokerOptions, texts, until};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::etcd::{ClusterOptions, skipped};
use alluvium_tests::published::{files, newest_manifest, quick, until_published};

async fn made(broker: &Broker, metric: &str) -> f64 {
    broker.metrics().await.sum(metric)
}

async fn snapshot_made(broker: &Broker) {
    let metric = "alluvium_metadata_snapshot_made_total";
    until("a snapshot", async || made(broker, metric).await >= 1.0).await;
}

async fn commit_offset(client: &mut Client, topic: &Topic, offset: i64) {
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.clone().into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let answer = client.call_version(&request, 8).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

async fn produce(client: &mut Client, topic: &Topic, partition: i32, from: usize, to: usize) {
    for number in from..to {
        let value = format!("{partition}-{number}");
        let offset = client.produce_values(topic, partition, &[&value]).await;
        assert_eq!(offset, number as i64);
    }
}

fn expected(partition: i32, to: usize) -> Vec<String> {
    (0..to)
        .map(|number| format!("{partition}-{number}"))
        .collect()
}

#[tokio::test]
async fn a_cluster_whose_etcd_is_lost_is_restored_from_its_bucket() {
    if skipped() {
        return;
    }
    let lost = ClusterOptions::single().start().await;
    let options = BrokerOptions::new().durability_object();
    let options = options
        .set("metadata", lost.url())
        .set("snapshot.interval.ms", "1h");
    let mut broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let orders = client.create_topic("orders", 2, &[]).await;
    produce(&mut client, &orders, 0, 0, 100).await;
    commit_offset(&mut client, &orders, 42).await;
    // Most of them are folded by now, while the session goes on.
    until("a fold", async || {
        made(&broker, "alluvium_fold_runs_total").await >= 1.0
    })
    .await;
    assert!(broker.terminate().await.success());

    // The snapshot is made at the start; what follows only the bucket knows.
    broker.restart().await;
    snapshot_made(&broker).await;
    let mut client = Client::connect(&broker.endpoint()).await;
    commit_offset(&mut client, &orders, 77).await;
    produce(&mut client, &orders, 0, 100, 110).await;
    produce(&mut client, &orders, 1, 0, 5).await;
    let late = client.create_topic("late", 1, &[]).await;
    produce(&mut client, &late, 0, 0, 3).await;
    broker.kill();

    // A PUT that was repeated has left a copy of each of two segments.
    let segments = files(&broker.folder().join("objects/segments"), "seg");
    for (number, segment) in segments.iter().rev().take(2).enumerate() {
        let copy = segment.with_file_name(format!("{:032x}.seg", number + 1));
        std::fs::copy(segment, copy).expect("copied");
    }
    drop(lost);
    let fresh = ClusterOptions::single().start().await;
    broker.set("metadata", fresh.url());
    let dry = broker.offline("restore", &["--dry-run"]).await;
    let (out, err) = texts(&dry);
    assert!(
        dry.status.success() && out.contains("dry run"),
        "{out}{err}"
    );
    assert_eq!(fresh.ctl_ok(&["get", "--prefix", "/"]).await, "");
    let restored = broker.offline("restore", &[]).await;
    let (out, err) = texts(&restored);
    assert!(restored.status.success(), "{out}{err}");
    let recovered = format!("recovered-{}", late.id.simple());
    assert!(out.contains("WARNING") && out.contains(&recovered), "{out}");
    let (_, again) = texts(&broker.offline("restore", &[]).await);
    assert!(again.contains("an empty one"), "{again}");
    broker.verify_ok().await;

    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&orders, 0).await, expected(0, 110));
    assert_eq!(client.values(&orders, 1).await, expected(1, 5));
    let late = Topic {
        name: recovered.clone(),
        ..late
    };
    assert_eq!(client.values(&late, 0).await, expected(0, 3));
    let group = broker.command_ok(&["group", "describe", "g"], "").await;
    assert!(group.contains("42") && !group.contains("77"), "{group}");
    // It goes on, and a restart reads both what was restored and what came after.
    produce(&mut client, &orders, 0, 110, 115).await;
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&orders, 0).await, expected(0, 115));
}

/// Without any snapshot records are all that comes back.
#[tokio::test]
async fn without_a_snapshot_the_records_come_back() {
    let options = BrokerOptions::new().durability_object();
    let mut broker = options.set("snapshot.interval.ms", 0).start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let orders = client.create_topic("orders", 1, &[]).await;
    produce(&mut client, &orders, 0, 0, 5).await;
    broker.kill();
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    produce(&mut client, &orders, 0, 5, 9).await;
    assert!(broker.terminate().await.success());
    let metadata = files(broker.folder(), "redb");
    assert_eq!(metadata.len(), 1, "the embedded store is one file");
    metadata
        .iter()
        .for_each(|file| std::fs::remove_file(file).expect("removed"));
    let (out, err) = texts(&broker.offline("restore", &[]).await);
    assert!(out.contains("there is no snapshot"), "{out}{err}");
    broker.verify_ok().await;
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let recovered = Topic {
        name: format!("recovered-{}", orders.id.simple()),
        ..orders
    };
    assert_eq!(client.values(&recovered, 0).await, expected(0, 9));
}

/// Records of durability local that were never uploaded come from the data folder, whoever leads the rest.
#[tokio::test]
async fn what_only_the_write_ahead_log_holds_comes_back() {
    let options = BrokerOptions::new().set("snapshot.interval.ms", "1h");
    let options = options.set("segment.upload.ms", "10m").set("broker.id", 3);
    let mut broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let orders = client.create_topic("orders", 1, &[]).await;
    produce(&mut client, &orders, 0, 0, 5).await;
    broker.kill();
    // The snapshot knows the topic, and that the folder's log may hold more of it.
    broker.restart().await;
    snapshot_made(&broker).await;
    let mut client = Client::connect(&broker.endpoint()).await;
    produce(&mut client, &orders, 0, 5, 9).await;
    broker.kill();
    let metadata = files(broker.folder(), "redb");
    assert_eq!(metadata.len(), 1, "the embedded store is one file");
    std::fs::remove_file(&metadata[0]).expect("removed");
    let segments = files(&broker.folder().join("objects/segments"), "seg");
    assert!(segments.is_empty(), "nothing was uploaded: {segments:?}");
    broker.set("broker.id", 4);
    let (out, err) = texts(&broker.offline("restore", &[]).await);
    assert!(out.contains("restored"), "{out}{err}");
    broker.set("broker.id", 3);
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&orders, 0).await, expected(0, 9));
}

/// Removes the metadata and every segment: all in them is published.
fn lose_metadata_and_segments(broker: &Broker) {
    let metadata = files(broker.folder(), "redb");
    assert_eq!(metadata.len(), 1, "the embedded store is one file");
    let segments = files(&broker.folder().join("objects/segments"), "seg");
    assert!(!segments.is_empty());
    for file in metadata.iter().chain(&segments) {
        std::fs::remove_file(file).expect("removed");
    }
}

/// What is published comes back with nothing but its manifest and its table files, and what is not with its segments.
#[tokio::test]
async fn what_is_published_is_restored_without_segments() {
    let options = quick(BrokerOptions::new().durability_object());
    // Leaves of one table file, so that all but the newest are in some.
    let options = options
        .set("snapshot.interval.ms", "1h")
        .set("publish.leaf.tables", 1);
    let mut broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let orders = client.create_topic("orders", 2, &[]).await;
    broker.kill();
    // The snapshot knows the topic, and nothing of what follows.
    broker.restart().await;
    snapshot_made(&broker).await;
    let mut client = Client::connect(&broker.endpoint()).await;
    produce(&mut client, &orders, 0, 0, 10).await;
    until_published(&broker, &orders, &[10]).await;
    produce(&mut client, &orders, 0, 10, 20).await;
    let mut producer = client.producer().await;
    let batches: Vec<_> = ["0", "1", "2"]
        .map(|number| producer.batch(&[&format!("1-{number}")]))
        .into();
    for (offset, batch) in (0..).zip(&batches) {
        let answer = client.produce(&orders, 1, batch.clone()).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    until_published(&broker, &orders, &[20, 3]).await;
    assert!(broker.terminate().await.success());
    lose_metadata_and_segments(&broker);

    // Tables and leaves that are missing are told before anything is written.
    let (_, manifest) = newest_manifest(&broker, &orders).expect("a manifest");
    let leaf = manifest.leaves().first().expect("two files at least");
    let leaf = broker
        .folder()
        .join("objects")
        .join(leaf.object_key.as_str());
    let table = files(&broker.folder().join("objects/tables"), "parquet").remove(0);
    for missing in [table, leaf] {
        let aside = missing.with_extension("aside");
        std::fs::rename(&missing, &aside).expect("moved");
        let (out, err) = texts(&broker.offline("restore", &["--dry-run"]).await);
        assert!(out.contains("are LOST"), "{out}{err}");
        std::fs::rename(&aside, &missing).expect("moved back");
    }
    // A manifest that was put and is not whole counts for nothing.
    let (newest, _) = newest_manifest(&broker, &orders).expect("a manifest");
    let torn = newest.with_file_name(format!("{:032x}.manifest", 1));
    std::fs::write(&torn, b"ALVN").expect("written");

    let restored = broker.offline("restore", &[]).await;
    let (out, err) = texts(&restored);
    assert!(
        restored.status.success() && !out.contains("LOST"),
        "{out}{err}"
    );
    broker.verify_ok().await;
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&orders, 0).await, expected(0, 20));
    assert_eq!(client.values(&orders, 1).await, expected(1, 3));
    // Its producers come back too: a retry of what is published stands once.
    for (offset, batch) in (0..).zip(&batches) {
        let answer = client.produce(&orders, 1, batch.clone()).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    // It goes on, and the metadata is lost again: the new snapshot names segments that are published later.
    produce(&mut client, &orders, 0, 20, 30).await;
    until_published(&broker, &orders, &[30, 3]).await;
    broker.set("publish.interval.ms", "1h");
    assert!(broker.terminate().await.success());
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let published = files(&broker.folder().join("objects/segments"), "seg");
    produce(&mut client, &orders, 0, 30, 33).await;
    assert!(broker.terminate().await.success());
    let metadata = files(broker.folder(), "redb");
    for file in metadata.iter().chain(&published) {
        std::fs::remove_file(file).expect("removed");
    }
    let (out, err) = texts(&broker.offline("restore", &[]).await);
    assert!(
        out.contains("restored;") && !out.contains("LOST"),
        "{out}{err}"
    );
    broker.verify_ok().await;
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&orders, 0).await, expected(0, 33));
    assert_eq!(client.values(&orders, 1).await, expected(1, 3));
}

/// Without any snapshot, and without any segment.
#[tokio::test]
async fn manifests_alone_bring_records_back() {
    let options = quick(BrokerOptions::new().durability_object());
    let mut broker = options.set("snapshot.interval.ms", 0).start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let orders = client.create_topic("orders", 2, &[]).await;
    produce(&mut client, &orders, 1, 0, 9).await;
    until_published(&broker, &orders, &[0, 9]).await;
    assert!(broker.terminate().await.success());
    lose_metadata_and_segments(&broker);
    let (out, err) = texts(&broker.offline("restore", &[]).await);
    assert!(out.contains("there is no snapshot"), "{out}{err}");
    broker.verify_ok().await;
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let recovered = Topic {
        name: format!("recovered-{}", orders.id.simple()),
        ..orders
    };
    assert_eq!(client.values(&recovered, 1).await, expected(1, 9));
    produce(&mut client, &recovered, 1, 9, 12).await;
    assert_eq!(client.values(&recovered, 1).await, expected(1, 12));
}
