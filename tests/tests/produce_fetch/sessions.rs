//! Incremental fetch sessions (KIP-227).

use alluvium_protocol::messages::fetch_request::ForgottenTopic;
use alluvium_protocol::messages::{FetchRequest, FetchResponse};
use alluvium_protocol::{ErrorCode, Message};
use alluvium_tests::client::{BY_ID, Client, Topic, fetch_request};

use crate::start;

const VERSIONS: [i16; 4] = [7, 12, 13, FetchRequest::MAX_VERSION];

/// A fetch of the next epoch of a session that names `partitions`, each from `offset`.
fn in_session(
    version: i16,
    topic: &Topic,
    session: (i32, i32),
    partitions: &[(i32, i64)],
) -> FetchRequest {
    let mut request = fetch_request(version, topic, 0, 0, 0);
    (request.session_id, request.session_epoch) = session;
    let template = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = partitions
        .iter()
        .map(|(partition, offset)| {
            let mut asked = template.clone();
            asked.partition = *partition;
            asked.fetch_offset = *offset;
            asked
        })
        .collect();
    if partitions.is_empty() {
        request.topics.clear();
    }
    request
}

/// Partition and number of bytes of each part of the answer.
fn parts(response: &FetchResponse) -> Vec<(i32, bool)> {
    let mut parts: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|data| {
            (
                data.partition_index,
                data.records.as_ref().is_some_and(|r| !r.is_empty()),
            )
        })
        .collect();
    parts.sort_unstable();
    parts
}

async fn call(client: &mut Client, request: &FetchRequest, version: i16) -> FetchResponse {
    client.call_version(request, version).await
}

#[tokio::test]
async fn a_session_answers_what_changed_only() {
    for version in VERSIONS {
        let (_broker, mut client, topic) = start(&[]).await;
        client.produce_values(&topic, 0, &["a"]).await;
        let full = in_session(version, &topic, (0, 0), &[(0, 0), (1, 0)]);
        let response = call(&mut client, &full, version).await;
        let id = response.session_id;
        assert_ne!(id, 0, "version {version} gets a session");
        assert_eq!(
            parts(&response),
            [(0, true), (1, false)],
            "the first answer names all"
        );

        let moved = in_session(version, &topic, (id, 1), &[(0, 1)]);
        let response = call(&mut client, &moved, version).await;
        assert_eq!((response.session_id, response.error_code), (id, 0));
        assert_eq!(parts(&response), [], "nothing new");

        client.produce_values(&topic, 1, &["b"]).await;
        let same = in_session(version, &topic, (id, 2), &[]);
        let response = call(&mut client, &same, version).await;
        assert_eq!(parts(&response), [(1, true)]);

        let mut forget = in_session(version, &topic, (id, 3), &[]);
        let (name, topic_id) = topic.named(version, BY_ID);
        forget.forgotten_topics_data = vec![ForgottenTopic {
            topic: name,
            topic_id,
            partitions: vec![1],
        }];
        let response = call(&mut client, &forget, version).await;
        assert_eq!(parts(&response), [], "partition 1 is forgotten");
        client.produce_values(&topic, 0, &["c"]).await;
        client.produce_values(&topic, 1, &["d"]).await;
        let response = call(
            &mut client,
            &in_session(version, &topic, (id, 4), &[]),
            version,
        )
        .await;
        assert_eq!(parts(&response), [(0, true)]);
    }
}

#[tokio::test]
async fn wrong_sessions_and_epochs_are_told() {
    let (_broker, mut client, topic) = start(&[]).await;
    for version in VERSIONS {
        let full = in_session(version, &topic, (0, 0), &[(0, 0)]);
        let id = call(&mut client, &full, version).await.session_id;
        for (session, expected) in [
            ((id, 2), ErrorCode::InvalidFetchSessionEpoch),
            (
                (id.wrapping_add(1).max(1), 1),
                ErrorCode::FetchSessionIdNotFound,
            ),
        ] {
            let response = call(
                &mut client,
                &in_session(version, &topic, session, &[]),
                version,
            )
            .await;
            assert_eq!(
                ErrorCode::from(response.error_code),
                expected,
                "version {version}"
            );
            assert!(response.responses.is_empty());
        }
        // The right epoch still goes on.
        let response = call(
            &mut client,
            &in_session(version, &topic, (id, 1), &[]),
            version,
        )
        .await;
        assert_eq!(response.error_code, 0);
        // Epoch -1 closes it.
        let close = in_session(version, &topic, (id, -1), &[(0, 0)]);
        let response = call(&mut client, &close, version).await;
        assert_eq!((response.error_code, response.session_id), (0, 0));
        let response = call(
            &mut client,
            &in_session(version, &topic, (id, 2), &[]),
            version,
        )
        .await;
        assert_eq!(
            ErrorCode::from(response.error_code),
            ErrorCode::FetchSessionIdNotFound
        );
    }
}

#[tokio::test]
async fn sessions_do_not_survive_a_restart_and_clients_are_told() {
    let (mut broker, mut client, topic) = start(&[]).await;
    let version = FetchRequest::MAX_VERSION;
    let full = in_session(version, &topic, (0, 0), &[(0, 0)]);
    let id = call(&mut client, &full, version).await.session_id;
    broker.kill();
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let response = call(
        &mut client,
        &in_session(version, &topic, (id, 1), &[]),
        version,
    )
    .await;
    assert_eq!(
        ErrorCode::from(response.error_code),
        ErrorCode::FetchSessionIdNotFound
    );
}
