//! FindCoordinator: where groups and transactional ids are coordinated. By one broker, that is here.

use alluvium_protocol::messages::find_coordinator_response::Coordinator;
use alluvium_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use crate::broker::{Broker, Identity};
use crate::dispatch::RequestInfo;

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
    answer(&broker.identity, request, info.version)
}

fn answer(
    identity: &Identity,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let find = |key| find(identity, key, request.key_type);
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

fn find(identity: &Identity, key: StrBytes, key_type: i8) -> Coordinator {
    if key_type != GROUP && key_type != TRANSACTION {
        return Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some("this kind of coordinator is not served".into()),
            ..Coordinator::default()
        };
    }
    Coordinator {
        key,
        node_id: identity.broker_id.0,
        host: identity.endpoint.host.clone().into(),
        port: i32::from(identity.endpoint.port),
        error_code: ErrorCode::None.code(),
        error_message: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::group_testing::{identity, over_the_wire};

    #[test]
    fn every_version_names_this_broker() {
        let me = identity();
        for version in 0..=6 {
            for key_type in [GROUP, TRANSACTION] {
                let request = FindCoordinatorRequest {
                    key: if version < BATCH_VERSION { "g" } else { "" }.into(),
                    key_type: if version == 0 { GROUP } else { key_type },
                    coordinator_keys: match version < BATCH_VERSION {
                        true => Vec::new(),
                        false => vec!["g".into(), "h".into()],
                    },
                };
                let response =
                    over_the_wire(version, request, |request| answer(&me, request, version));
                let found = match version < BATCH_VERSION {
                    true => vec![(response.node_id, response.host, response.port)],
                    false => response
                        .coordinators
                        .into_iter()
                        .map(|c| (c.node_id, c.host, c.port))
                        .collect(),
                };
                let expected = (7, StrBytes::from_static("broker.test"), 9092);
                assert!(
                    found.iter().all(|f| *f == expected),
                    "v{version}: {found:?}"
                );
                assert_eq!(found.len(), if version < BATCH_VERSION { 1 } else { 2 });
            }
        }
    }

    #[test]
    fn other_kinds_are_refused_key_by_key() {
        let request = FindCoordinatorRequest {
            key_type: 2,
            coordinator_keys: vec!["g:topic:0".into()],
            ..FindCoordinatorRequest::default()
        };
        let response = over_the_wire(6, request, |request| answer(&identity(), request, 6));
        assert_eq!(response.coordinators[0].error_code, 42);
        assert_eq!(response.coordinators[0].node_id, -1);
        let request = FindCoordinatorRequest {
            key: "g".into(),
            key_type: 9,
            ..FindCoordinatorRequest::default()
        };
        let response = over_the_wire(3, request, |request| answer(&identity(), request, 3));
        assert_eq!(response.error_code, 42);
    }
}
