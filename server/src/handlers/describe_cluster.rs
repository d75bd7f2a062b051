//! DescribeCluster (KIP-700): the brokers, which of them is the controller, the cluster's id.

use alluvium_metadata::model::BrokerRecord;
use alluvium_metadata::view::Picture;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use alluvium_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use crate::broker::{Broker, Identity};
use crate::dispatch::RequestInfo;
use crate::shape;

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
    answer(&broker.identity, &broker.view.picture(), &request)
}

fn answer(
    identity: &Identity,
    picture: &Picture,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some("this is the endpoint of a broker".into()),
            endpoint_type: BROKERS,
            ..DescribeClusterResponse::default()
        };
    }
    let asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: identity.cluster_id.clone(),
        controller_id: shape::controller_id(picture),
        brokers: shape::brokers(picture).map(node).collect(),
        cluster_authorized_operations: if asked { ALL_OPERATIONS } else { i32::MIN },
        ..DescribeClusterResponse::default()
    }
}

fn node(broker: &BrokerRecord) -> DescribeClusterBroker {
    DescribeClusterBroker {
        broker_id: broker.broker_id.0,
        host: broker.host.clone().into(),
        port: i32::from(broker.port),
        rack: broker.rack.clone().map(Into::into),
        is_fenced: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::cluster_testing::TestCluster;
    use crate::handlers::group_testing::{identity, over_the_wire};

    #[tokio::test(start_paused = true)]
    async fn all_live_brokers_are_told_in_every_version() {
        let cluster = TestCluster::new().await;
        for id in [7, 8, 9] {
            cluster.broker(id).await;
        }
        cluster.worker(6).await;
        cluster.controller(8).await;
        cluster.ended(9).await;
        let picture = cluster.picture().await;
        for version in 0..=2 {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations: true,
                ..DescribeClusterRequest::default()
            };
            let response = over_the_wire(version, request, |request| {
                answer(&identity(), &picture, &request)
            });
            assert_eq!((response.error_code, response.controller_id), (0, 8));
            assert_eq!(response.cluster_id, "cluster");
            assert_eq!(response.cluster_authorized_operations, ALL_OPERATIONS);
            let brokers = response.brokers.iter();
            let told: Vec<_> = brokers
                .map(|b| (b.broker_id, b.host.as_str(), b.port, b.rack.as_deref()))
                .collect();
            let expected = [
                (7, "broker7.test", 9092, Some("rack7")),
                (8, "broker8.test", 9092, Some("rack8")),
            ];
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn this_is_no_controllers_endpoint() {
        let request = DescribeClusterRequest {
            endpoint_type: 2,
            ..DescribeClusterRequest::default()
        };
        let picture = Picture::default();
        let response = over_the_wire(1, request, |request| {
            answer(&identity(), &picture, &request)
        });
        assert_eq!(
            response.error_code,
            ErrorCode::MismatchedEndpointType.code()
        );
    }
}
