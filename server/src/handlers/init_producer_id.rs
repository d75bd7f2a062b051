//! InitProducerId: ids for idempotent producers (KIP-98, KIP-360).

use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use tracing::warn;

use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers InitProducerId. A producer without a transactional id gets a new producer id, as from Kafka, also when
/// it asks for the next epoch of an old one: a new id fences nobody and starts at sequence 0. Transactions are not
/// served yet; clients report the code as fatal, at once.
pub async fn handle(
    broker: &Broker,
    request: InitProducerIdRequest,
    _info: &RequestInfo,
) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return refuse(ErrorCode::UnsupportedVersion);
    }
    match broker.producer_ids.next().await {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id: producer_id.0,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
        Err(error) => {
            warn!(%error, "no producer id could be given out");
            refuse(ErrorCode::CoordinatorNotAvailable)
        }
    }
}

fn refuse(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: code.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    }
}
