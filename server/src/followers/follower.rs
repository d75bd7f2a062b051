//! One follower log and the task that keeps it.

use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::PartitionLog;
use alluvium_cache::tail::CloseReason;
use alluvium_common::topic::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::apply::{apply, known, open};
use super::remote_batch::Source;
use super::{FollowerLogs, IDLE_TIME, Leading};
use crate::rpc::{CallError, News};

/// Pause after a call that failed while the leader's session stands.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

enum State {
    Opening,
    Open(Arc<PartitionLog>),
    Over,
}

/// A follower log.
pub(super) struct Follower {
    tp: TopicPartition,
    leading: Leading,
    state: watch::Sender<State>,
    used_at: Mutex<Instant>,
}

impl Follower {
    pub(super) fn new(tp: TopicPartition, leading: Leading) -> Arc<Self> {
        Arc::new(Self {
            tp,
            leading,
            state: watch::Sender::new(State::Opening),
            used_at: Mutex::new(Instant::now()),
        })
    }

    pub(super) fn tp(&self) -> TopicPartition {
        self.tp
    }

    pub(super) fn leading(&self) -> Leading {
        self.leading
    }

    pub(super) fn touch(&self) {
        *self.used_at.lock() = Instant::now();
    }

    pub(super) fn used_at(&self) -> Instant {
        *self.used_at.lock()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(*self.state.borrow(), State::Over)
    }

    pub(super) fn log(&self) -> Option<Arc<PartitionLog>> {
        match &*self.state.borrow() {
            State::Open(log) => Some(Arc::clone(log)),
            State::Opening | State::Over => None,
        }
    }

    /// The log once all segments are known; `None` when it came to nothing.
    pub(super) async fn opened(&self) -> Option<Arc<PartitionLog>> {
        let mut state = self.state.subscribe();
        let settled = state
            .wait_for(|state| !matches!(state, State::Opening))
            .await;
        match &*settled.ok()? {
            State::Open(log) => Some(Arc::clone(log)),
            State::Opening | State::Over => None,
        }
    }

    /// Lets readers have the log, which reaches as far as its leader's did when it was asked first.
    fn show(&self, log: &Arc<PartitionLog>) {
        self.state.send_if_modified(|state| {
            let is_first = matches!(state, State::Opening);
            if is_first {
                *state = State::Open(Arc::clone(log));
            }
            is_first
        });
    }

    /// Readers learn why. The first reason stays.
    pub(super) fn end(&self, reason: CloseReason) {
        self.state.send_if_modified(|state| {
            match state {
                State::Over => return false,
                State::Opening => {}
                State::Open(log) => log.tail.close(reason),
            }
            *state = State::Over;
            true
        });
    }

    async fn over(&self) {
        let mut state = self.state.subscribe();
        // The sender is `self`.
        let _over = state.wait_for(|state| matches!(state, State::Over)).await;
    }

    fn is_idle(&self) -> bool {
        self.used_at.lock().elapsed() >= IDLE_TIME
    }
}

/// Keeps `follower` until it is over.
pub(super) async fn run(logs: Arc<FollowerLogs>, follower: Arc<Follower>) {
    let reason = tokio::select! {
        reason = keep(&logs, &follower) => reason,
        () = follower.over() => CloseReason::NotLeader,
        () = logs.with.stopping.cancelled() => CloseReason::NotLeader,
    };
    logs.forget(&follower);
    follower.end(reason);
}

/// Returns why the log is followed no longer.
async fn keep(logs: &Arc<FollowerLogs>, follower: &Arc<Follower>) -> CloseReason {
    let source = Source::new(Arc::clone(&logs.with.peers), follower.tp, follower.leading);
    let mut log: Option<Arc<PartitionLog>> = None;
    // The high watermark that the leader told first.
    let mut first_end = None;
    while !follower.is_idle() {
        let news = match wait_for_news(logs, follower, log.as_ref()).await {
            Ok(news) => news,
            Err(reason) => return reason,
        };
        let Some(news) = news else {
            continue;
        };
        let first_end = *first_end.get_or_insert(news.offsets.high_watermark);
        let own = log.get_or_insert_with(|| {
            open(follower.tp, follower.leading, &news, &logs.with.tail_budget)
        });
        // The leader tells of segments only from where what is published ends.
        let picture = logs.with.view.picture();
        match logs.with.manifests.of(&picture, follower.tp.topic_id).await {
            Ok(Some(manifest)) => own.follow_published(&manifest),
            Ok(None) => {}
            Err(error) => {
                warn!(tp = %follower.tp, %error, "what is published of a followed log cannot be read; following it anew");
                return CloseReason::NotLeader;
            }
        }
        if let Err(unfit) = apply(own, news, &source) {
            warn!(tp = %follower.tp, %unfit, "what a leader tells does not fit; following it anew");
            return CloseReason::NotLeader;
        }
        if own.tail.offsets().high_watermark >= first_end {
            follower.show(own);
        }
    }
    debug!(tp = %follower.tp, "nobody reads here; followed no longer");
    CloseReason::NotLeader
}

/// `Ok(None)`: ask once more. An error says why the log can be followed no longer.
async fn wait_for_news(
    logs: &Arc<FollowerLogs>,
    follower: &Follower,
    log: Option<&Arc<PartitionLog>>,
) -> Result<Option<News>, CloseReason> {
    let mut changes = logs.with.view.changes();
    let known = log.map(|log| known(log));
    let leading = follower.leading;
    let call = logs.with.peers.watch(
        leading.broker_id,
        (follower.tp, leading.leader_epoch),
        known,
    );
    tokio::pin!(call);
    loop {
        check(logs, follower)?;
        tokio::select! {
            told = &mut call => match told {
                Ok(news) => return Ok(Some(news)),
                Err(CallError::NotLeader(_)) => return Err(CloseReason::NotLeader),
                Err(error) => {
                    debug!(tp = %follower.tp, %error, "the leader cannot be asked");
                    break;
                }
            },
            _ = changes.changed() => {}
        }
    }
    tokio::time::sleep(RETRY_PAUSE).await;
    check(logs, follower)?;
    Ok(None)
}

/// Whether the picture still shows the same leader.
fn check(logs: &FollowerLogs, follower: &Follower) -> Result<(), CloseReason> {
    if logs.leading(follower.tp) == Some(follower.leading) {
        return Ok(());
    }
    let topics = logs.with.view.topics();
    Err(match topics.with_id(follower.tp.topic_id) {
        Some(_) => CloseReason::NotLeader,
        None => CloseReason::Deleted,
    })
}
