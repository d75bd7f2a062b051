//! Fetch outside of sessions.

use std::time::Duration;

use alluvium_protocol::messages::FetchRequest;
use alluvium_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use alluvium_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::split;
use alluvium_tests::client::{BY_ID, Client, FetchAnswer, Topic, batch, fetch_request, only};
use tokio::time::Instant;
use uuid::Uuid;

use crate::start;

const NEWEST: i16 = FetchRequest::MAX_VERSION;
/// Longer than any test takes.
const LONG_WAIT_MS: i32 = 80_000;

async fn fetch(client: &mut Client, request: &FetchRequest, version: i16) -> PartitionData {
    let response = client.call_version(request, version).await;
    assert_eq!(response.error_code, 0);
    only(only(response.responses).partitions)
}

#[tokio::test]
async fn every_version_reads_the_same() {
    let (_broker, mut client, topic) = start(&[]).await;
    client.produce_values(&topic, 0, &["a", "b"]).await;
    client.produce_values(&topic, 0, &["c"]).await;
    for version in FetchRequest::MIN_VERSION..=NEWEST {
        let request = fetch_request(version, &topic, 0, 1, 0);
        let data = fetch(&mut client, &request, version).await;
        assert_eq!(
            (data.error_code, data.high_watermark),
            (0, 3),
            "version {version}"
        );
        assert_eq!(data.last_stable_offset, 3);
        if version >= 5 {
            assert_eq!(data.log_start_offset, 0);
        }
        // Whole batches come: the first begins before the offset asked for.
        let batches: Vec<_> = split(
            data.records
                .as_ref()
                .map(|r| r.clone().into_bytes())
                .as_ref()
                .expect("records"),
        )
        .map(|batch| batch.expect("whole").0.base_offset)
        .collect();
        assert_eq!(batches, [0, 2], "version {version}");
        let answer = FetchAnswer::new(data, 1);
        let offsets: Vec<_> = answer
            .records
            .iter()
            .map(|record| record.offset.get())
            .collect();
        assert_eq!(offsets, [1, 2]);
    }
}

#[tokio::test]
async fn read_committed_reads_what_no_transaction_holds_back() {
    let (_broker, mut client, topic) = start(&[]).await;
    client.produce_values(&topic, 0, &["a"]).await;
    for version in FetchRequest::MIN_VERSION..=NEWEST {
        let request = FetchRequest {
            isolation_level: 1,
            ..fetch_request(version, &topic, 0, 0, 0)
        };
        let data = fetch(&mut client, &request, version).await;
        assert_eq!(data.last_stable_offset, 1);
        assert_eq!(FetchAnswer::new(data, 0).records.len(), 1);
    }
}

#[tokio::test]
async fn errors_name_their_partition_only() {
    let (_broker, mut client, topic) = start(&[]).await;
    client.produce_values(&topic, 0, &["a"]).await;
    for version in FetchRequest::MIN_VERSION..=NEWEST {
        let mut request = fetch_request(version, &topic, 0, 0, LONG_WAIT_MS);
        // More than there is: what answers at once is the error.
        request.min_bytes = 1 << 20;
        let good = request.topics[0].partitions[0].clone();
        let wrong = |partition, fetch_offset| FetchPartition {
            partition,
            fetch_offset,
            ..good.clone()
        };
        request.topics[0]
            .partitions
            .extend([wrong(7, 0), wrong(1, 5)]);
        let (name, topic_id) = Topic {
            name: "stranger".to_owned(),
            id: Uuid::from_u128(5),
        }
        .named(version, BY_ID);
        request.topics.push(FetchTopic {
            topic: name,
            topic_id,
            partitions: vec![good.clone()],
        });
        let response = client.call_version(&request, version).await;
        let codes: Vec<_> = partitions(response.responses)
            .map(|data| (data.partition_index, ErrorCode::from(data.error_code)))
            .collect();
        let unknown_topic = if version >= BY_ID {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::UnknownTopicOrPartition
        };
        let expected = [
            (0, ErrorCode::None),
            (7, ErrorCode::UnknownTopicOrPartition),
            (1, ErrorCode::OffsetOutOfRange),
            (0, unknown_topic),
        ];
        assert_eq!(codes, expected, "version {version}");
    }
}

fn partitions(topics: Vec<FetchableTopicResponse>) -> impl Iterator<Item = PartitionData> {
    topics.into_iter().flat_map(|topic| topic.partitions)
}

#[tokio::test]
async fn a_long_poll_ends_when_records_come() {
    let (broker, mut client, topic) = start(&[]).await;
    let mut writer = Client::connect(&broker.endpoint()).await;
    let request = fetch_request(NEWEST, &topic, 0, 0, LONG_WAIT_MS);
    let id = client.send(&request, NEWEST).await.expect("sent");
    let began = Instant::now();
    writer
        .produce_values(&topic, 1, &["another partition"])
        .await;
    writer.produce_values(&topic, 0, &["a"]).await;
    let response = client
        .receive::<FetchRequest>(id, NEWEST)
        .await
        .expect("an answer");
    let answer = FetchAnswer::new(only(only(response.responses).partitions), 0);
    assert_eq!(answer.records.len(), 1);
    assert!(began.elapsed() < Duration::from_millis(LONG_WAIT_MS.unsigned_abs().into()));
}

