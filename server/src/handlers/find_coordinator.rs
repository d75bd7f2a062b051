//! FindCoordinator: where groups and transactional ids are coordinated.

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::coordinator::GroupId;
use alluvium_metadata::view::Picture;
use alluvium_protocol::messages::find_coordinator_response::Coordinator;
use alluvium_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::shape;

/// Key types of Kafka (`FindCoordinatorRequest.CoordinatorType`) that are coordinated here. The third, of share
/// groups, is refused as by a broker without them.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// From this version on a request has many keys (KIP-699).
const BATCH_VERSION: i16 = 4;

/// Answers FindCoordinator.
pub async fn handle(
    broker: &Broker,
    request: FindCoordinatorRequest,
    info: &RequestInfo,
) -> FindCoordinatorResponse {
    let picture = broker.view.picture();
    answer(&picture, broker.identity.broker_id, request, info.version)
}

fn answer(
    picture: &Picture,
    me: BrokerId,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let find = |key| find(picture, me, key, request.key_type);
    if version >= BATCH_VERSION {
        return FindCoordinatorResponse {
            coordinators: request.coordinator_keys.into_iter().map(find).collect(),
            ..FindCoordinatorResponse::default()
        };
    }
    let found = find(request.key);
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}

fn find(picture: &Picture, me: BrokerId, key: StrBytes, key_type: i8) -> Coordinator {
    let coordinator = match key_type {
        GROUP => {
            let coordinator = picture.coordinator_of(&GroupId::new(&key));
            coordinator.map(|live| live.record.broker_id)
        }
        TRANSACTION => Some(me),
        _ => {
            let message = "this kind of coordinator is not served";
            return refuse(key, ErrorCode::InvalidRequest, message);
        }
    };
    match coordinator.and_then(|id| picture.brokers.get(id)) {
        Some(live) => Coordinator {
            key,
            node_id: live.record.broker_id.0,
            host: live.record.host.clone().into(),
            port: i32::from(live.record.port),
            error_code: ErrorCode::None.code(),
            error_message: None,
        },
        None => {
            let message = "the coordinator is not available now";
            refuse(key, ErrorCode::CoordinatorNotAvailable, message)
        }
    }
}

fn refuse(key: StrBytes, code: ErrorCode, message: &'static str) -> Coordinator {
    Coordinator {
        key,
        node_id: shape::NOBODY,
        port: -1,
        error_code: code.code(),
        error_message: Some(message.into()),
        ..Coordinator::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::cluster_testing::TestCluster;
    use crate::handlers::group_testing::over_the_wire;

    const ME: BrokerId = BrokerId(7);

    fn request(version: i16, key_type: i8) -> FindCoordinatorRequest {
        FindCoordinatorRequest {
            key: if version < BATCH_VERSION { "g" } else { "" }.into(),
            key_type: if version == 0 { GROUP } else { key_type },
            coordinator_keys: match version < BATCH_VERSION {
                true => Vec::new(),
                false => vec!["g".into(), "h".into()],
            },
        }
    }

    /// Code, node, host and port for each key.
    fn found(picture: &Picture, version: i16, key_type: i8) -> Vec<(i16, i32, String, i32)> {
        let response = over_the_wire(version, request(version, key_type), |request| {
            answer(picture, ME, request, version)
        });
        if version < BATCH_VERSION {
            let host = response.host.as_str().to_owned();
            return vec![(response.error_code, response.node_id, host, response.port)];
        }
        let coordinators = response.coordinators.into_iter();
        coordinators
            .map(|c| (c.error_code, c.node_id, c.host.as_str().to_owned(), c.port))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn coordinators_are_named_in_every_version() {
        let cluster = TestCluster::new().await;
        cluster.broker(7).await;
        cluster.broker(8).await;
        cluster.coordinator(7).await;
        let there = cluster.picture().await;
        cluster.ended(7).await;
        let gone = cluster.picture().await;
        for version in 0..=6 {
            let keys = if version < BATCH_VERSION { 1 } else { 2 };
            for key_type in [GROUP, TRANSACTION] {
                let expected = (0, 7, "broker7.test".to_owned(), 9092);
                assert_eq!(found(&there, version, key_type), vec![expected; keys]);
                let code = ErrorCode::CoordinatorNotAvailable.code();
                let expected = (code, -1, String::new(), -1);
                assert_eq!(found(&gone, version, key_type), vec![expected; keys]);
            }
        }
    }

    #[test]
    fn other_kinds_are_refused_key_by_key() {
        let invalid = ErrorCode::InvalidRequest.code();
        for (version, key_type, keys) in [(6, 2, 2), (3, 9, 1)] {
            let expected = (invalid, -1, String::new(), -1);
            let picture = Picture::default();
            assert_eq!(found(&picture, version, key_type), vec![expected; keys]);
        }
    }
}
