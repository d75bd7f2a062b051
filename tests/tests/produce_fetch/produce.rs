//! Produce.

use alluvium_protocol::messages::{ApiVersionsRequest, FetchRequest, ProduceRequest};
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS, TimestampType, split};
use alluvium_tests::client::{
    ALL, BY_ID, Client, Topic, batch, batch_of, fetch_request, only, produce_request,
};
use bytes::Bytes;
use uuid::Uuid;

use crate::start;

#[tokio::test]
async fn every_version_is_answered_with_the_offset() {
    let (_broker, mut client, topic) = start(&[]).await;
    for (version, offset) in
        (ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION).zip((0..).step_by(2))
    {
        let answer = client
            .produce_version(version, &topic, 1, batch(&["a", "b"]))
            .await;
        assert_eq!(
            ErrorCode::from(answer.error_code),
            ErrorCode::None,
            "version {version}"
        );
        assert_eq!(answer.base_offset, offset, "version {version}");
        assert_eq!(
            answer.log_append_time_ms, -1,
            "the producer's own time counts"
        );
        if version >= 5 {
            assert_eq!(answer.log_start_offset, 0);
        }
    }
    assert_eq!(client.values(&topic, 1).await.len(), 22);
    assert!(client.values(&topic, 0).await.is_empty());
}

#[tokio::test]
async fn an_unknown_topic_is_told_in_every_version() {
    let (_broker, mut client, _) = start(&[]).await;
    let stranger = Topic {
        name: "stranger".to_owned(),
        id: Uuid::from_u128(99),
    };
    for version in ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION {
        let answer = client
            .produce_version(version, &stranger, 0, batch(&["a"]))
            .await;
        let expected = if version >= BY_ID {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::UnknownTopicOrPartition
        };
        assert_eq!(
            ErrorCode::from(answer.error_code),
            expected,
            "version {version}"
        );
        assert_eq!(answer.base_offset, -1);
    }
}

#[tokio::test]
async fn nothing_is_answered_to_acks_0() {
    let (_broker, mut client, topic) = start(&[]).await;
    for version in [3, 9, 13] {
        for value in ["x", "y"] {
            let request = produce_request(version, 0, &topic, vec![(0, batch(&[value]))]);
            client.send(&request, version).await.expect("sent");
        }
        // The next answer on the connection belongs to this one.
        let answer = client.call_version(&ApiVersionsRequest::default(), 0).await;
        assert_eq!(answer.error_code, 0);
    }
    client.produce_values(&topic, 0, &["last"]).await;
    assert_eq!(client.values(&topic, 0).await.join(" "), "x y x y x y last");
}

/// Closing the connection is the only way to tell a client that does not listen.
#[tokio::test]
async fn a_refused_batch_of_acks_0_closes_the_connection() {
    let (broker, mut client, topic) = start(&[]).await;
    let mut damaged = batch(&["x"]).to_vec();
    *damaged.last_mut().expect("bytes") ^= 1;
    let request = produce_request(9, 0, &topic, vec![(0, damaged.into())]);
    client.send(&request, 9).await.expect("sent");
    let next = client.try_call(&ApiVersionsRequest::default(), 0).await;
    assert!(next.is_err(), "{next:?}");
    let mut client = Client::connect(&broker.endpoint()).await;
    assert!(client.values(&topic, 0).await.is_empty());
}

