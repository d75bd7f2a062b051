//! Batches that are not what they say.

use alluvium_protocol::messages::ProduceRequest;
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::{BatchBuilder, Codec, HEADER_BYTES, NO_HEADERS};
use alluvium_tests::client::{ALL, Client, Producer, Topic, batch, lying, produce_request, reseal};
use bytes::Bytes;
use futures::future::join_all;

use crate::Bystander;

const VERSION: i16 = 12;
/// Positions in a batch.
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 22;
const LAST_OFFSET_DELTA_AT: usize = 23;
const RECORD_COUNT_AT: usize = 57;

async fn refusal(client: &mut Client, topic: &Topic, records: Bytes) -> ErrorCode {
    let answer = client.produce_version(VERSION, topic, 0, records).await;
    let code = ErrorCode::from(answer.error_code);
    if code.is_error() {
        assert_eq!(answer.base_offset, -1, "an offset beside {code}");
    }
    code
}

async fn start() -> (Bystander, Client, Topic) {
    let bystander = Bystander::start().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let topic = client.create_topic("victim", 3, &[]).await;
    (bystander, client, topic)
}

#[tokio::test]
async fn only_the_partition_of_a_corrupt_batch_fails() {
    let (mut bystander, mut client, topic) = start().await;
    let mut corrupt = batch(&["corrupt"]).to_vec();
    *corrupt.last_mut().expect("bytes") ^= 1;
    let batches = vec![
        (0, batch(&["first"])),
        (1, corrupt.into()),
        (2, batch(&["third"])),
    ];
    for version in ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION {
        let request = produce_request(version, ALL, &topic, batches.clone());
        let response = client.call_version(&request, version).await;
        let codes: Vec<_> = response.responses[0]
            .partition_responses
            .iter()
            .map(|answer| (answer.index, ErrorCode::from(answer.error_code)))
            .collect();
        let expected = [
            (0, ErrorCode::None),
            (1, ErrorCode::CorruptMessage),
            (2, ErrorCode::None),
        ];
        assert_eq!(codes, expected, "version {version}");
    }
    assert!(client.values(&topic, 1).await.is_empty());
    bystander.is_served().await;
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let (mut bystander, mut client, topic) = start().await;
    let good = batch(&["a value", "another value"]);
    for at in CRC_AT..good.len() {
        for bit in [0, 7] {
            let mut flipped = good.to_vec();
            flipped[at] ^= 1 << bit;
            let code = refusal(&mut client, &topic, flipped.into()).await;
            assert_eq!(code, ErrorCode::CorruptMessage, "bit {bit} of byte {at}");
        }
    }
    assert!(client.values(&topic, 0).await.is_empty());
    bystander.is_served().await;
}

#[tokio::test]
async fn truncated_batches_are_refused() {
    let (mut bystander, mut client, topic) = start().await;
    let good = batch(&["a value", "another value"]);
    for length in 0..good.len() {
        let code = refusal(&mut client, &topic, good.slice(..length)).await;
        let refused = matches!(code, ErrorCode::CorruptMessage | ErrorCode::InvalidRecord);
        assert!(refused, "{length} of {} bytes: {code}", good.len());
    }
    assert!(client.values(&topic, 0).await.is_empty());
    bystander.is_served().await;
}

/// A producer whose checksums are right and whose words are not. A compressed batch is opened only where the topic's
/// rules need it; what contradicts itself in its header is refused everywhere.
#[tokio::test]
async fn lies_under_a_right_checksum_are_refused() {
    let (mut bystander, mut client, plain) = start().await;
    let opening = client
        .create_topic("opening", 1, &[("cleanup.policy", "compact")])
        .await;
    for codec in [
        Codec::None,
        Codec::Zstd,
        Codec::Lz4,
        Codec::Gzip,
        Codec::Snappy,
    ] {
        let good = keyed(codec, &["one", "two", "three"]);
        for (what, lie) in lies_in_the_header(&good) {
            is_refused(&mut client, &plain, lie, &format!("{codec:?}, {what}")).await;
        }
        for (what, lie) in lies_about_the_records(&good) {
            if codec == Codec::None {
                is_refused(&mut client, &plain, lie.clone(), &what).await;
            }
            is_refused(&mut client, &opening, lie, &format!("{codec:?}, {what}")).await;
        }
    }
    assert!(client.values(&plain, 0).await.is_empty());
    assert!(client.values(&opening, 0).await.is_empty());
    bystander.is_served().await;
}

