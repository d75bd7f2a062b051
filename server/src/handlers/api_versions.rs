//! ApiVersions (KIP-35, KIP-511): which APIs are served, in which versions.

use alluvium_protocol::messages::api_versions_response::ApiVersion;
use alluvium_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use alluvium_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::dispatch::{self, RequestInfo};

/// Answers ApiVersions.
pub async fn handle(
    _broker: &Broker,
    request: ApiVersionsRequest,
    info: &RequestInfo,
) -> ApiVersionsResponse {
    if info.version >= 3 && !is_named(&request) {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ApiVersionsResponse::default()
        };
    }
    ApiVersionsResponse {
        api_keys: versions(),
        ..ApiVersionsResponse::default()
    }
}

/// The answer to a request in a version we do not know, itself in version 0.
pub fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: versions()
            .into_iter()
            .filter(|api| api.api_key == ApiKey::ApiVersions.code())
            .collect(),
        ..ApiVersionsResponse::default()
    }
}

fn versions() -> Vec<ApiVersion> {
    dispatch::served()
        .map(|api| ApiVersion {
            api_key: api.code(),
            min_version: advertised_min(api),
            max_version: *api.valid_versions().end(),
        })
        .collect()
}

/// librdkafka turns compression off for brokers that do not offer Produce from version 0, so Kafka offers what it
/// refuses (KAFKA-18659), and so do we.
fn advertised_min(api: ApiKey) -> i16 {
    if api == ApiKey::Produce {
        0
    } else {
        *api.valid_versions().start()
    }
}

/// KIP-511: names and versions of client software are letters, digits, dots and dashes.
fn is_named(request: &ApiVersionsRequest) -> bool {
    let fits = |text: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
    };
    fits(&request.client_software_name) && fits(&request.client_software_version)
}
