//! Makes calls: with a deadline, at whichever endpoint works, with a valid token, and again where that is safe.
//!
//! A call that changes something is repeated only while it certainly was not done (M4); one that may be repeated
//! freely is given up on at one endpoint early enough to be answered by another.

use std::time::Duration;

use alluvium_common::error::Outcome;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;
use tracing::debug;

use super::auth::Auth;
use super::endpoints::{Endpoints, EtcdOpenError, Place};
use super::error::{Class, Failure};
use super::options::EtcdOptions;
use super::wire::Wire;

/// Pauses once every endpoint has failed: a leader is elected in about a second.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// When a failed call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or nothing that matters twice.
    Freely,
    /// It changes something.
    WhenNotDone,
}

/// Makes calls.
#[derive(Debug)]
pub(super) struct Caller {
    endpoints: Endpoints,
    auth: Auth,
    call_timeout: Duration,
    attempt_timeout: Duration,
}

impl Caller {
    pub(super) async fn new(options: &EtcdOptions) -> Result<Self, EtcdOpenError> {
        Ok(Self {
            endpoints: Endpoints::new(options).await?,
            auth: Auth::new(options.credentials.clone()),
            call_timeout: options.call_timeout,
            attempt_timeout: options.attempt_timeout,
        })
    }

    /// Makes one call, in several attempts if need be.
    pub(super) async fn call<T, F>(
        &self,
        repeat: Repeat,
        rpc: impl Fn(Wire) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let (_, answer) = self.call_placed(repeat, rpc).await?;
        Ok(answer)
    }

    /// The same, and tells who answered.
    pub(super) async fn call_placed<T, F>(
        &self,
        repeat: Repeat,
        rpc: impl Fn(Wire) -> F,
    ) -> Result<(Place, T), Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + self.call_timeout;
        let (mut attempt, mut outcome) = (0, Outcome::NotDone);
        loop {
            let (place, failure) = match self.attempt(repeat, deadline, &rpc).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            debug!(
                endpoint = self.endpoints.address(place),
                reason = failure.reason,
                "etcd call failed"
            );
            attempt += 1;
            if failure.outcome == Outcome::Unknown {
                // So is the whole call, whatever becomes of later attempts.
                outcome = Outcome::Unknown;
            }
            let passing = matches!(failure.class, Class::Elsewhere | Class::StaleToken);
            let safe = repeat == Repeat::Freely || failure.outcome == Outcome::NotDone;
            let pause = self.pause(attempt);
            if !passing || !safe || Instant::now() + pause >= deadline {
                let address = self.endpoints.address(place);
                let reason = format!("etcd at {address}: {}", failure.reason);
                return Err(Failure {
                    reason,
                    outcome,
                    ..failure
                });
            }
            sleep(pause).await;
        }
    }

    async fn attempt<T, F>(
        &self,
        repeat: Repeat,
        deadline: Instant,
        rpc: &impl Fn(Wire) -> F,
    ) -> Result<(Place, T), (Place, Failure)>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let started = Instant::now();
        let ends = match repeat {
            Repeat::Freely => deadline.min(started + self.attempt_timeout),
            Repeat::WhenNotDone => deadline,
        };
        let (place, channel) = self.endpoints.current();
        let wire = Wire {
            channel,
            token: None,
        };
        // Asking for a token changes nothing, so its time is that of an attempt that may be repeated.
        let signing_ends = deadline.min(started + self.attempt_timeout);
        let signed = match timeout_at(signing_ends, self.auth.sign(wire)).await {
            Ok(signed) => signed,
            Err(_) => Err(self.silent(place, started).not_done()),
        };
        let wire = match signed {
            Ok(wire) => wire,
            Err(failure) => return Err(self.failed(place, failure)),
        };
        match timeout_at(ends, rpc(wire.clone())).await {
            Ok(Ok(answer)) => Ok((place, answer)),
            Ok(Err(status)) => {
                let mut failure = Failure::of(&status);
                if failure.class == Class::StaleToken && !self.auth.reject(&wire).await {
                    failure.class = Class::Refused;
                    failure.reason += "; this etcd wants a user and a password";
                }
                Err(self.failed(place, failure))
            }
            Err(_) => {
                let failure = self.silent(place, started);
                Err(self.failed(place, failure))
            }
        }
    }

    /// The connection did not answer in time, and later calls had better use another.
    fn silent(&self, place: Place, started: Instant) -> Failure {
        self.endpoints.reconnect(place);
        Failure::timed_out(started.elapsed())
    }

    fn failed(&self, place: Place, failure: Failure) -> (Place, Failure) {
        if failure.class == Class::Elsewhere {
            self.endpoints.move_on(place);
        }
        (place, failure)
    }

    /// None before every endpoint was tried once, then longer and longer.
    fn pause(&self, attempt: usize) -> Duration {
        match attempt.checked_sub(self.endpoints.len()) {
            None => Duration::ZERO,
            Some(round) => {
                let doubled = PAUSE_FIRST * (1 << round.min(10));
                doubled.min(PAUSE_MAX)
            }
        }
    }

    /// What was opened there broke later: the next calls go elsewhere.
    pub(super) fn leave(&self, place: Place) {
        self.endpoints.move_on(place);
    }
}
