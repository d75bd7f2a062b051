//! A compacted topic from outside, against a model: what was published and cleaned has the latest record of each key, and
//! no record that a later one of its key replaced (I21).

use std::collections::BTreeMap;
use std::time::Duration;

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use anyhow::ensure;
use tokio::time::{Instant, sleep};

use crate::broker::{Broker, BrokerOptions, PATIENCE, until};
use crate::client::{Client, Topic};
use crate::published::quick;

const PARTITIONS: i32 = 2;
const KEYS: u64 = 40;
const RECORDS: u64 = 1_500;
const BATCH: u64 = 50;

/// Pause between two looks at what a broker gives.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The latest value of each key of each partition, with its offset; `None` is a tombstone.
type Model = BTreeMap<(i32, String), (i64, Option<String>)>;

async fn load(client: &mut Client, topic: &Topic, random: &SeededRandom, model: &mut Model) {
    for number in 0..RECORDS / BATCH {
        let partition = (number % PARTITIONS as u64) as i32;
        let records: Vec<_> = (0..BATCH)
            .map(|_| {
                let key = format!("key-{}", random.below(KEYS));
                let is_tombstone = random.below(10) == 0;
                let value = (!is_tombstone).then(|| format!("value {}", random.below(1 << 40)));
                (key, value)
            })
            .collect();
        let mut builder = BatchBuilder::new(Codec::Lz4);
        for (key, value) in &records {
            let value = value.as_ref().map(String::as_bytes);
            builder.push(1_700_000_000_000, Some(key.as_bytes()), value, NO_HEADERS);
        }
        let batch = builder.build().expect("small");
        let answer = client.produce(topic, partition, batch).await;
        assert_eq!(answer.error_code, 0);
        for (offset, (key, value)) in (answer.base_offset..).zip(records) {
            model.insert((partition, key), (offset, value));
        }
    }
}

/// What a consumer has seen last of each key, and how many records it was given.
async fn read(client: &mut Client, topic: &Topic) -> (Model, usize) {
    let (mut seen, mut records) = (Model::new(), 0);
    for partition in 0..PARTITIONS {
        let mut before = -1;
        for record in client.read(topic, partition, 0).await {
            assert!(record.offset.get() > before, "offsets ascend");
            before = record.offset.get();
            records += 1;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            let key = text(&record.key.expect("a key"));
            let value = record.value.as_deref().map(text);
            seen.insert((partition, key), (record.offset.get(), value));
        }
    }
    (seen, records)
}

/// Waits until one more cleaning has come to its end.
async fn until_cleaned(broker: &Broker, before: f64) {
    until("the topic is cleaned", async || {
        cleanings(broker).await > before
    })
    .await;
}

async fn cleanings(broker: &Broker) -> f64 {
    broker.metrics().await.sum("alluvium_clean_passes_total")
}

/// A broker for it.
pub async fn start(options: BrokerOptions) -> Broker {
    quick(options.durability_object()).start().await
}

/// Loads a compacted topic, has it published and cleaned, three times, and reads it, before and after the broker is killed.
///
/// # Errors
/// What a consumer is given is not what the model says.
pub async fn try_out(broker: &mut Broker) -> anyhow::Result<()> {
    let mut client = Client::connect(&broker.endpoint()).await;
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "86400000"),
    ];
    let topic = client.create_topic("users", PARTITIONS, &settings).await;
    let random = SeededRandom::new(7);
    let mut model = Model::new();
    for _ in 0..3 {
        let before = cleanings(broker).await;
        load(&mut client, &topic, &random, &mut model).await;
        let publish = ["compaction", "run", "--topic", "users", "--wait"];
        broker.command_ok(&publish, "").await;
        until_cleaned(broker, before).await;
    }
    // A moment later what the broker has in memory is not read any more where something took its place.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (seen, records) = read(&mut client, &topic).await;
        ensure!(seen == model, "the latest of a key is not there");
        if records == model.len() {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{records} records of {} keys",
            model.len()
        );
        sleep(LOOK_AGAIN).await;
    }
    broker.kill();
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let (seen, records) = read(&mut client, &topic).await;
    ensure!(
        seen == model,
        "the latest of a key is not there after a kill"
    );
    ensure!(records == model.len(), "more is there after a kill");
    Ok(())
}