#[tokio::test]
async fn pipelined_requests_keep_their_order() {
    let (_broker, mut client, topic) = start(&[]).await;
    let version = 9;
    let mut ids = Vec::new();
    for number in 0..200 {
        let value = number.to_string();
        let acks = [ALL, 1][number % 2];
        let request = produce_request(version, acks, &topic, vec![(0, batch(&[&value]))]);
        ids.push(client.send(&request, version).await.expect("sent"));
    }
    // Behind them, a request that must see them all.
    let read = fetch_request(11, &topic, 0, 0, 0);
    let read_id = client.send(&read, 11).await.expect("sent");
    for (id, offset) in ids.into_iter().zip(0..) {
        let response = client
            .receive::<ProduceRequest>(id, version)
            .await
            .expect("an answer");
        let answer = only(only(response.responses).partition_responses);
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    let response = client
        .receive::<FetchRequest>(read_id, 11)
        .await
        .expect("an answer");
    let data = only(only(response.responses).partitions);
    assert_eq!(data.high_watermark, 200);
    let values = client.values(&topic, 0).await;
    assert_eq!(
        values,
        (0..200)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn log_append_time_is_the_brokers() {
    let (_broker, mut client, topic) = start(&[("message.timestamp.type", "LogAppendTime")]).await;
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        let answer = client
            .produce(&topic, 0, batch_of(codec, &["a", "b"]))
            .await;
        assert_eq!(ErrorCode::from(answer.error_code), ErrorCode::None);
        // Far later than what the producer wrote into the records.
        assert!(answer.log_append_time_ms > 1_750_000_000_000, "{answer:?}");
        // The checksum is verified in here: the attribute is covered by it.
        let read = client.fetch(&topic, 0, answer.base_offset).await;
        assert_eq!(read.records.len(), 2);
        for record in &read.records {
            assert_eq!(record.timestamp, answer.log_append_time_ms);
        }
        let (header, _) = split(&read.bytes).last().expect("a batch").expect("whole");
        assert_eq!(
            header.attributes.timestamp_type(),
            TimestampType::LogAppendTime
        );
        assert_eq!(header.attributes.codec().expect("known"), codec);
    }
}

#[tokio::test]
async fn a_compacted_topic_refuses_records_without_key_by_number() {
    let (_broker, mut client, topic) = start(&[("cleanup.policy", "compact")]).await;
    for codec in [Codec::None, Codec::Snappy, Codec::Zstd] {
        let mut builder = BatchBuilder::new(codec);
        for key in [Some("k"), None, Some("k"), None] {
            builder.push(1, key.map(str::as_bytes), Some(b"v"), NO_HEADERS);
        }
        let records = builder.build().expect("a batch");
        let answer = client.produce(&topic, 0, records.clone()).await;
        assert_eq!(ErrorCode::from(answer.error_code), ErrorCode::InvalidRecord);
        let numbers: Vec<_> = answer
            .record_errors
            .iter()
            .map(|error| error.batch_index)
            .collect();
        assert_eq!(numbers, [1, 3]);
        assert!(answer.error_message.is_some());
        // Versions before 8 have no place for the numbers.
        let answer = client.produce_version(7, &topic, 0, records).await;
        assert_eq!(ErrorCode::from(answer.error_code), ErrorCode::InvalidRecord);
    }
    let mut keyed = BatchBuilder::new(Codec::None);
    keyed.push(1, Some(b"k"), None, NO_HEADERS);
    let answer = client
        .produce(&topic, 0, keyed.build().expect("a batch"))
        .await;
    assert_eq!(
        (answer.error_code, answer.base_offset),
        (0, 0),
        "a tombstone has a key"
    );
}

#[tokio::test]
async fn zstd_needs_producers_who_know_it() {
    let (_broker, mut client, topic) = start(&[]).await;
    let records = batch_of(Codec::Zstd, &["a", "b"]);
    let old = client.produce_version(6, &topic, 0, records.clone()).await;
    assert_eq!(
        ErrorCode::from(old.error_code),
        ErrorCode::UnsupportedCompressionType
    );
    let new = client.produce_version(7, &topic, 0, records).await;
    assert_eq!(new.error_code, 0);
}

/// Where the topic itself makes everything zstd. What a producer chose is passed on to whoever asks, as in Kafka.
#[tokio::test]
async fn a_zstd_topic_needs_readers_who_know_it() {
    let (_broker, mut client, by_choice) = start(&[]).await;
    let by_setting = client
        .create_topic("zstd", 1, &[("compression.type", "zstd")])
        .await;
    for topic in [&by_choice, &by_setting] {
        let answer = client
            .produce(topic, 0, batch_of(Codec::Zstd, &["a", "b"]))
            .await;
        assert_eq!(answer.error_code, 0);
    }
    for version in FetchRequest::MIN_VERSION..=FetchRequest::MAX_VERSION {
        for (topic, since) in [(&by_choice, 0), (&by_setting, 10)] {
            let request = fetch_request(version, topic, 0, 0, 0);
            let response = client.call_version(&request, version).await;
            let data = only(only(response.responses).partitions);
            let expected = if version < since {
                ErrorCode::UnsupportedCompressionType
            } else {
                ErrorCode::None
            };
            assert_eq!(
                ErrorCode::from(data.error_code),
                expected,
                "{}, version {version}",
                topic.name
            );
            let bytes = data.records.unwrap_or_default().into_bytes();
            assert_eq!(bytes.is_empty(), version < since);
        }
    }
}

#[tokio::test]
async fn every_codec_comes_back_as_it_was_sent() {
    let (broker, mut client, topic) = start(&[]).await;
    let codecs = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    let sent: Vec<Bytes> = codecs
        .iter()
        .map(|codec| batch_of(*codec, &["one", "two", "three"]))
        .collect();
    for records in &sent {
        assert_eq!(
            client.produce(&topic, 0, records.clone()).await.error_code,
            0
        );
    }
    let mut broker = broker;
    for restarted in [false, true] {
        if restarted {
            // From segments instead of memory.
            assert!(broker.terminate().await.success());
            broker.restart().await;
            client = Client::connect(&broker.endpoint()).await;
        }
        let read = client.fetch(&topic, 0, 0).await;
        let batches: Vec<_> = split(&read.bytes)
            .map(|batch| batch.expect("whole").1)
            .collect();
        assert_eq!(batches.len(), sent.len());
        for (stored, sent) in batches.iter().zip(&sent) {
            // All but base offset and leader epoch is the producer's own.
            assert_eq!(stored[16..], sent[16..], "restarted: {restarted}");
        }
        assert_eq!(read.records.len(), 15);
    }
}
