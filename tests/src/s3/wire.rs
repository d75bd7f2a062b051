//! The HTTP side: which operation a request is, its fault and delay, the checks that `s3s` leaves to
//! others (clock skew against our own clock, region), the request log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use futures::StreamExt;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::Service;
use parking_lot::Mutex;
use s3s::dto::StreamingBlob;
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpRequest, HttpResponse};

use super::faults::{S3Fault, S3Faults};

/// Requests remembered; older ones are counted only.
const LOG_MAX: usize = 10_000;

/// How far clocks may be apart: Amazon's limit.
const SKEW_MS_MAX: i64 = 15 * 60 * 1000;

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// S3's name of the operation.
    pub operation: &'static str,
    /// Path of the URL: bucket and key.
    pub path: String,
    /// HTTP status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// `x-amz-content-sha256`: tells whether the payload was signed.
    pub payload_hash: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct RequestLog {
    requests: VecDeque<LoggedRequest>,
    counts: BTreeMap<&'static str, u64>,
}

impl RequestLog {
    fn add(&mut self, request: LoggedRequest) {
        *self.counts.entry(request.operation).or_default() += 1;
        if self.requests.len() == LOG_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    pub(super) fn count(&self, operation: &str) -> u64 {
        self.counts.get(operation).copied().unwrap_or_default()
    }

    pub(super) fn recent(&self) -> Vec<LoggedRequest> {
        self.requests.iter().cloned().collect()
    }
}

/// The service of one connection.
#[derive(Debug, Clone)]
pub(super) struct FaultyService {
    pub(super) inner: S3Service,
    pub(super) faults: Arc<S3Faults>,
    pub(super) log: Arc<Mutex<RequestLog>>,
    pub(super) clock: SharedClock,
    pub(super) region: String,
}

impl Service<hyper::Request<Incoming>> for FaultyService {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<HttpResponse, HttpError>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(service.answer(request.map(Body::from)))
    }
}

impl FaultyService {
    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let operation = operation(&request);
        let mut logged = LoggedRequest {
            operation,
            path: request.uri().path().to_owned(),
            status: None,
            payload_hash: header(&request, "x-amz-content-sha256").map(str::to_owned),
        };
        if let Some(delay) = self.faults.delay() {
            tokio::time::sleep(delay).await;
        }
        let answer = self.perform(operation, request).await;
        logged.status = answer.as_ref().ok().map(|ok| ok.status().as_u16());
        self.log.lock().add(logged);
        answer
    }

    async fn perform(
        &self,
        operation: &'static str,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        if let Some(refusal) = self.refusal(&request) {
            return Ok(refusal);
        }
        match self.faults.decide(operation) {
            Some(S3Fault::Refuse { status, code }) => Ok(refused(status, code, "injected", "")),
            Some(S3Fault::Hang) => {
                // Logged at once, because nothing comes after.
                self.log.lock().add(LoggedRequest {
                    operation,
                    path: request.uri().path().to_owned(),
                    status: None,
                    payload_hash: None,
                });
                std::future::pending().await
            }
            Some(S3Fault::LoseReply) => {
                self.inner.call(request).await?;
                Err(HttpError::new("the reply is lost, as planned".into()))
            }
            Some(S3Fault::CutBody(kept)) => Ok(cut(self.inner.call(request).await?, kept)),
            None => self.inner.call(request).await,
        }
    }

    fn refusal(&self, request: &HttpRequest) -> Option<HttpResponse> {
        let now_ms = self.clock.now_ms() + self.faults.clock_ahead_ms();
        let sent_ms = header(request, "x-amz-date").and_then(parse_amz_date_ms);
        if sent_ms.is_some_and(|sent_ms| (sent_ms - now_ms).abs() > SKEW_MS_MAX) {
            let words =
                "The difference between the request time and the server's time is too large.";
            return Some(refused(403, "RequestTimeTooSkewed", words, ""));
        }
        let region = header(request, "authorization").and_then(signed_region);
        if region.is_some_and(|region| region != self.region) {
            let words = "The authorization header is malformed; the region is wrong.";
            return Some(refused(
                400,
                "AuthorizationHeaderMalformed",
                words,
                &self.region,
            ));
        }
        None
    }
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// `AWS4-HMAC-SHA256 Credential=KEY/20260101/REGION/s3/aws4_request, ...`
fn signed_region(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').nth(2)
}

/// `20260131T235959Z`, in milliseconds since the epoch.
fn parse_amz_date_ms(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let seconds = number(9..11)? * 3600 + number(11..13)? * 60 + number(13..15)?;
    // Days since the epoch; years begin in March, so that leap days come last.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some((days * 86_400 + seconds) * 1000)
}

fn refused(status: u16, code: &str, message: &str, region: &str) -> HttpResponse {
    let region = match region {
        "" => String::new(),
        region => format!("<Region>{region}</Region>"),
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <Error><Code>{code}</Code><Message>{message}</Message>{region}</Error>"
    );
    let mut response = HttpResponse::new(Body::from(body));
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// `response`, whose body breaks off after `kept` bytes although its length was announced.
fn cut(response: HttpResponse, kept: usize) -> HttpResponse {
    response.map(|body| {
        let mut left = kept;
        let chunks = StreamExt::map(body, move |chunk| {
            let chunk = chunk.map_err(std::io::Error::other)?;
            if left == 0 {
                return Err(std::io::Error::other("the body is cut, as planned"));
            }
            let kept = chunk.slice(..left.min(chunk.len()));
            left -= kept.len();
            Ok(kept)
        });
        let broken = futures::stream::iter([Err(std::io::Error::other("cut, as planned"))]);
        Body::from(StreamingBlob::wrap(chunks.chain(broken)))
    })
}

/// S3's name of the operation that a request asks for.
fn operation(request: &HttpRequest) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let asks = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    let names_object = request
        .uri()
        .path()
        .trim_start_matches('/')
        .split_once('/')
        .is_some_and(|(_, key)| !key.is_empty());
    let copies = request.headers().contains_key("x-amz-copy-source");
    match (request.method().as_str(), names_object) {
        ("PUT", true) if asks("uploadId") => "UploadPart",
        ("PUT", true) if copies => "CopyObject",
        ("PUT", true) => "PutObject",
        ("PUT", false) => "CreateBucket",
        ("GET", true) => "GetObject",
        ("GET", false) if asks("uploads") => "ListMultipartUploads",
        ("GET", false) => "ListObjectsV2",
        ("HEAD", true) => "HeadObject",
        ("HEAD", false) => "HeadBucket",
        ("POST", true) if asks("uploads") => "CreateMultipartUpload",
        ("POST", true) => "CompleteMultipartUpload",
        ("POST", false) => "DeleteObjects",
        ("DELETE", true) if asks("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) => "DeleteObject",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amz_dates() {
        for (text, ms) in [
            ("19700101T000000Z", 0),
            ("20000301T000000Z", 951_868_800_000),
            ("20240229T235959Z", 1_709_251_199_000),
            ("20261120T101530Z", 1_795_169_730_000),
        ] {
            assert_eq!(parse_amz_date_ms(text), Some(ms), "{text}");
        }
        assert_eq!(parse_amz_date_ms("yesterday"), None);
    }
}
