//! What a failed attempt means: did it certainly not happen, and what may help.
//!
//! etcd tells its errors apart by their text only, under a dozen gRPC codes; the texts have been the same since 3.0.
//! What is not recognised counts as of unknown outcome (M4).

use alluvium_common::error::Outcome;
use tonic::{Code, ConnectError, Status};

use crate::store::error::StoreError;

/// What may help after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Another endpoint, or the same one later.
    Elsewhere,
    /// A new token.
    StaleToken,
    /// The answer was longer than allowed: ask for less.
    AnswerTooLarge,
    /// The revision was compacted.
    Compacted,
    /// The revision lies in the future.
    FutureRevision,
    /// The lease is gone.
    LeaseNotFound,
    /// etcd runs without authentication.
    AuthNotEnabled,
    /// Nothing but a person: out of space.
    NoSpace,
    /// Nothing but a person: not allowed, or not understood.
    Refused,
    /// Nothing: etcd found its own data damaged.
    Damaged,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub class: Class,
    /// Of an attempt to change something.
    pub outcome: Outcome,
    pub reason: String,
}

/// Appended to etcd's words when its quota is used up.
const NO_SPACE_HELP: &str = "compact etcd's history (etcdctl compact), defragment each member (etcdctl defrag), \
     then disarm the alarm (etcdctl alarm disarm); give it a larger --quota-backend-bytes if that does not suffice";

impl Failure {
    fn new(class: Class, outcome: Outcome, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            class,
            outcome,
            reason,
        }
    }

    /// No answer in time. Whether the request was sent is not known.
    pub(super) fn timed_out(after: std::time::Duration) -> Self {
        let reason = format!("no answer within {after:?}");
        Self::new(Class::Elsewhere, Outcome::Unknown, reason)
    }

    /// A watch that etcd ended by itself.
    pub(super) fn watch_canceled(reason: &str) -> Self {
        let class = if reason.contains("permission denied") {
            Class::Refused
        } else {
            Class::Elsewhere
        };
        let reason = format!("etcd ended the watch: {reason}");
        Self::new(class, Outcome::NotDone, reason)
    }

    pub(super) fn of(status: &Status) -> Self {
        use Outcome::{NotDone, Unknown};
        let reason = described(status);
        if never_connected(status) {
            return Self::new(Class::Elsewhere, NotDone, reason);
        }
        let Some(told) = status.message().strip_prefix("etcdserver: ") else {
            return Self::of_transport(status, reason);
        };
        let (class, outcome) = match told {
            "mvcc: required revision has been compacted" => (Class::Compacted, NotDone),
            "mvcc: required revision is a future revision" => (Class::FutureRevision, NotDone),
            "requested lease not found" => (Class::LeaseNotFound, NotDone),
            // The check when a request arrives comes before anything is done, but a second one stands where it is
            // applied, and that one reports an error for what it has applied all the same.
            "mvcc: database space exceeded" => {
                let reason = format!("{reason}; {NO_SPACE_HELP}");
                return Self::new(Class::NoSpace, Unknown, reason);
            }
            "invalid auth token" | "revision of auth store is old" | "user name is empty" => {
                (Class::StaleToken, NotDone)
            }
            "authentication is not enabled" => (Class::AuthNotEnabled, NotDone),
            // Told before a request is looked at.
            "no leader" | "too many requests" | "not capable" => (Class::Elsewhere, NotDone),
            "rpc not supported for learner" => (Class::Elsewhere, NotDone),
            // The corrupt alarm refuses everything.
            "corrupt cluster" => (Class::Damaged, NotDone),
            _ => match status.code() {
                Code::InvalidArgument | Code::PermissionDenied | Code::FailedPrecondition => {
                    (Class::Refused, NotDone)
                }
                // Time-outs, a changed leader, a member that stops: it may be in the log already.
                _ => (Class::Elsewhere, Unknown),
            },
        };
        Self::new(class, outcome, reason)
    }

    /// Not etcd's own words: the connection's, gRPC's, or a proxy's.
    fn of_transport(status: &Status, reason: String) -> Self {
        match status.code() {
            // Of this side's decoder, which knows the length beforehand.
            Code::OutOfRange => Self::new(Class::AnswerTooLarge, Outcome::Unknown, reason),
            Code::Unimplemented => Self::new(
                Class::Refused,
                Outcome::NotDone,
                format!("{reason}; is this an etcd with the v3 API?"),
            ),
            _ => Self::new(Class::Elsewhere, Outcome::Unknown, reason),
        }
    }

    /// Of a call without an effect, or before one: there is nothing to be unsure of.
    pub(super) fn not_done(self) -> Self {
        let outcome = Outcome::NotDone;
        Self { outcome, ..self }
    }

    /// As the seam says it, for whoever has nothing more precise to say.
    pub(super) fn into_error(self) -> StoreError {
        let Self {
            class,
            outcome,
            reason,
        } = self;
        match class {
            Class::Refused => StoreError::Refused { reason },
            Class::Damaged => StoreError::Damaged { what: reason },
            _ => StoreError::Unavailable { outcome, reason },
        }
    }
}

fn described(status: &Status) -> String {
    let text = with_sources(status.message().to_owned(), status);
    if text.is_empty() {
        return format!("gRPC status {:?}", status.code());
    }
    text
}

/// `text` with what stands behind the error that it tells of: "transport error" alone helps nobody.
pub(super) fn with_sources(mut text: String, error: &dyn std::error::Error) -> String {
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !inner_text.is_empty() && !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// Whether the connection could not be opened, so that nothing was sent over it.
fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(inner) = source {
        if inner.is::<ConnectError>() {
            return true;
        }
        source = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, message: &str) -> (Class, Outcome) {
        let failure = Failure::of(&Status::new(code, message));
        assert!(failure.reason.starts_with(message));
        (failure.class, failure.outcome)
    }

    #[test]
    fn only_what_etcd_refused_is_certainly_not_done() {
        use Outcome::{NotDone, Unknown};
        for (code, message, expected) in [
            (
                Code::Unavailable,
                "etcdserver: no leader",
                (Class::Elsewhere, NotDone),
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                (Class::Elsewhere, Unknown),
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                (Class::Elsewhere, Unknown),
            ),
            (
                Code::Unavailable,
                "etcdserver: server stopped",
                (Class::Elsewhere, Unknown),
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                (Class::NoSpace, Unknown),
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                (Class::LeaseNotFound, NotDone),
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                (Class::StaleToken, NotDone),
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                (Class::Refused, NotDone),
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                (Class::Refused, NotDone),
            ),
            (
                Code::Unavailable,
                "broken pipe",
                (Class::Elsewhere, Unknown),
            ),
            (
                Code::InvalidArgument,
                "from some proxy",
                (Class::Elsewhere, Unknown),
            ),
            (
                Code::Unknown,
                "transport error",
                (Class::Elsewhere, Unknown),
            ),
            (
                Code::OutOfRange,
                "message length too large",
                (Class::AnswerTooLarge, Unknown),
            ),
        ] {
            assert_eq!(of(code, message), expected, "{message}");
        }
    }

    #[test]
    fn a_full_etcd_tells_what_to_do() {
        let status = Status::new(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        );
        let text = Failure::of(&status).into_error().to_string();
        for words in ["compact", "defrag", "alarm disarm"] {
            assert!(text.contains(words), "{text}");
        }
    }
}
