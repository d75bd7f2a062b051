//! What went wrong at a store, told from the errors of the `object_store` crate.
//!
//! That crate keeps the HTTP status of a failed request to itself, and matching on message text is
//! how such code rots. So [`super::http`] turns every refused request into a typed
//! [`ServerError`], and this module finds it (or the I/O error, or the transport error) in the chain
//! of sources.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use ::object_store::Error;
use ::object_store::client::{HttpError, HttpErrorKind};

use super::http::{CredentialsUnavailable, ServerError};
use super::local::NoSpace;
use super::retry::{AttemptTimedOut, BodyCutShort};
use crate::error::{ErrorKind, Outcome};

/// What kind of failure it was. Each kind asks something different of the operator or the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// There is no such object.
    NotFound,
    /// Create-if-absent found an object there.
    AlreadyExists,
    /// `If-Match` or `If-Unmodified-Since` did not hold.
    Precondition,
    /// `If-None-Match` or `If-Modified-Since` did not hold.
    NotModified,
    /// The store asks for fewer requests (503 SlowDown, 429).
    Throttled,
    /// The store failed (5xx).
    ServerFault,
    /// No answer in time.
    TimedOut,
    /// No connection could be made.
    Unreachable,
    /// The connection broke, or the body ended early.
    Interrupted,
    /// Known credentials that may not do this.
    Denied,
    /// No credentials, unknown ones, or a signature that does not fit the secret.
    BadCredentials,
    /// This machine's clock is too far from the store's.
    ClockSkew,
    /// There is no such bucket or container.
    NoSuchBucket,
    /// The bucket lives in another region.
    WrongRegion,
    /// Disk or quota full (local folder).
    NoSpace,
    /// The store cannot do this at all.
    Unsupported,
    /// Anything else; the message tells.
    Other,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Precondition,
        Self::NotModified,
        Self::Throttled,
        Self::ServerFault,
        Self::TimedOut,
        Self::Unreachable,
        Self::Interrupted,
        Self::Denied,
        Self::BadCredentials,
        Self::ClockSkew,
        Self::NoSuchBucket,
        Self::WrongRegion,
        Self::NoSpace,
        Self::Unsupported,
        Self::Other,
    ];

    /// A short name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Precondition => "precondition",
            Self::NotModified => "not_modified",
            Self::Throttled => "throttled",
            Self::ServerFault => "server_fault",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Interrupted => "interrupted",
            Self::Denied => "denied",
            Self::BadCredentials => "bad_credentials",
            Self::ClockSkew => "clock_skew",
            Self::NoSuchBucket => "no_such_bucket",
            Self::WrongRegion => "wrong_region",
            Self::NoSpace => "no_space",
            Self::Unsupported => "unsupported",
            Self::Other => "other",
        }
    }
}

/// A failed operation at a store, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind it was.
    pub kind: FailureKind,
    /// Whether the operation may have happened nevertheless.
    pub outcome: Outcome,
    /// One line for people: the store's own code and words, or the innermost cause.
    pub message: String,
}

impl Failure {
    /// Understands `error`.
    pub fn of(error: &Error) -> Self {
        if let Some(typed) = from_sources(error) {
            return typed;
        }
        let kind = match error {
            Error::NotFound { .. } => FailureKind::NotFound,
            Error::AlreadyExists { .. } => FailureKind::AlreadyExists,
            Error::Precondition { .. } => FailureKind::Precondition,
            Error::NotModified { .. } => FailureKind::NotModified,
            Error::PermissionDenied { .. } => FailureKind::Denied,
            Error::Unauthenticated { .. } => FailureKind::BadCredentials,
            Error::NotSupported { .. } | Error::NotImplemented { .. } => FailureKind::Unsupported,
            _ => FailureKind::Other,
        };
        let outcome = match kind {
            FailureKind::Other => Outcome::Unknown,
            _ => Outcome::NotDone,
        };
        Self {
            kind,
            outcome,
            message: innermost(error),
        }
    }

    /// What the caller should do next.
    pub fn error_kind(&self) -> ErrorKind {
        match self.kind {
            FailureKind::Throttled
            | FailureKind::ServerFault
            | FailureKind::TimedOut
            | FailureKind::Unreachable
            | FailureKind::Interrupted => ErrorKind::Retry,
            FailureKind::AlreadyExists | FailureKind::Precondition | FailureKind::NotModified => {
                ErrorKind::Refresh
            }
            FailureKind::NotFound => ErrorKind::BadData,
            _ => ErrorKind::GiveUp,
        }
    }

