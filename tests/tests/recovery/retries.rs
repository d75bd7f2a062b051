//! Idempotent producers across a kill, step by step.

use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::ProduceRequest;
use alluvium_tests::broker::{Broker, BrokerOptions};
use alluvium_tests::client::{ALL, Client, Topic, produce_request};

const VERSION: i16 = 12;

async fn start(options: BrokerOptions) -> (Broker, Client, Topic) {
    let broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    (broker, client, topic)
}

async fn retries_find_their_first_offset(options: BrokerOptions) {
    let (mut broker, mut client, topic) = start(options).await;
    client.produce_values(&topic, 0, &["before"]).await;
    let mut producer = client.producer().await;
    let batches: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|value| producer.batch(&[value, value]))
        .into();
    let mut offsets = Vec::new();
    for batch in &batches {
        let answer = client.produce(&topic, 0, batch.clone()).await;
        assert_eq!(answer.error_code, 0);
        offsets.push(answer.base_offset);
    }
    broker.kill();
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    for (batch, offset) in batches.iter().zip(&offsets) {
        let answer = client.produce(&topic, 0, batch.clone()).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, *offset));
    }
    let gap = producer.batch_at(producer.sequence + 1, &["gap"]);
    let answer = client.produce(&topic, 0, gap).await;
    assert_eq!(
        ErrorCode::from(answer.error_code),
        ErrorCode::OutOfOrderSequenceNumber
    );
    let next = client.produce(&topic, 0, producer.batch(&["next"])).await;
    assert_eq!((next.error_code, next.base_offset), (0, 11));
    let values = client.values(&topic, 0).await;
    assert_eq!(values.join(" "), "before a a b b c c d d e e next");
}

#[tokio::test]
async fn retries_find_their_first_offset_in_local() {
    retries_find_their_first_offset(BrokerOptions::new()).await;
}

#[tokio::test]
async fn retries_find_their_first_offset_in_object() {
    retries_find_their_first_offset(BrokerOptions::new().durability_object()).await;
}

/// The batches are sent, and the broker is killed before anybody reads an answer. Whatever became of them, retrying
/// makes each stand once.
#[tokio::test]
async fn retries_of_unknown_fate_stand_once() {
    let (mut broker, mut client, topic) = start(BrokerOptions::new().quick_puts()).await;
    let mut producer = client.producer().await;
    let mut expected = Vec::new();
    for round in 0..4 {
        let values: Vec<_> = (0..5).map(|at| format!("{round}-{at}")).collect();
        let batches: Vec<_> = values
            .iter()
            .map(|value| producer.batch(&[value]))
            .collect();
        expected.extend(values);
        for batch in &batches {
            let request = produce_request(VERSION, ALL, &topic, vec![(0, batch.clone())]);
            client.send(&request, VERSION).await.expect("sent");
        }
        broker.kill();
        broker.restart().await;
        client = Client::connect(&broker.endpoint()).await;
        for batch in batches {
            let answer = client.produce(&topic, 0, batch).await;
            assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        }
    }
    assert_eq!(client.values(&topic, 0).await, expected);
}

/// Several in flight at once, the whole window sent twice.
#[tokio::test]
async fn a_repeated_window_is_answered_with_the_same_offsets() {
    let (_broker, mut client, topic) = start(BrokerOptions::new()).await;
    let mut producer = client.producer().await;
    let batches: Vec<_> = (0..5).map(|_| producer.batch(&["x", "y", "z"])).collect();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut ids = Vec::new();
        for batch in &batches {
            let request = produce_request(VERSION, ALL, &topic, vec![(0, batch.clone())]);
            ids.push(client.send(&request, VERSION).await.expect("sent"));
        }
        for id in ids {
            let response = client
                .receive::<ProduceRequest>(id, VERSION)
                .await
                .expect("answered");
            let answer = &response.responses[0].partition_responses[0];
            answers.push((answer.error_code, answer.base_offset));
        }
    }
    let once: Vec<_> = (0..5).map(|batch| (0, batch * 3)).collect();
    assert_eq!(answers, [once.clone(), once].concat());
}
