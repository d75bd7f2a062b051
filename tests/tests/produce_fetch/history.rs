//! History: what is published is read from table files by the same consumers, when nothing else of it is left.

use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use alluvium_tests::broker::{Broker, BrokerOptions, until};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::events::{ConsumePlan, LoadPlan, Tally, consume, load};
use alluvium_tests::published::{files, newest_manifest, quick};

const PARTITIONS: i32 = 5;
const EVENTS: u64 = 10_000;

async fn consumed(broker: &Broker, topic: &Topic) -> Tally {
    let plan = ConsumePlan::new(PARTITIONS);
    let consumed = consume(&broker.endpoint(), topic, &plan, |_| ()).await;
    consumed.expect("everything is read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_read_history_when_its_segments_are_gone() {
    let options = quick(BrokerOptions::new()).set("log.segment.delete.delay.ms", 500);
    let mut broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("events", PARTITIONS, &[]).await;
    let plan = LoadPlan::new(1, EVENTS, PARTITIONS);
    let loaded = load(&broker.endpoint(), &topic, &plan, |_| ()).await;
    let loaded = loaded.expect("everything is acknowledged").tally;
    let publish = ["compaction", "run", "--topic", "events", "--wait"];
    broker.command_ok(&publish, "").await;
    assert_eq!(consumed(&broker, &topic).await, loaded);

    let folder = broker.folder().join("objects/segments");
    until("the segments are deleted", async || {
        files(&folder, "seg").is_empty()
    })
    .await;
    assert_eq!(consumed(&broker, &topic).await, loaded);

    // A new process knows of history by the manifest alone, and goes on where it ends.
    broker.kill();
    broker.restart().await;
    assert_eq!(consumed(&broker, &topic).await, loaded);
    let mut client = Client::connect(&broker.endpoint()).await;
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(1, None, Some(b"next"), NO_HEADERS);
    let answer = client
        .produce(&topic, 0, batch.build().expect("small"))
        .await;
    let next = loaded.partitions[&0].last + 1;
    assert_eq!((answer.error_code, answer.base_offset), (0, next));
    let all = consumed(&broker, &topic).await;
    assert_eq!(all.records, loaded.records + 1);
    assert_eq!(all.partitions[&0].last, next);
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
}

/// A manifest of two levels: readers come through its leaves, and retention lets go of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_read_through_leaves_until_retention_lets_go_of_them() {
    // Of class `object`, so that no publication waits for a segment.
    let options = BrokerOptions::new()
        .durability_object()
        .set("publish.interval.ms", "1h")
        .set("publish.leaf.tables", 2)
        .set("log.segment.delete.delay.ms", 500);
    let mut broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("t", 2, &[]).await;
    let value = |partition: i32, number: usize| format!("{partition}-{number}");
    let publish = ["compaction", "run", "--topic", "t", "--wait"];
    let rounds = 7;
    for number in 0..rounds {
        for partition in [0, 1] {
            let value = value(partition, number);
            let offset = client.produce_values(&topic, partition, &[&value]).await;
            assert_eq!(offset, number as i64);
        }
        broker.command_ok(&publish, "").await;
    }
    // All but the newest file are in leaves.
    let (_, manifest) = newest_manifest(&broker, &topic).expect("published");
    let levels = (manifest.leaves().len(), manifest.tables().len());
    assert_eq!(levels, (3, 1));
    let expected = |partition| (0..rounds).map(move |number| value(partition, number));
    for partition in [0, 1] {
        let all: Vec<_> = expected(partition).collect();
        assert_eq!(client.values(&topic, partition).await, all);
    }
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    for partition in [0, 1] {
        for from in 0..rounds {
            let records = client.read(&topic, partition, from as i64).await;
            let values = records.iter().map(|record| record.value.as_deref());
            let wanted: Vec<_> = expected(partition).skip(from).collect();
            let wanted = wanted.iter().map(|value| Some(value.as_bytes()));
            assert!(values.eq(wanted), "{partition} from {from}");
        }
    }

    // What one record takes stays of each partition, and of the files nothing that is behind.
    let alter = ["topic", "alter", "t", "--set", "retention.bytes=1"];
    broker.command_ok(&alter, "").await;
    let (tables, manifests) = ("objects/tables", "objects/manifests");
    let count = |folder, extension| files(&broker.folder().join(folder), extension).len();
    until("old leaves are gone", async || {
        count(manifests, "leaf") == 0 && count(tables, "parquet") == 1
    })
    .await;
    for partition in [0, 1] {
        let last = rounds as i64 - 1;
        let records = client.read(&topic, partition, last).await;
        assert_eq!(records.len(), 1);
    }
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
}
