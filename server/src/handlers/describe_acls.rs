//! DescribeAcls: there is no authorizer, and Kafka's answer for a broker without one says so.

use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// What all of the ACL requests are answered.
pub const NO_AUTHORIZER: &str = "no authorizer is configured";

/// Answers DescribeAcls.
pub async fn handle(
    _broker: &Broker,
    _request: DescribeAclsRequest,
    _info: &RequestInfo,
) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(NO_AUTHORIZER.into()),
        ..DescribeAclsResponse::default()
    }
}
