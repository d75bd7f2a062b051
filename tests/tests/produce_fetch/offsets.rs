//! ListOffsets and OffsetForLeaderEpoch.

use alluvium_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use alluvium_protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};
use alluvium_protocol::{ErrorCode, Message, StrBytes};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use alluvium_tests::client::{Client, Topic, only};
use bytes::Bytes;

use crate::start;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// First version that knows `MAX_TIMESTAMP`.
const MAX_TIMESTAMP_SINCE: i16 = 7;

fn at_times(codec: Codec, times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for time in times {
        builder.push(*time, None, Some(b"value"), NO_HEADERS);
    }
    builder.build().expect("a batch")
}

/// Offsets 0 to 8. Times go back once: the first record at or after a time need not be in the first batch that
/// ends late enough.
async fn write(client: &mut Client, topic: &Topic) {
    let batches = [
        at_times(Codec::None, &[1_000, 1_010, 1_020]),
        at_times(Codec::Zstd, &[1_030, 1_005, 1_040]),
        at_times(Codec::Gzip, &[1_035, 1_040, 1_050]),
    ];
    for records in batches {
        assert_eq!(client.produce(topic, 0, records).await.error_code, 0);
    }
}

/// By time: timestamp and offset that are answered.
const BY_TIME: [(i64, (i64, i64)); 9] = [
    (0, (1_000, 0)),
    (1_000, (1_000, 0)),
    (1_001, (1_010, 1)),
    (1_015, (1_020, 2)),
    (1_021, (1_030, 3)),
    (1_031, (1_040, 5)),
    (1_040, (1_040, 5)),
    (1_041, (1_050, 8)),
    (1_051, (-1, -1)),
];

async fn check(client: &mut Client, topic: &Topic) {
    for version in ListOffsetsRequest::MIN_VERSION..=ListOffsetsRequest::MAX_VERSION {
        let mut ask = async |timestamp| {
            let answer = client.list_offsets(version, topic, 0, timestamp).await;
            assert_eq!(answer.error_code, 0, "version {version}, {timestamp}");
            (answer.timestamp, answer.offset)
        };
        assert_eq!(ask(EARLIEST).await, (-1, 0));
        assert_eq!(ask(LATEST).await, (-1, 9));
        for (time, expected) in BY_TIME {
            assert_eq!(ask(time).await, expected, "version {version}, time {time}");
        }
        if version >= MAX_TIMESTAMP_SINCE {
            assert_eq!(ask(MAX_TIMESTAMP).await, (1_050, 8), "version {version}");
        }
    }
}

#[tokio::test]
async fn times_are_exact_to_the_record_in_every_version_and_tier() {
    let (mut broker, mut client, topic) = start(&[]).await;
    write(&mut client, &topic).await;
    check(&mut client, &topic).await;
    // The same from segments.
    assert!(broker.terminate().await.success());
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    check(&mut client, &topic).await;
}

#[tokio::test]
async fn an_empty_partition_has_ends_and_no_times() {
    let (_broker, mut client, topic) = start(&[]).await;
    for version in ListOffsetsRequest::MIN_VERSION..=ListOffsetsRequest::MAX_VERSION {
        for (timestamp, offset) in [(EARLIEST, 0), (LATEST, 0), (0, -1), (1_000, -1)] {
            let answer = client.list_offsets(version, &topic, 1, timestamp).await;
            assert_eq!(
                (answer.error_code, answer.offset),
                (0, offset),
                "version {version}, {timestamp}"
            );
        }
    }
}

#[tokio::test]
async fn an_epoch_ends_where_the_next_begins() {
    let (mut broker, mut client, topic) = start(&[]).await;
    client.produce_values(&topic, 0, &["a", "b"]).await;
    broker.kill();
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    client.produce_values(&topic, 0, &["c"]).await;
    let first = leader_epoch_of(&mut client, &topic, 0).await;
    let second = leader_epoch_of(&mut client, &topic, 2).await;
    assert!(first < second);
    for version in
        OffsetForLeaderEpochRequest::MIN_VERSION..=OffsetForLeaderEpochRequest::MAX_VERSION
    {
        for (epoch, expected) in [
            (first, (first, 2)),
            (second, (second, 3)),
            (second + 1, (-1, -1)),
        ] {
            let request = OffsetForLeaderEpochRequest {
                replica_id: -2,
                topics: vec![OffsetForLeaderTopic {
                    topic: StrBytes::copy_of(&topic.name),
                    partitions: vec![OffsetForLeaderPartition {
                        partition: 0,
                        current_leader_epoch: -1,
                        leader_epoch: epoch,
                    }],
                }],
            };
            let response = client.call_version(&request, version).await;
            let answer = only(only(response.topics).partitions);
            assert_eq!(ErrorCode::from(answer.error_code), ErrorCode::None);
            assert_eq!(
                (answer.leader_epoch, answer.end_offset),
                expected,
                "version {version}, epoch {epoch}"
            );
        }
    }
}

async fn leader_epoch_of(client: &mut Client, topic: &Topic, offset: i64) -> i32 {
    let answer = client.fetch(topic, 0, offset).await;
    let batch = alluvium_segment::record_batch::split(&answer.bytes)
        .next()
        .expect("a batch");
    batch.expect("whole").0.leader_epoch
}
