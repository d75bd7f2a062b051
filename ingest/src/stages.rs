//! What every partition shares with the stages behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alluvium_common::clock::SharedClock;

use crate::backpressure::ByteBudget;
use crate::metrics::IngestMetrics;
use crate::open_segment::OpenSegment;
use crate::seams::{SessionGuard, WalSink, WalState};

pub(crate) struct Stages {
    pub(crate) open: OpenSegment,
    pub(crate) wal: Option<Arc<dyn WalSink>>,
    pub(crate) session: Arc<dyn SessionGuard>,
    pub(crate) budget: ByteBudget,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: IngestMetrics,
    /// Place in the commit log of the next segment to be sealed.
    pub(crate) next_sequence: AtomicU64,
    /// Something became durable while the session could not be proved alive, so no high watermark moved.
    pub(crate) unsettled: AtomicBool,
}

impl Stages {
    /// Called after each append: asks for memory and disk to be given back in time, and shuts the
    /// gate for newcomers while the write-ahead log holds too much.
    pub(crate) fn relieve(&self) {
        let wal_pressed = self.wal_pressed();
        if wal_pressed {
            self.budget.set_open(false);
        }
        if wal_pressed || self.budget.above_half() {
            self.open.press();
        }
    }

    /// The high watermark of some partition has to be moved once the session is provably alive.
    pub(crate) fn settle_later(&self) {
        if !self.unsettled.swap(true, Ordering::AcqRel) {
            self.open.wake();
        }
    }

    pub(crate) fn wal_pressed(&self) -> bool {
        self.wal.as_ref().is_some_and(|wal| wal.is_pressed())
    }

    pub(crate) fn wal_has_failed(&self) -> bool {
        let state = self.wal.as_ref().map(|wal| wal.state());
        state == Some(WalState::Failed)
    }

    /// What the write-ahead log could not sync is acknowledged by its commit instead: soon.
    pub(crate) fn on_wal_failure(&self) {
        if self.wal_has_failed() && self.metrics.wal_failed.set(1) == 0 {
            tracing::error!("the write-ahead log failed; class local is refused from now on");
        }
        self.open.expedite();
    }
}