    /// True when the same request may well succeed after a pause.
    pub fn is_retryable(&self) -> bool {
        self.error_kind() == ErrorKind::Retry
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.message)
    }
}

/// Looks for a cause that says more than `object_store`'s own variant does.
fn from_sources(error: &Error) -> Option<Failure> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut transport = None;
    while let Some(current) = cause {
        let found = if let Some(server) = current.downcast_ref::<ServerError>() {
            Some(of_server(server))
        } else if let Some(none) = current.downcast_ref::<CredentialsUnavailable>() {
            Some(definite(FailureKind::BadCredentials, none.to_string()))
        } else if let Some(full) = current.downcast_ref::<NoSpace>() {
            Some(definite(FailureKind::NoSpace, full.to_string()))
        } else if let Some(late) = current.downcast_ref::<AttemptTimedOut>() {
            Some(unknown(FailureKind::TimedOut, late.to_string()))
        } else if let Some(short) = current.downcast_ref::<BodyCutShort>() {
            Some(unknown(FailureKind::Interrupted, short.to_string()))
        } else {
            current.downcast_ref::<io::Error>().and_then(of_io)
        };
        if found.is_some() {
            return found;
        }
        if let Some(http) = current.downcast_ref::<HttpError>() {
            transport = Some(of_transport(http));
        }
        cause = current.source();
    }
    transport.flatten()
}

fn of_server(server: &ServerError) -> Failure {
    use FailureKind::*;
    let code = server.code.as_deref().unwrap_or_default();
    let kind = match (server.status, code) {
        (_, "NoSuchBucket" | "ContainerNotFound") => NoSuchBucket,
        (_, "RequestTimeTooSkewed") => ClockSkew,
        (_, "SlowDown" | "Throttling" | "TooManyRequests" | "ServerBusy") => Throttled,
        (_, "RequestTimeout") => TimedOut,
        (_, "ConditionalRequestConflict" | "OperationAborted") => ServerFault,
        (
            _,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "AuthenticationFailed"
            | "TokenRefreshRequired",
        ) => BadCredentials,
        (
            _,
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException"
            | "AuthorizationHeaderMalformed",
        ) => WrongRegion,
        (_, "NotImplemented") | (405 | 501, _) => Unsupported,
        (429 | 503, _) => Throttled,
        (408, _) => TimedOut,
        (500..=599, _) => ServerFault,
        (401, _) => BadCredentials,
        (403, _) => Denied,
        (301 | 307 | 308, _) => WrongRegion,
        _ => Other,
    };
    // An answer in the 4xx range is a refusal. A 5xx may come from a proxy after the store acted.
    match server.status {
        500..=599 | 408 => unknown(kind, server.to_string()),
        _ => definite(kind, server.to_string()),
    }
}

fn of_transport(http: &HttpError) -> Option<Failure> {
    let message = innermost(http);
    match http.kind() {
        HttpErrorKind::Connect => Some(definite(FailureKind::Unreachable, message)),
        HttpErrorKind::Timeout => Some(unknown(FailureKind::TimedOut, message)),
        HttpErrorKind::Request | HttpErrorKind::Interrupted | HttpErrorKind::Decode => {
            Some(unknown(FailureKind::Interrupted, message))
        }
        // A body that ends early arrives as an unknown transport error.
        _ => Some(unknown(FailureKind::Interrupted, message)),
    }
}

fn of_io(error: &io::Error) -> Option<Failure> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some(definite(FailureKind::NoSpace, error.to_string()))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some(definite(FailureKind::Denied, error.to_string()))
        }
        _ => None,
    }
}

fn definite(kind: FailureKind, message: String) -> Failure {
    Failure {
        kind,
        outcome: Outcome::NotDone,
        message,
    }
}

fn unknown(kind: FailureKind, message: String) -> Failure {
    Failure {
        kind,
        outcome: Outcome::Unknown,
        message,
    }
}

/// The words of the deepest cause: the outer layers only repeat them with more punctuation.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut current = error;
    while let Some(next) = current.source() {
        current = next;
    }
    current.to_string()
}