#[tokio::test]
async fn a_long_poll_waits_for_min_bytes_and_ends_at_max_wait() {
    let (broker, mut client, topic) = start(&[]).await;
    let mut writer = Client::connect(&broker.endpoint()).await;
    let mut request = fetch_request(NEWEST, &topic, 0, 0, LONG_WAIT_MS);
    request.min_bytes = 5_000;
    let id = client.send(&request, NEWEST).await.expect("sent");
    let value = "x".repeat(2_000);
    for _ in 0..3 {
        writer.produce_values(&topic, 0, &[&value]).await;
    }
    let response = client
        .receive::<FetchRequest>(id, NEWEST)
        .await
        .expect("an answer");
    let answer = FetchAnswer::new(only(only(response.responses).partitions), 0);
    assert_eq!(
        answer.records.len(),
        3,
        "not before there are {} bytes",
        request.min_bytes
    );

    request.max_wait_ms = 300;
    request.min_bytes = 1 << 20;
    let began = Instant::now();
    let answer = FetchAnswer::new(fetch(&mut client, &request, NEWEST).await, 0);
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        answer.records.len(),
        3,
        "what is there comes at the end of the wait"
    );
}

#[tokio::test]
async fn limits_in_bytes_hold_but_for_the_first_batch() {
    let (_broker, mut client, topic) = start(&[]).await;
    let value = "x".repeat(10_000);
    for partition in [0, 1] {
        for _ in 0..5 {
            client.produce_values(&topic, partition, &[&value]).await;
        }
    }
    let sizes = async |client: &mut Client, partition_max: i32, max: i32| {
        let mut request = fetch_request(NEWEST, &topic, 0, 0, 0);
        request.max_bytes = max;
        request.topics[0].partitions[0].partition_max_bytes = partition_max;
        let second = FetchPartition {
            partition: 1,
            ..request.topics[0].partitions[0].clone()
        };
        request.topics[0].partitions.push(second);
        let response = client.call_version(&request, NEWEST).await;
        let counts: Vec<_> = partitions(response.responses)
            .map(|data| FetchAnswer::new(data, 0).records.len())
            .collect();
        (counts[0], counts[1])
    };
    let big = 1 << 20;
    assert_eq!(sizes(&mut client, big, big).await, (5, 5));
    assert_eq!(
        sizes(&mut client, 25_000, big).await,
        (2, 2),
        "partition_max_bytes holds for each"
    );
    assert_eq!(
        sizes(&mut client, big, 35_000).await,
        (3, 0),
        "max_bytes holds for all together"
    );
    assert_eq!(sizes(&mut client, big, 75_000).await, (5, 2));
    // A batch larger than every limit still comes, or its reader would never go on; but one only.
    assert_eq!(sizes(&mut client, 1, big).await, (1, 0));
    assert_eq!(sizes(&mut client, big, 1).await, (1, 0));
    assert_eq!(sizes(&mut client, 0, 0).await, (1, 0));
}

#[tokio::test]
async fn leader_epochs_are_compared() {
    let (mut broker, mut client, topic) = start(&[]).await;
    client.produce_values(&topic, 0, &["a"]).await;
    assert!(broker.terminate().await.success());
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let at = client.produce_values(&topic, 0, &["b"]).await;
    let read = client.fetch(&topic, 0, 0).await;
    let epochs: Vec<_> = split(&read.bytes)
        .map(|batch| batch.expect("whole").0.leader_epoch)
        .collect();
    assert_eq!(at, 1);
    assert!(
        epochs[0] < epochs[1],
        "a new session leads under a new epoch: {epochs:?}"
    );
    let cases = [
        (epochs[1], ErrorCode::None),
        (epochs[1] - 1, ErrorCode::FencedLeaderEpoch),
        (epochs[1] + 1, ErrorCode::UnknownLeaderEpoch),
        (-1, ErrorCode::None),
    ];
    for (epoch, expected) in cases {
        let mut request = fetch_request(NEWEST, &topic, 0, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let data = fetch(&mut client, &request, NEWEST).await;
        assert_eq!(ErrorCode::from(data.error_code), expected, "epoch {epoch}");
    }
}

#[tokio::test]
async fn a_topic_made_again_has_another_id_and_no_records() {
    let (broker, mut client, topic) = start(&[]).await;
    client.produce_values(&topic, 0, &["old"]).await;
    // A reader who waits is told.
    let mut reader = Client::connect(&broker.endpoint()).await;
    let request = fetch_request(NEWEST, &topic, 0, 1, LONG_WAIT_MS);
    let id = reader.send(&request, NEWEST).await.expect("sent");
    assert_eq!(client.delete_topic(&topic.name).await, ErrorCode::None);
    let response = reader
        .receive::<FetchRequest>(id, NEWEST)
        .await
        .expect("an answer");
    let code = ErrorCode::from(only(only(response.responses).partitions).error_code);
    assert!(code.is_error(), "a reader of a deleted topic");
    let again = client.create_topic(&topic.name, 2, &[]).await;
    assert_ne!(again.id, topic.id);
    assert!(client.values(&again, 0).await.is_empty());
    let answer = client.fetch(&topic, 0, 0).await;
    assert_eq!(answer.code, ErrorCode::UnknownTopicId);
    let answer = client.produce(&topic, 0, batch(&["to the old one"])).await;
    assert_eq!(
        ErrorCode::from(answer.error_code),
        ErrorCode::UnknownTopicId
    );
    assert_eq!(client.produce_values(&again, 0, &["new"]).await, 0);
    assert_eq!(client.values(&again, 0).await, ["new"]);
}
