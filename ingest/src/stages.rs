//! What every partition shares with the stages behind it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

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

    pub(crate) fn wal_pressed(&self) -> bool {
        self.wal.as_ref().is_some_and(|wal| wal.is_pressed())
    }

    /// What the write-ahead log could not sync is acknowledged by its commit instead: soon.
    pub(crate) fn on_wal_failure(&self) {
        let failed = self.wal.as_ref().map(|wal| wal.state()) == Some(WalState::Failed);
        if failed && self.metrics.wal_failed.set(1) == 0 {
            tracing::error!("the write-ahead log failed; class local is refused from now on");
        }
        self.open.expedite();
    }
}
