//! Connections that do nothing, and clients that are slow on purpose.

use alluvium_protocol::messages::ApiVersionsRequest;
use alluvium_protocol::{ApiKey, ErrorCode, Message, messages::FetchRequest};
use alluvium_tests::broker::{BrokerOptions, until};
use alluvium_tests::client::{
    ALL, Client, RawConnection, batch, fetch_request, header_bytes, produce_request, request_bytes,
};
use futures::stream::{self, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Bystander;

const IDLE_CONNECTIONS: u64 = 10_000;
/// Files that a process needs besides.
const OTHER_FILES: u64 = 500;

/// Raises the limit of open files for this process and those it starts.
fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = IDLE_CONNECTIONS + OTHER_FILES;
    let most = limit.maximum.unwrap_or(u64::MAX);
    let current = limit.current.unwrap_or(u64::MAX);
    if current < wanted.min(most) {
        let raised = Rlimit {
            current: Some(wanted.min(most)),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    }
    wanted.min(most) - OTHER_FILES
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little() {
    let count = raise_file_limit();
    if count < IDLE_CONNECTIONS {
        println!("only {count} connections: the hard limit of open files allows no more");
    }
    let mut bystander = Bystander::start().await;
    let address = bystander.broker.address();
    // Each says hello, so that whatever a connection needs is there.
    let hello = request_bytes(&ApiVersionsRequest::default(), 0, 1);
    let open = stream::iter(0..count).map(|_| async {
        let mut connection = RawConnection::open(address).await;
        connection.send_frame(&hello).await;
        connection.receive_frame().await.expect("an answer");
        connection
    });
    let connections: Vec<_> = open.buffer_unordered(64).collect().await;
    let metrics = bystander.broker.metrics().await;
    assert!(metrics.sum("alluvium_kafka_connections") >= count as f64);
    bystander.is_served().await;
    println!("{count} idle connections: {} MiB", bystander.grown_mib());
    bystander.assert_grown_below_mib(160);
    drop(connections);
    until("the connections are gone", async || {
        bystander
            .broker
            .metrics()
            .await
            .sum("alluvium_kafka_connections")
            < 10.0
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_holds_its_own_answers_only() {
    let mut bystander = Bystander::start().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let topic = client.create_topic("large", 1, &[]).await;
    let value = "x".repeat(1_000_000);
    for _ in 0..24 {
        client.produce_values(&topic, 0, &[&value]).await;
    }
    let version = FetchRequest::MAX_VERSION;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut connection = RawConnection::open(bystander.broker.address()).await;
        for correlation_id in 0..20 {
            let request = fetch_request(version, &topic, 0, 0, 0);
            connection
                .send_frame(&request_bytes(&request, version, correlation_id))
                .await;
        }
        slow.push(connection);
    }
    for _ in 0..20 {
        bystander.is_served().await;
    }
    // Up to 10 MiB of records for each fetch: one answer in memory for each reader, not twenty.
    bystander.assert_grown_below_mib(300);
    for mut connection in slow {
        for correlation_id in 0..20i32 {
            let answer = connection
                .receive_frame()
                .await
                .expect("every answer in the end");
            assert_eq!(answer[..4], correlation_id.to_be_bytes());
            assert!(answer.len() > 5 << 20);
        }
    }
}

#[tokio::test]
async fn half_sent_requests_are_given_up() {
    let options = BrokerOptions::new().set("socket.stall.timeout.ms", 1_000);
    let mut bystander = Bystander::with(options).await;
    let mut slow = Vec::new();
    // Ten times 90 MB are announced, more than the request memory has.
    for _ in 0..10 {
        let mut connection = RawConnection::open(bystander.broker.address()).await;
        connection.send(&90_000_000i32.to_be_bytes()).await;
        connection
            .send(&header_bytes(ApiKey::Produce.code(), 9, 1, ApiKey::Produce))
            .await;
        slow.push(connection);
    }
    bystander.is_served().await;
    for connection in slow {
        assert!(connection.closed().await.is_empty());
    }
    bystander.is_served().await;
    bystander.assert_grown_below_mib(64);
}

/// A client that sends a request one byte at a time gets its answer, and nobody waits for it.
#[tokio::test]
async fn a_slow_writer_delays_nobody() {
    let mut bystander = Bystander::start().await;
    let topic = bystander.topic.clone();
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let other = client.create_topic("slow", 1, &[]).await;
    let body = request_bytes(
        &produce_request(9, ALL, &other, vec![(0, batch(&["slowly"]))]),
        9,
        4,
    );
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    let mut slow = RawConnection::open(bystander.broker.address()).await;
    for piece in frame.chunks(10) {
        slow.send(piece).await;
        bystander.is_served().await;
    }
    let answer = slow.receive_frame().await.expect("an answer");
    assert_eq!(answer[..4], 4i32.to_be_bytes());
    assert_eq!(client.values(&other, 0).await, ["slowly"]);
    assert_eq!(topic, bystander.topic);
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let options = BrokerOptions::new().set("max.connections", 3);
    let mut bystander = Bystander::with(options).await;
    bystander.broker.expect_log("max.connections");
    let mut within = Vec::new();
    for _ in 0..2 {
        within.push(Client::connect(&bystander.broker.endpoint()).await);
    }
    let above = RawConnection::open(bystander.broker.address()).await;
    assert!(above.closed().await.is_empty());
    bystander.is_served().await;
    drop(within);
    until("a place is free again", async || {
        Client::try_connect(&bystander.broker.endpoint())
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_within_a_request_leaves_nothing() {
    let mut bystander = Bystander::start().await;
    let topic = bystander.topic.clone();
    let whole = request_bytes(
        &produce_request(9, ALL, &topic, vec![(0, batch(&["never"]))]),
        9,
        1,
    );
    for sent in [4, 20, whole.len() - 1] {
        let mut connection = RawConnection::open(bystander.broker.address()).await;
        connection.send(&(whole.len() as i32).to_be_bytes()).await;
        connection.send(&whole[..sent]).await;
    }
    bystander.is_served().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let answer = client.fetch(&topic, 0, 0).await;
    assert_eq!(answer.code, ErrorCode::None);
    assert_eq!(
        answer.records.len(),
        2,
        "what the bystander wrote, and nothing else"
    );
}
