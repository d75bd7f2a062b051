//! CreateAcls: refused, see [`super::describe_acls`].

use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::create_acls_response::AclCreationResult;
use alluvium_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers CreateAcls.
pub async fn handle(
    _broker: &Broker,
    request: CreateAclsRequest,
    _info: &RequestInfo,
) -> CreateAclsResponse {
    let refused = |_| AclCreationResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(NO_AUTHORIZER.into()),
    };
    CreateAclsResponse {
        results: request.creations.into_iter().map(refused).collect(),
        ..CreateAclsResponse::default()
    }
}
