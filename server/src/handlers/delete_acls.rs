//! DeleteAcls: refused, see [`super::describe_acls`].

use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use alluvium_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers DeleteAcls.
pub async fn handle(
    _broker: &Broker,
    request: DeleteAclsRequest,
    _info: &RequestInfo,
) -> DeleteAclsResponse {
    let refused = |_| DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(NO_AUTHORIZER.into()),
        ..DeleteAclsFilterResult::default()
    };
    DeleteAclsResponse {
        filter_results: request.filters.into_iter().map(refused).collect(),
        ..DeleteAclsResponse::default()
    }
}
