//! ListPartitionReassignments (KIP-455): no data moves when leadership does, so none is ever under way. Kafka's topic
//! tool asks before it describes.

use alluvium_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers ListPartitionReassignments.
pub async fn handle(
    _broker: &Broker,
    _request: ListPartitionReassignmentsRequest,
    _info: &RequestInfo,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
