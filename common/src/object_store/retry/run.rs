//! The retry loop. It exists once; every operation of the decorator goes through it.

use std::future::Future;
use std::time::Duration;

use ::object_store::{Error, Result};
use tokio::time::Instant;

use super::policy::{RetryBudget, RetryPolicy};
use crate::error::Outcome;
use crate::object_store::failure::Failure;
use crate::object_store::metrics::StoreMetrics;
use crate::object_store::operation::Operation;
use crate::rand::SharedRandom;

/// An attempt was given up because no answer came in time. It may have happened.
#[derive(Debug, thiserror::Error)]
#[error("no answer to a {operation} within {waited:?}")]
pub struct AttemptTimedOut {
    operation: &'static str,
    waited: Duration,
}

/// Which failures may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice is the same as doing it once.
    Safe,
    /// Only when the failed attempt certainly did nothing.
    IfNotDone,
}

/// What all operations of one store share.
#[derive(Debug)]
pub(super) struct Retries {
    pub(super) policy: RetryPolicy,
    pub(super) random: SharedRandom,
    pub(super) metrics: StoreMetrics,
    budget: RetryBudget,
}

impl Retries {
    pub(super) fn new(policy: RetryPolicy, random: SharedRandom, metrics: StoreMetrics) -> Self {
        Self {
            budget: RetryBudget::new(&policy),
            policy,
            random,
            metrics,
        }
    }

    /// Runs `attempt` until it succeeds, fails for good, or the deadline has passed. `bytes` is what
    /// the request moves. The attempt is told whether an earlier one may have happened.
    pub(super) async fn run<T, F, Fut>(
        &self,
        operation: Operation,
        bytes: u64,
        repeat: Repeat,
        mut attempt: F,
    ) -> Result<T>
    where
        F: FnMut(bool) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut turn = Turn::new(self, operation, repeat);
        loop {
            let outcome = self
                .in_time(operation, bytes, attempt(turn.maybe_done))
                .await;
            match outcome {
                Ok(done) => return Ok(done),
                Err(error) => turn.next(error).await?,
            }
        }
    }

    /// Runs one attempt under its time limit.
    pub(super) async fn in_time<T>(
        &self,
        operation: Operation,
        bytes: u64,
        attempt: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let limit = self.policy.attempt_timeout(bytes);
        match tokio::time::timeout(limit, attempt).await {
            Ok(result) => result,
            Err(_elapsed) => Err(timed_out(operation, limit)),
        }
    }
}

pub(super) fn timed_out(operation: Operation, waited: Duration) -> Error {
    Error::Generic {
        store: "retry",
        source: Box::new(AttemptTimedOut {
            operation: operation.label(),
            waited,
        }),
    }
}

/// One operation's way through its attempts.
pub(super) struct Turn<'a> {
    retries: &'a Retries,
    operation: Operation,
    repeat: Repeat,
    give_up_at: Instant,
    count: u32,
    /// An attempt so far may have happened although it failed.
    pub(super) maybe_done: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(retries: &'a Retries, operation: Operation, repeat: Repeat) -> Self {
        Self {
            retries,
            operation,
            repeat,
            give_up_at: Instant::now() + retries.policy.deadline,
            count: 0,
            maybe_done: false,
        }
    }

    /// After a failed attempt: waits for the right to another one, or returns the error.
    pub(super) async fn next(&mut self, error: Error) -> Result<()> {
        let failure = Failure::of(&error);
        let certain = failure.outcome == Outcome::NotDone;
        self.maybe_done |= !certain;
        let repeatable = self.repeat == Repeat::Safe || !self.maybe_done;
        if !failure.is_retryable() || !repeatable {
            return Err(error);
        }
        self.count += 1;
        let policy = &self.retries.policy;
        let pause = policy.pause(self.count, self.retries.random.as_ref());
        let wait = pause.max(self.retries.budget.take());
        if Instant::now() + wait >= self.give_up_at {
            self.retries.budget.give_back();
            return Err(error);
        }
        self.retries.metrics.retried(self.operation);
        tracing::debug!(
            operation = self.operation.label(),
            retry = self.count,
            ?wait,
            %failure,
            "object store request failed, trying again"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
