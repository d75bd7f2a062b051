//! The groups of one shard, their waiters, their deadlines and their queue, behind one lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::queue::{WriteBudget, WriteQueue};
use crate::coordinator::group::{
    Effects, GroupConfig, GroupError, GroupId, GroupRegistry, Now, Reply, WaiterId, WriteOutcome,
    WriteToken,
};

/// Groups. The lock is short and never held across an await.
#[derive(Debug)]
pub(super) struct Groups {
    state: Mutex<State>,
    /// The earliest deadline is earlier than the one its task sleeps for.
    moved: Notify,
    /// Writes on their way to the store.
    pub queue: WriteQueue,
    commit_timeout: Duration,
}

#[derive(Debug)]
struct State {
    registry: GroupRegistry,
    waiters: HashMap<WaiterId, oneshot::Sender<Reply>>,
    /// Writes without an outcome, and when their waiters should no longer wait. In order of both.
    writes: BTreeMap<WriteToken, (Duration, GroupId)>,
    /// What the task that keeps time sleeps for.
    sleeps_until: Duration,
    /// Set for good: what every request is answered with.
    stopped: Option<GroupError>,
}

impl Groups {
    /// No groups yet.
    pub fn new(config: &GroupConfig, budget: Arc<WriteBudget>) -> Self {
        Self {
            state: Mutex::new(State {
                registry: GroupRegistry::new(config.clone()),
                waiters: HashMap::new(),
                writes: BTreeMap::new(),
                sleeps_until: Duration::MAX,
                stopped: None,
            }),
            moved: Notify::new(),
            queue: WriteQueue::new(budget),
            commit_timeout: config.commit_timeout,
        }
    }

    /// Runs the event of a request. Its reply comes through the receiver.
    pub fn ask(
        &self,
        waiter: WaiterId,
        now: Now,
        event: impl FnOnce(&mut GroupRegistry) -> Effects,
    ) -> Result<oneshot::Receiver<Reply>, GroupError> {
        let mut state = self.state.lock();
        if let Some(error) = state.stopped {
            return Err(error);
        }
        let (sender, receiver) = oneshot::channel();
        state.waiters.insert(waiter, sender);
        let effects = event(&mut state.registry);
        self.carry_out(&mut state, effects, now);
        Ok(receiver)
    }

    /// Runs an event that nobody waits for.
    pub fn run(&self, now: Now, event: impl FnOnce(&mut GroupRegistry) -> Effects) {
        let mut state = self.state.lock();
        if state.stopped.is_none() {
            let effects = event(&mut state.registry);
            self.carry_out(&mut state, effects, now);
        }
    }

    /// Looks at the groups.
    pub fn read<T>(&self, look: impl FnOnce(&GroupRegistry) -> T) -> Result<T, GroupError> {
        let state = self.state.lock();
        match state.stopped {
            Some(error) => Err(error),
            None => Ok(look(&state.registry)),
        }
    }

    /// Changes a group in a way that has no effects but on its deadlines.
    pub fn change<T>(&self, change: impl FnOnce(&mut GroupRegistry) -> T) -> Result<T, GroupError> {
        let mut state = self.state.lock();
        if let Some(error) = state.stopped {
            return Err(error);
        }
        let result = change(&mut state.registry);
        self.wake_if_earlier(&state);
        Ok(result)
    }

    pub fn len(&self) -> usize {
        self.state.lock().registry.len()
    }

    /// The outcome of a write, from the writer.
    pub fn on_write(&self, write: &(GroupId, WriteToken), outcome: WriteOutcome, now: Now) {
        let (id, token) = write;
        let mut state = self.state.lock();
        state.writes.remove(token);
        let effects = state.registry.on_write(id, *token, outcome, now);
        self.carry_out(&mut state, effects, now);
    }

    /// Answers waiters and queues writes. A write that finds no room has failed, which may have effects
    /// of its own.
    fn carry_out(&self, state: &mut State, mut effects: Effects, now: Now) {
        loop {
            let writes = std::mem::take(&mut effects.writes);
            for (waiter, reply) in std::mem::take(&mut effects.replies) {
                if let Some(sender) = state.waiters.remove(&waiter) {
                    // Nobody listens any more when the client is gone.
                    let _ = sender.send(reply);
                }
            }
            for write in writes {
                let (id, token) = (write.group_id.clone(), write.token);
                if self.queue.push(write).is_ok() {
                    let slow_at = now.monotonic.saturating_add(self.commit_timeout);
                    state.writes.insert(token, (slow_at, id));
                    continue;
                }
                let refused = WriteOutcome::Failed(GroupError::CoordinatorNotAvailable);
                effects.append(state.registry.on_write(&id, token, refused, now));
            }
            if effects.replies.is_empty() && effects.writes.is_empty() {
                break;
            }
        }
        self.wake_if_earlier(state);
    }

    fn wake_if_earlier(&self, state: &State) {
        if state.next_deadline() < state.sleeps_until {
            self.moved.notify_one();
        }
    }

    /// What to sleep for; `None` when the groups have stopped.
    pub fn next_deadline(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        state.sleeps_until = state.next_deadline();
        match state.stopped {
            Some(_) => None,
            None => Some(state.sleeps_until),
        }
    }

    pub async fn deadline_moved(&self) {
        self.moved.notified().await;
    }

    /// Handles all deadlines up to `now`.
    pub fn on_time(&self, now: Now) {
        let mut state = self.state.lock();
        if state.stopped.is_some() {
            return;
        }
        let mut effects = state.registry.on_time(now);
        while let Some(first) = state.writes.first_entry()
            && first.get().0 <= now.monotonic
        {
            let (token, (_, id)) = first.remove_entry();
            effects.append(state.registry.on_slow_write(&id, token, now));
        }
        self.carry_out(&mut state, effects, now);
    }

    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped.is_some()
    }

    /// Answers everybody with `error`, now and from now on. What is queued is dropped. Calls `first` under the lock
    /// if nobody stopped the groups before.
    pub fn stop(&self, error: GroupError, now: Now, first: impl FnOnce()) {
        self.queue.close();
        let mut state = self.state.lock();
        if state.stopped.is_some() {
            return;
        }
        state.stopped = Some(error);
        let effects = state.registry.abandon(error, now);
        state.writes.clear();
        for (waiter, reply) in effects.replies {
            if let Some(sender) = state.waiters.remove(&waiter) {
                let _ = sender.send(reply);
            }
        }
        state.waiters.clear();
        self.moved.notify_one();
        first();
    }
}

impl State {
    fn next_deadline(&self) -> Duration {
        let slow = self.writes.first_key_value().map(|(_, (at, _))| *at);
        let group = self.registry.next_deadline();
        let earliest = slow.into_iter().chain(group).min();
        earliest.unwrap_or(Duration::MAX)
    }
}
