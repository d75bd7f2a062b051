//! The HTTP client below the cloud stores: `object_store`'s own, with one change. A refused request
//! becomes a typed [`ServerError`] instead of text, because the crate's error keeps the status to
//! itself and retries, metrics and the start-up probe must know it.
//!
//! Statuses that `object_store` itself gives a meaning to (304, 404, 409, 412) pass untouched,
//! except where the body tells that they mean something else (a missing bucket is also a 404).

use std::fmt;

use ::object_store::ClientOptions;
use ::object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

/// Longest error body kept, in bytes. S3's are below 2 KiB; a proxy's page is not worth more.
const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;

/// A request that the store answered with a refusal or a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ServerError {
    /// HTTP status.
    pub status: u16,
    /// The store's error code, such as `SlowDown`, where it gave one.
    pub code: Option<String>,
    /// The store's words.
    pub message: Option<String>,
    /// The region the store says the bucket is in (`x-amz-bucket-region`).
    pub region: Option<String>,
    /// The store's `Date` header: tells how far the clocks are apart.
    pub server_date: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, " ({message})")?;
        }
        if let Some(region) = &self.region {
            write!(f, ", the bucket is in region {region}")?;
        }
        if self.code.as_deref() == Some("RequestTimeTooSkewed")
            && let Some(date) = &self.server_date
        {
            write!(f, ", the store's clock says {date}")?;
        }
        Ok(())
    }
}

/// Neither the environment nor the machine's metadata service gave credentials.
#[derive(Debug, thiserror::Error)]
#[error(
    "no credentials in the environment, and the instance metadata service at {host} gave none: {reason}"
)]
pub struct CredentialsUnavailable {
    host: String,
    reason: String,
}

/// Makes clients whose refusals are typed.
#[derive(Debug, Default)]
pub(super) struct TypedErrorConnector {
    inner: ReqwestConnector,
}

impl HttpConnector for TypedErrorConnector {
    fn connect(&self, options: &ClientOptions) -> ::object_store::Result<HttpClient> {
        let inner = self.inner.connect(options)?;
        Ok(HttpClient::new(TypedErrors { inner }))
    }
}

#[derive(Debug)]
struct TypedErrors {
    inner: HttpClient,
}

#[async_trait]
impl HttpService for TypedErrors {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let result = self.inner.execute(request).await;
        if is_metadata_service(&host) {
            // Its statuses steer object_store's own fall-backs, so they pass as they are.
            return result.map_err(|error| {
                let reason = error.to_string();
                HttpError::new(error.kind(), CredentialsUnavailable { host, reason })
            });
        }
        typed(result?).await
    }
}

fn is_metadata_service(host: &str) -> bool {
    matches!(
        host,
        "169.254.169.254" | "169.254.170.2" | "[fd00:ec2::254]" | "metadata.google.internal"
    )
}

/// Passes what is fine or what `object_store` understands; turns the rest into [`ServerError`].
async fn typed(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let status = response.status().as_u16();
    if status < 300 || status == 304 || status == 412 {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let text = head_of(body).await;
    let header = |name: &str| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let words = String::from_utf8_lossy(&text);
    let code = element(&words, "Code").or_else(|| header("x-ms-error-code"));
    if is_understood(status, code.as_deref()) {
        return Ok(HttpResponse::from_parts(parts, text.into()));
    }
    let error = ServerError {
        status,
        code,
        message: element(&words, "Message"),
        region: header("x-amz-bucket-region").or_else(|| element(&words, "Region")),
        server_date: header("date"),
    };
    Err(HttpError::new(HttpErrorKind::Unknown, error))
}

/// 404 and 409 are results for `object_store`, unless they speak of the bucket or of a passing
/// conflict between conditional requests.
fn is_understood(status: u16, code: Option<&str>) -> bool {
    match status {
        404 => !matches!(code, Some("NoSuchBucket" | "ContainerNotFound")),
        409 => !matches!(
            code,
            Some("ConditionalRequestConflict" | "OperationAborted")
        ),
        _ => false,
    }
}

/// The first bytes of an error body; a body that breaks off is as good as its beginning.
async fn head_of(body: HttpResponseBody) -> Bytes {
    let mut kept = BytesMut::new();
    let mut chunks = body.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = ERROR_BODY_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if kept.len() == ERROR_BODY_BYTES_MAX {
            break;
        }
    }
    kept.freeze()
}

/// The text of the first `<name>` element. Error bodies are flat, so a search is a parser.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_an_error_body_are_found() {
        let body =
            "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>less</Message></Error>";
        assert_eq!(element(body, "Code").as_deref(), Some("SlowDown"));
        assert_eq!(element(body, "Message").as_deref(), Some("less"));
        assert_eq!(element(body, "Region"), None);
        assert_eq!(element("<Code>cut off", "Code"), None);
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        assert!(is_understood(404, Some("NoSuchKey")));
        assert!(is_understood(404, None));
        assert!(!is_understood(404, Some("NoSuchBucket")));
        assert!(!is_understood(503, Some("SlowDown")));
    }
}
