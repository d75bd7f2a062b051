//! History: what is published is read from table files by the same consumers, when nothing else of it is left.

use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use alluvium_tests::broker::{Broker, BrokerOptions, until};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::events::{ConsumePlan, LoadPlan, Tally, consume, load};
use alluvium_tests::published::{files, quick};

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
