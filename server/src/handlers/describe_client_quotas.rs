//! DescribeClientQuotas (KIP-546): no quotas are set, and none can be.

use alluvium_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers DescribeClientQuotas.
pub async fn handle(
    _broker: &Broker,
    _request: DescribeClientQuotasRequest,
    _info: &RequestInfo,
) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse {
        entries: Some(Vec::new()),
        ..DescribeClientQuotasResponse::default()
    }
}
