//! DescribeCluster (KIP-700): the brokers, which of them is the controller, the cluster's id.

use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use alluvium_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use crate::broker::{Broker, Identity};
use crate::dispatch::RequestInfo;

/// The kind of endpoint that this is (KIP-919).
const BROKERS: i8 = 1;

/// What may be done with a cluster where everything is allowed, as bits by number of Kafka's `AclOperation`:
/// CREATE 5, ALTER 7, DESCRIBE 8, CLUSTER_ACTION 9, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11, IDEMPOTENT_WRITE 12.
pub(super) const ALL_OPERATIONS: i32 =
    1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Answers DescribeCluster.
pub async fn handle(
    broker: &Broker,
    request: DescribeClusterRequest,
    _info: &RequestInfo,
) -> DescribeClusterResponse {
    answer(&broker.identity, &request)
}

fn answer(identity: &Identity, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some("this is the endpoint of a broker".into()),
            endpoint_type: BROKERS,
            ..DescribeClusterResponse::default()
        };
    }
    let me = DescribeClusterBroker {
        broker_id: identity.broker_id.0,
        host: identity.endpoint.host.clone().into(),
        port: i32::from(identity.endpoint.port),
        rack: identity.rack.clone(),
        is_fenced: false,
    };
    let asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: identity.cluster_id.clone(),
        controller_id: identity.broker_id.0,
        brokers: vec![me],
        cluster_authorized_operations: if asked { ALL_OPERATIONS } else { i32::MIN },
        ..DescribeClusterResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::group_testing::{identity, over_the_wire};

    #[test]
    fn the_cluster_is_this_broker_in_every_version() {
        let me = identity();
        for version in 0..=2 {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations: true,
                ..DescribeClusterRequest::default()
            };
            let response = over_the_wire(version, request, |request| answer(&me, &request));
            assert_eq!((response.error_code, response.controller_id), (0, 7));
            assert_eq!(response.cluster_id, "cluster");
            assert_eq!(response.cluster_authorized_operations, ALL_OPERATIONS);
            assert_eq!(
                (response.brokers.len(), response.brokers[0].port),
                (1, 9092)
            );
        }
    }

    #[test]
    fn this_is_no_controllers_endpoint() {
        let request = DescribeClusterRequest {
            endpoint_type: 2,
            ..DescribeClusterRequest::default()
        };
        let response = over_the_wire(1, request, |request| answer(&identity(), &request));
        assert_eq!(
            response.error_code,
            ErrorCode::MismatchedEndpointType.code()
        );
    }
}
