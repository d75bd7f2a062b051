//! Idempotent producers.

use alluvium_protocol::ErrorCode;
use alluvium_tests::client::{Client, Producer, Topic};
use bytes::Bytes;

use crate::start;

async fn produce(client: &mut Client, topic: &Topic, records: Bytes) -> (ErrorCode, i64) {
    let answer = client.produce(topic, 0, records).await;
    (answer.error_code.into(), answer.base_offset)
}

#[tokio::test]
async fn a_repeated_batch_is_answered_with_its_first_offset() {
    let (_broker, mut client, topic) = start(&[]).await;
    let mut producer = client.producer().await;
    let batches: Vec<_> = (0..6).map(|_| producer.batch(&["a", "b"])).collect();
    for (batch, offset) in batches.iter().zip((0..).step_by(2)) {
        assert_eq!(
            produce(&mut client, &topic, batch.clone()).await,
            (ErrorCode::None, offset)
        );
    }
    // The last five are remembered.
    for (batch, offset) in batches.iter().zip((0..).step_by(2)).skip(1) {
        assert_eq!(
            produce(&mut client, &topic, batch.clone()).await,
            (ErrorCode::None, offset)
        );
    }
    // The first is no longer: as Kafka does, it is told to be out of order.
    let (code, offset) = produce(&mut client, &topic, batches[0].clone()).await;
    assert_eq!((code, offset), (ErrorCode::OutOfOrderSequenceNumber, -1));
    assert_eq!(client.values(&topic, 0).await.len(), 12);
}

#[tokio::test]
async fn a_gap_in_the_sequence_is_refused() {
    let (_broker, mut client, topic) = start(&[]).await;
    let mut producer = client.producer().await;
    let first = producer.batch(&["a", "b"]);
    produce(&mut client, &topic, first).await;
    for sequence in [3, 4, 1_000, i32::MAX] {
        let gap = producer.batch_at(sequence, &["gap"]);
        let (code, offset) = produce(&mut client, &topic, gap).await;
        assert_eq!(
            (code, offset),
            (ErrorCode::OutOfOrderSequenceNumber, -1),
            "sequence {sequence}"
        );
    }
    let next = producer.batch(&["c"]);
    assert_eq!(
        produce(&mut client, &topic, next).await,
        (ErrorCode::None, 2)
    );
    assert_eq!(client.values(&topic, 0).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn sequences_wrap_around() {
    let (_broker, mut client, topic) = start(&[]).await;
    let mut producer = client.producer().await;
    // A producer without a past here may begin anywhere.
    producer.sequence = i32::MAX;
    let last = producer.batch_at(i32::MAX, &["last"]);
    assert_eq!(produce(&mut client, &topic, last).await.0, ErrorCode::None);
    let wrapped = producer.batch_at(0, &["first"]);
    assert_eq!(
        produce(&mut client, &topic, wrapped).await,
        (ErrorCode::None, 1)
    );
}

#[tokio::test]
async fn an_older_producer_epoch_is_fenced() {
    let (_broker, mut client, topic) = start(&[]).await;
    let old = client.producer().await;
    let new = Producer::new(old.id, old.epoch + 1);
    assert_eq!(
        produce(&mut client, &topic, old.batch_at(0, &["old"]))
            .await
            .0,
        ErrorCode::None
    );
    assert_eq!(
        produce(&mut client, &topic, new.batch_at(0, &["new"]))
            .await
            .0,
        ErrorCode::None
    );
    let (code, _) = produce(&mut client, &topic, old.batch_at(1, &["late"])).await;
    assert_eq!(code, ErrorCode::InvalidProducerEpoch);
    // A new epoch begins with sequence 0.
    let newer = Producer::new(old.id, old.epoch + 2);
    let (code, _) = produce(&mut client, &topic, newer.batch_at(5, &["late start"])).await;
    assert_eq!(code, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(client.values(&topic, 0).await, ["old", "new"]);
}

#[tokio::test]
async fn producers_and_partitions_have_sequences_of_their_own() {
    let (_broker, mut client, topic) = start(&[]).await;
    let (one, two) = (client.producer().await, client.producer().await);
    assert_ne!(one.id, two.id);
    for producer in [one, two] {
        for partition in [0, 1] {
            let records = producer.batch_at(0, &["a"]);
            let answer = client.produce(&topic, partition, records).await;
            assert_eq!(answer.error_code, 0);
        }
    }
    assert_eq!(client.values(&topic, 0).await.len(), 2);
    assert_eq!(client.values(&topic, 1).await.len(), 2);
}
