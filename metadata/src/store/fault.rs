//! A store that fails as stores do, for tests: replies are lost after the effect, calls are refused or late,
//! everything is away for a while. Faults come from a script, from a seed, or both.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::error::Outcome;
use alluvium_common::rand::SharedRandom;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::MetadataStore;
use super::error::StoreError;
use super::range::{RangeRequest, RangeResponse};
use super::txn::{Txn, TxnResponse};
use super::types::{Lease, LeaseId, Revision, StoreSpace};
use super::watch::{Watch, WatchBatch, WatchError, WatchRequest, WatchSource};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It goes through.
    None,
    /// It fails and has no effect.
    Refused,
    /// It has its effect, and fails with an unknown outcome.
    ReplyLost,
    /// It fails with an unknown outcome and has no effect.
    RequestLost,
    /// It starts late.
    Delayed(Duration),
}

/// How often what happens by chance, in calls of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultRates {
    /// [`Fault::Refused`].
    pub refused: u64,
    /// [`Fault::ReplyLost`].
    pub reply_lost: u64,
    /// [`Fault::RequestLost`].
    pub request_lost: u64,
    /// [`Fault::Delayed`], by up to `delay_max`.
    pub delayed: u64,
    /// The longest delay.
    pub delay_max: Duration,
}

/// Scripts the faults of a [`FaultyStore`].
#[derive(Debug)]
pub struct Faults {
    script: Mutex<VecDeque<Fault>>,
    rates: Mutex<FaultRates>,
    random: SharedRandom,
    /// Until when nothing is reached.
    away_until: watch::Sender<Option<Instant>>,
}

impl Faults {
    /// No faults yet; chance comes from `random`.
    #[must_use]
    pub fn new(random: SharedRandom) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::default(),
            rates: Mutex::default(),
            random,
            away_until: watch::Sender::new(None),
        })
    }

    /// Decides the next changing calls, one each, before chance does.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script.lock().extend(faults);
    }

    /// Forgets what is left of the script.
    pub fn clear(&self) {
        self.script.lock().clear();
    }

    /// Leaves the calls that no script decides to chance.
    pub fn set_rates(&self, rates: FaultRates) {
        *self.rates.lock() = rates;
    }

    /// Nothing is reached for a while: calls are refused, watches end.
    pub fn away_for(&self, duration: Duration) {
        self.away_until
            .send_replace(Some(Instant::now() + duration));
    }

    /// Everything is reached again.
    pub fn back(&self) {
        self.away_until.send_replace(None);
    }

    fn is_away(&self) -> bool {
        is_away(&self.away_until.borrow())
    }

    fn decide(&self, changing: bool) -> Fault {
        let scripted = if changing {
            self.script.lock().pop_front()
        } else {
            None
        };
        scripted.unwrap_or_else(|| self.by_chance())
    }

    fn by_chance(&self) -> Fault {
        let rates = *self.rates.lock();
        let mut drawn = self.random.below(1000);
        let delay_ms = u64::try_from(rates.delay_max.as_millis()).unwrap_or(u64::MAX);
        let delay = Duration::from_millis(self.random.below(delay_ms.saturating_add(1)));
        for (rate, fault) in [
            (rates.refused, Fault::Refused),
            (rates.reply_lost, Fault::ReplyLost),
            (rates.request_lost, Fault::RequestLost),
            (rates.delayed, Fault::Delayed(delay)),
        ] {
            if drawn < rate {
                return fault;
            }
            drawn -= rate;
        }
        Fault::None
    }

    async fn apply<T>(
        &self,
        changing: bool,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.is_away() {
            return Err(unavailable(Outcome::NotDone));
        }
        // A lost read has no effect to be unsure of.
        let lost = if changing {
            Outcome::Unknown
        } else {
            Outcome::NotDone
        };
        match self.decide(changing) {
            Fault::None => call.await,
            Fault::Delayed(delay) => {
                tokio::time::sleep(delay).await;
                call.await
            }
            Fault::Refused => Err(unavailable(Outcome::NotDone)),
            Fault::RequestLost => Err(unavailable(lost)),
            Fault::ReplyLost => {
                call.await?;
                Err(unavailable(lost))
            }
        }
    }
}

fn is_away(until: &Option<Instant>) -> bool {
    until.is_some_and(|until| until > Instant::now())
}

fn unavailable(outcome: Outcome) -> StoreError {
    StoreError::Unavailable {
        outcome,
        reason: "injected fault".to_owned(),
    }
}

/// A store with [`Faults`].
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn MetadataStore>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// Adds faults to a store.
    #[must_use]
    pub fn new(inner: Arc<dyn MetadataStore>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "a decorator passes on everything"
)]
impl MetadataStore for FaultyStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.faults.apply(false, self.inner.range(request)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        self.faults.apply(true, self.inner.txn(txn)).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, StoreError> {
        let inner = self.faults.apply(false, self.inner.watch(request)).await?;
        Ok(Watch::new(FaultyWatch {
            inner,
            away_until: self.faults.away_until.subscribe(),
        }))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        self.faults.apply(true, self.inner.lease_grant(ttl)).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.faults
            .apply(false, self.inner.lease_keep_alive(lease))
            .await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<Revision, StoreError> {
        self.faults
            .apply(true, self.inner.lease_revoke(lease))
            .await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.faults.apply(true, self.inner.compact(revision)).await
    }

    async fn space(&self) -> Result<Option<StoreSpace>, StoreError> {
        self.faults.apply(false, self.inner.space()).await
    }
}

/// Ends when the store goes away.
#[derive(Debug)]
struct FaultyWatch {
    inner: Watch,
    away_until: watch::Receiver<Option<Instant>>,
}

#[async_trait]
impl WatchSource for FaultyWatch {
    async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        tokio::select! {
            batch = self.inner.next() => batch,
            _ = self.away_until.wait_for(is_away) => Err(unavailable(Outcome::NotDone).into()),
        }
    }
}

#[cfg(test)]
mod tests;
