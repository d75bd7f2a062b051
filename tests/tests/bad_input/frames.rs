//! Bytes that are no requests, and requests that nobody serves.

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, ProduceRequest,
};
use alluvium_protocol::{ApiKey, ErrorCode, Message, Reader, Request};
use alluvium_tests::broker::until;
use alluvium_tests::client::{
    ALL, Client, RawConnection, batch, header_bytes, produce_request, request_bytes,
};
use bytes::{Buf, Bytes};

use crate::Bystander;

async fn closes(bystander: &Bystander, bytes: &[u8]) {
    let mut connection = RawConnection::open(bystander.broker.address()).await;
    connection.send(bytes).await;
    let answered = connection.closed().await;
    assert!(
        answered.is_empty(),
        "{bytes:?} was answered with {answered:?}"
    );
}

async fn closes_after_frame(bystander: &Bystander, body: &[u8]) {
    let mut connection = RawConnection::open(bystander.broker.address()).await;
    connection.send_frame(body).await;
    let answered = connection.closed().await;
    assert!(
        answered.is_empty(),
        "{body:?} was answered with {answered:?}"
    );
}

#[tokio::test]
async fn other_protocols_and_impossible_lengths_close_the_connection() {
    let mut bystander = Bystander::start().await;
    let tls_hello = [
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0, 0, 0, 0,
    ];
    closes(&bystander, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    closes(&bystander, b"POST /topics HTTP/1.1\r\n\r\n").await;
    closes(&bystander, &tls_hello).await;
    for length in [i32::MAX, (100 << 20) + 1, -1, i32::MIN, 0, 1, 7] {
        closes(&bystander, &length.to_be_bytes()).await;
    }
    for told in ["HTTP", "TLS", "negative", "socket.request.max.bytes"] {
        let log = bystander.broker.log();
        until("the operator is told", async || log.contains(told)).await;
    }
    bystander.is_served().await;
    bystander.assert_grown_below_mib(16);
}

#[tokio::test]
async fn unknown_apis_and_versions_close_the_connection() {
    let mut bystander = Bystander::start().await;
    for api_key in [999, -1, i16::MIN, i16::MAX] {
        closes_after_frame(&bystander, &header_bytes(api_key, 0, 1, ApiKey::Metadata)).await;
    }
    // Kafka's own words between brokers: not for clients.
    for api_key in [4, 5, 6, 7] {
        closes_after_frame(&bystander, &header_bytes(api_key, 0, 1, ApiKey::Metadata)).await;
    }
    for (api, version) in [
        (ApiKey::Metadata, 99),
        (ApiKey::Metadata, -1),
        (ApiKey::Fetch, 3),
    ] {
        closes_after_frame(
            &bystander,
            &header_bytes(api.code(), version, 1, ApiKey::Metadata),
        )
        .await;
    }
    bystander.is_served().await;
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut bystander = Bystander::start().await;
    let mut connection = RawConnection::open(bystander.broker.address()).await;
    for (correlation_id, version) in [(7, 99), (8, i16::MAX), (9, -1)] {
        let header = header_bytes(
            ApiKey::ApiVersions.code(),
            version,
            correlation_id,
            ApiKey::Metadata,
        );
        connection.send_frame(&header).await;
        let mut answer = connection.receive_frame().await.expect("an answer");
        assert_eq!(answer.get_i32(), correlation_id);
        let response = ApiVersionsResponse::decode(&mut Reader::new(answer), 0).expect("version 0");
        assert_eq!(
            ErrorCode::from(response.error_code),
            ErrorCode::UnsupportedVersion
        );
        let own = response
            .api_keys
            .iter()
            .find(|api| api.api_key == ApiKey::ApiVersions.code());
        assert!(own.is_some_and(|api| api.max_version >= 3), "{response:?}");
    }
    // The same connection goes on.
    let good = request_bytes(&ApiVersionsRequest::default(), 0, 10);
    connection.send_frame(&good).await;
    let mut answer = connection.receive_frame().await.expect("an answer");
    assert_eq!(answer.get_i32(), 10);
    let response = ApiVersionsResponse::decode(&mut Reader::new(answer), 0).expect("version 0");
    assert_eq!(response.error_code, 0);
    bystander.is_served().await;
}

#[tokio::test]
async fn requests_cut_short_close_the_connection() {
    let mut bystander = Bystander::start().await;
    let batch = batch(&["one", "two"]);
    let produce = produce_request(12, ALL, &bystander.topic, vec![(0, batch)]);
    let whole = request_bytes(&produce, 12, 1);
    for length in (8..whole.len()).step_by(3) {
        closes_after_frame(&bystander, &whole[..length]).await;
    }
    let metadata = request_bytes(&MetadataRequest::default(), 1, 1);
    closes_after_frame(&bystander, &metadata[..metadata.len() - 1]).await;
    bystander.is_served().await;
}

#[tokio::test]
async fn counts_larger_than_the_request_take_no_memory() {
    let mut bystander = Bystander::start().await;
    // An array of two thousand million topics, in a request of a few bytes.
    let mut body = header_bytes(ApiKey::Metadata.code(), 1, 1, ApiKey::Metadata);
    body.extend_from_slice(&i32::MAX.to_be_bytes());
    closes_after_frame(&bystander, &body).await;
    // The same in the compact form of newer versions.
    let mut body = header_bytes(ApiKey::Metadata.code(), 12, 1, ApiKey::Metadata);
    body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    closes_after_frame(&bystander, &body).await;
    let mut body = header_bytes(ApiKey::Produce.code(), 3, 1, ApiKey::Produce);
    body.extend_from_slice(&[0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]);
    closes_after_frame(&bystander, &body).await;
    bystander.is_served().await;
    bystander.assert_grown_below_mib(16);
}

/// Random bodies under true headers, for every API in every version. Some are even requests; what matters is that
/// nobody else notices.
#[tokio::test]
async fn random_bodies_disturb_nobody() {
    let mut bystander = Bystander::start().await;
    let random = SeededRandom::new(3);
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let served = client.call_version(&ApiVersionsRequest::default(), 0).await;
    for api in served.api_keys {
        let key = ApiKey::try_from(api.api_key).expect("an api we know");
        for version in key.valid_versions() {
            let mut body = header_bytes(key.code(), version, 1, key);
            body.extend((0..random.below(80)).map(|_| random.next_u64() as u8));
            let mut connection = RawConnection::open(bystander.broker.address()).await;
            connection.send_frame(&body).await;
        }
    }
    bystander.is_served().await;
    bystander.assert_grown_below_mib(32);
}

/// Every bit of a small request flipped, one at a time, each on a connection of its own.
#[tokio::test]
async fn flipped_bits_in_requests_disturb_nobody() {
    let mut bystander = Bystander::start().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let victim = client.create_topic("victim", 1, &[]).await;
    let produce = produce_request(9, ALL, &victim, vec![(0, batch(&["harm"]))]);
    let whole = request_bytes(&produce, 9, 1);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut connection = RawConnection::open(bystander.broker.address()).await;
        connection.send_frame(&flipped).await;
    }
    bystander.is_served().await;
    bystander.assert_grown_below_mib(32);
}

