//! An etcd that is lost, and the metadata rebuilt from the bucket.

use std::path::{Path, PathBuf};

use alluvium_protocol::messages::OffsetCommitRequest;
use alluvium_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use alluvium_tests::broker::{Broker, BrokerOptions, texts, until};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::etcd::{ClusterOptions, skipped};

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

/// Every file below a folder whose name ends so.
fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, suffix));
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    found
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
    let segments = files(&broker.folder().join("objects/segments"), ".seg");
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
    let metadata = files(broker.folder(), ".redb");
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
    let metadata = files(broker.folder(), ".redb");
    assert_eq!(metadata.len(), 1, "the embedded store is one file");
    std::fs::remove_file(&metadata[0]).expect("removed");
    let segments = files(&broker.folder().join("objects/segments"), ".seg");
    assert!(segments.is_empty(), "nothing was uploaded: {segments:?}");
    broker.set("broker.id", 4);
    let (out, err) = texts(&broker.offline("restore", &[]).await);
    assert!(out.contains("restored"), "{out}{err}");
    broker.set("broker.id", 3);
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&orders, 0).await, expected(0, 9));
}