/// A liar whose batch nobody needs to open harms the readers of its own partition, if anybody.
#[tokio::test]
async fn lies_that_are_not_opened_harm_their_own_partition_only() {
    let (mut bystander, mut client, topic) = start().await;
    client.produce_values(&topic, 1, &["before"]).await;
    for (_, lie) in lies_about_the_records(&keyed(Codec::Zstd, &["one", "two", "three"])) {
        client.produce(&topic, 0, lie).await;
    }
    client.produce_values(&topic, 1, &["after"]).await;
    for time in [-3, -2, -1, 0, i64::MAX] {
        client.list_offsets(10, &topic, 0, time).await;
    }
    assert_eq!(client.values(&topic, 1).await, ["before", "after"]);
    bystander.is_served().await;
    assert!(bystander.broker.terminate().await.success());
    bystander.broker.restart().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    assert_eq!(client.values(&topic, 1).await, ["before", "after"]);
}

fn keyed(codec: Codec, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for value in values {
        builder.push(1, Some(b"key"), Some(value.as_bytes()), NO_HEADERS);
    }
    builder.build().expect("a batch")
}

fn put(bytes: &mut [u8], at: usize, value: i32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Of a batch of three records: its count and its last offset do not agree.
fn lies_in_the_header(good: &Bytes) -> Vec<(String, Bytes)> {
    let mut lies = Vec::new();
    for wrong in [-2, -1, 1, 2, 1_000_000, i32::MAX - 3, i32::MIN] {
        let lie = lying(good, |bytes| put(bytes, RECORD_COUNT_AT, 3 + wrong));
        lies.push((format!("count {wrong}"), lie));
        let lie = lying(good, |bytes| put(bytes, LAST_OFFSET_DELTA_AT, 2 + wrong));
        lies.push((format!("last offset {wrong}"), lie));
    }
    lies
}

/// The header agrees with itself and not with the records.
fn lies_about_the_records(good: &Bytes) -> Vec<(String, Bytes)> {
    let mut lies = Vec::new();
    for count in [1, 2, 4, 1_000_000] {
        let lie = lying(good, |bytes| {
            put(bytes, RECORD_COUNT_AT, count);
            put(bytes, LAST_OFFSET_DELTA_AT, count - 1);
        });
        lies.push((format!("{count} records"), lie));
    }
    // Deep enough to reach the records themselves, behind end marks and checksums of the codecs.
    let cut = lying(good, |bytes| bytes.truncate(bytes.len() - 12));
    lies.push(("cut".to_owned(), cut));
    let noise = lying(good, |bytes| bytes[HEADER_BYTES..].fill(0xee));
    lies.push(("noise".to_owned(), noise));
    let empty = lying(good, |bytes| bytes.truncate(HEADER_BYTES));
    lies.push(("empty".to_owned(), empty));
    lies
}

async fn is_refused(client: &mut Client, topic: &Topic, records: Bytes, what: &str) {
    let code = refusal(client, topic, records).await;
    let refused = matches!(code, ErrorCode::CorruptMessage | ErrorCode::InvalidRecord);
    assert!(refused, "{what}: {code}");
}

#[tokio::test]
async fn formats_and_kinds_that_clients_may_not_send() {
    let (mut bystander, mut client, topic) = start().await;
    let good = batch(&["value"]);
    for magic in [0, 1] {
        let old = lying(&good, |bytes| bytes[MAGIC_AT] = magic);
        let code = refusal(&mut client, &topic, old).await;
        assert!(code.is_error(), "magic {magic} was taken");
    }
    for codec in 5..8 {
        let unknown = lying(&good, |bytes| bytes[ATTRIBUTES_AT] = codec);
        let code = refusal(&mut client, &topic, unknown).await;
        assert_eq!(code, ErrorCode::UnsupportedCompressionType, "codec {codec}");
    }
    let mut control = BatchBuilder::new(Codec::None).control();
    control.push(0, Some(b"\0\0\0\0"), Some(b"\0\0\0\0\0\0"), NO_HEADERS);
    let code = refusal(&mut client, &topic, control.build().expect("a batch")).await;
    assert_eq!(code, ErrorCode::InvalidRecord);
    let mut marked = Producer::new(5, 0)
        .stamp(BatchBuilder::new(Codec::None), 0)
        .transactional();
    marked.push(0, None, Some(b"value"), NO_HEADERS);
    let code = refusal(&mut client, &topic, marked.build().expect("a batch")).await;
    assert!(
        code.is_error(),
        "a transactional batch outside of a transaction"
    );
    let two = [good.clone(), good.clone()].concat();
    assert_eq!(
        refusal(&mut client, &topic, two.into()).await,
        ErrorCode::InvalidRecord
    );
    for acks in [2, -2, i16::MAX] {
        let request = produce_request(VERSION, acks, &topic, vec![(0, good.clone())]);
        let response = client.call_version(&request, VERSION).await;
        let code = response.responses[0].partition_responses[0].error_code;
        assert_eq!(
            ErrorCode::from(code),
            ErrorCode::InvalidRequiredAcks,
            "acks={acks}"
        );
    }
    assert!(client.values(&topic, 0).await.is_empty());
    bystander.is_served().await;
}

#[tokio::test]
async fn a_batch_above_max_message_bytes_fails_alone() {
    let (mut bystander, mut client, topic) = start().await;
    let large = "x".repeat(1 << 20);
    let batches = vec![
        (0, batch(&["small"])),
        (1, batch(&[&large])),
        (2, batch(&["small"])),
    ];
    let request = produce_request(VERSION, ALL, &topic, batches);
    let response = client.call_version(&request, VERSION).await;
    let codes: Vec<_> = response.responses[0]
        .partition_responses
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!(codes, [0, ErrorCode::MessageTooLarge.code(), 0]);
    bystander.is_served().await;
}

/// A few kilobytes that claim a quarter of a gigabyte.
fn bomb(codec: Codec) -> Bytes {
    let value = vec![0; 256 << 20];
    let mut builder = BatchBuilder::new(codec);
    builder.push(0, Some(b"key"), Some(&value), NO_HEADERS);
    let bomb = builder.build().expect("a batch");
    assert!(
        bomb.len() < 1 << 20,
        "{codec:?} makes {} bytes of it",
        bomb.len()
    );
    bomb
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decompression_bombs_take_bounded_memory() {
    let (mut bystander, mut client, plain) = start().await;
    let compacted = client
        .create_topic("compacted", 1, &[("cleanup.policy", "compact")])
        .await;
    let recompressed = client
        .create_topic("recompressed", 1, &[("compression.type", "lz4")])
        .await;
    let bomb = tokio::task::spawn_blocking(|| bomb(Codec::Zstd))
        .await
        .expect("made");
    for topic in [&plain, &compacted, &recompressed] {
        let attackers = join_all((0..4).map(|_| async {
            let mut client = Client::connect(&bystander.broker.endpoint()).await;
            client
                .produce_version(VERSION, topic, 0, bomb.clone())
                .await
                .error_code
        }));
        let codes = attackers.await;
        println!("{}: {codes:?}, {} MiB", topic.name, bystander.grown_mib());
        bystander.is_served().await;
    }
    // Each of the two threads may open one batch at a time, up to 128 MiB.
    bystander.assert_grown_below_mib(400);
}

/// A compressed payload whose own header promises more than memory holds.
#[tokio::test]
async fn payloads_that_promise_too_much_take_no_memory() {
    let (mut bystander, mut client, _) = start().await;
    let topic = client
        .create_topic("compacted", 1, &[("cleanup.policy", "compact")])
        .await;
    // A snappy block that claims 4 GiB - 1, a zstd frame of 2^60 bytes, an lz4 frame of 2^60 bytes.
    let payloads: [(u8, &[u8]); 3] = [
        (2, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61]),
        (
            4,
            &[
                0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0, 0,
            ],
        ),
        (
            3,
            &[
                0x04, 0x22, 0x4d, 0x18, 0x68, 0x70, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x83, 0, 0, 0, 0,
            ],
        ),
    ];
    for (codec, payload) in payloads {
        let mut bytes = batch(&["value"])[..HEADER_BYTES].to_vec();
        bytes[ATTRIBUTES_AT] = codec;
        bytes.extend_from_slice(payload);
        is_refused(
            &mut client,
            &topic,
            reseal(bytes),
            &format!("codec {codec}"),
        )
        .await;
    }
    bystander.is_served().await;
    bystander.assert_grown_below_mib(32);
}