/// Produce v0 to v2 are announced, since librdkafka turns compression off without, but nobody serves them.
#[tokio::test]
async fn announced_but_unserved_produce_versions_are_refused() {
    let mut bystander = Bystander::start().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let served = client.call_version(&ApiVersionsRequest::default(), 2).await;
    let produce = served
        .api_keys
        .iter()
        .find(|api| api.api_key == ProduceRequest::API_KEY.code());
    assert_eq!(
        produce.map(|api| (api.min_version, api.max_version)),
        Some((0, 13))
    );
    for version in 0..3 {
        let header = header_bytes(ApiKey::Produce.code(), version, 5, ApiKey::Metadata);
        closes_after_frame(&bystander, &header).await;
    }
    bystander.is_served().await;
}

#[tokio::test]
async fn a_frame_in_many_pieces_is_one_request() {
    let mut bystander = Bystander::start().await;
    let mut connection = RawConnection::open(bystander.broker.address()).await;
    let body = request_bytes(&ApiVersionsRequest::default(), 0, 42);
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    for byte in frame {
        connection.send(&[byte]).await;
    }
    let answer: Bytes = connection.receive_frame().await.expect("an answer");
    assert_eq!(answer[..4], 42i32.to_be_bytes());
    bystander.is_served().await;
}
