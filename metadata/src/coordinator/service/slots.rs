//! Which shards are open here, and how they come and go.
//!
//! Each shard has a slot. Opening one is an attempt with a number of its own; whoever closes the slot or begins a
//! later attempt meanwhile wins, and the earlier one ends. Only then does the later one take the shard over, so that
//! an attempt is never fenced by one that was before it.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;

use super::host::Host;
use super::load::OpenError;
use super::ownership::Ownership;
use super::shard::{Loaded, Shard};
use super::topics::FollowedTopics;
use crate::coordinator::group::{GroupError, GroupId, GroupRegistry};
use crate::coordinator::group_shard::{GroupShard, group_shard};
use crate::store::Revision;

#[derive(Debug)]
pub(super) struct Slots {
    host: Arc<Host>,
    state: RwLock<State>,
    /// Held by the attempt that is under way, by number of the shard.
    gates: Vec<Mutex<()>>,
}

#[derive(Debug)]
struct State {
    /// By number of the shard.
    slots: Vec<Slot>,
    attempts: u64,
    topics: Option<Arc<FollowedTopics>>,
}

#[derive(Debug)]
enum Slot {
    Closed,
    Loading(Ticket),
    Open(Serving),
}

/// The attempt that a slot waits for. When it is dropped, the attempt ends.
#[derive(Debug)]
struct Ticket {
    number: u64,
    _waited_for: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Serving {
    shard: Arc<Shard>,
    /// When the shard was taken over.
    revision: Revision,
    /// End with it.
    tasks: JoinSet<()>,
}

impl Slots {
    /// All closed.
    pub fn new(host: Arc<Host>) -> Self {
        let state = State {
            slots: GroupShard::all().map(|_| Slot::Closed).collect(),
            attempts: 0,
            topics: None,
        };
        Self {
            host,
            state: RwLock::new(state),
            gates: GroupShard::all().map(|_| Mutex::default()).collect(),
        }
    }

    /// The shard of a group, if it is served here.
    pub fn find(&self, id: &GroupId) -> Result<Arc<Shard>, GroupError> {
        match &self.state.read().slots[group_shard(id).index()] {
            Slot::Closed => Err(GroupError::NotCoordinator),
            Slot::Loading(_) => Err(GroupError::CoordinatorLoadInProgress),
            Slot::Open(serving) => Ok(serving.shard.clone()),
        }
    }

    /// Shards that are open and have not stopped, in order.
    pub fn serving(&self) -> Vec<Arc<Shard>> {
        let state = self.state.read();
        let open = state.slots.iter().filter_map(|slot| match slot {
            Slot::Open(serving) => Some(&serving.shard),
            Slot::Closed | Slot::Loading(_) => None,
        });
        open.filter(|shard| !shard.groups.is_stopped())
            .cloned()
            .collect()
    }

    /// Whether some shard is being loaded.
    pub fn is_loading(&self) -> bool {
        let state = self.state.read();
        state.slots.iter().any(|s| matches!(s, Slot::Loading(_)))
    }

    /// Opens a shard, after closing it if it was open.
    pub async fn open(
        &self,
        id: GroupShard,
        ownership: Arc<dyn Ownership>,
    ) -> Result<(), OpenError> {
        let (attempt, superseded) = Attempt::begin(self, id);
        let open = async {
            let _gate = self.gates[id.index()].lock().await;
            Shard::open(self.host.clone(), id, ownership).await
        };
        tokio::select! {
            biased;
            _ = superseded => Err(OpenError::Closed),
            loaded = open => attempt.end(loaded?),
        }
    }

    /// Closes a shard, open or not.
    pub fn close(&self, id: GroupShard) {
        self.replace(id, |_| Slot::Closed);
    }

    /// Closes all shards.
    pub fn close_all(&self) {
        GroupShard::all().for_each(|id| self.close(id));
    }

    fn replace(&self, id: GroupShard, slot: impl FnOnce(&mut State) -> Slot) {
        let mut state = self.state.write();
        let slot = slot(&mut state);
        let old = std::mem::replace(&mut state.slots[id.index()], slot);
        // Many may have to be answered: not under the lock that every request takes.
        drop(state);
        if let Slot::Open(serving) = old {
            serving.shard.close();
        }
    }

    /// Task: drops the offsets past their retention.
    pub async fn expire_regularly(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.host.config.retention_check_interval).await;
            for shard in self.serving() {
                shard.with(GroupRegistry::expire_offsets);
            }
        }
    }

    /// From now on shards drop the offsets of deleted topics.
    pub fn follow_topics(&self, topics: Arc<FollowedTopics>) {
        let mut state = self.state.write();
        for slot in &mut state.slots {
            if let Slot::Open(serving) = slot {
                serving.check_topics(topics.clone());
            }
        }
        state.topics = Some(topics);
    }
}

impl Serving {
    fn start(loaded: Loaded) -> Self {
        let Loaded {
            shard,
            writer,
            revision,
        } = loaded;
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        tasks.spawn(shard.clone().keep_time());
        Self {
            shard,
            revision,
            tasks,
        }
    }

    fn check_topics(&mut self, topics: Arc<FollowedTopics>) {
        let (shard, revision) = (self.shard.clone(), self.revision);
        self.tasks
            .spawn(async move { topics.check(&shard, revision).await });
    }
}

/// An attempt to open a shard. Dropping it leaves the slot closed, if it is still the attempt's.
struct Attempt<'a> {
    slots: &'a Slots,
    id: GroupShard,
    number: u64,
}

impl<'a> Attempt<'a> {
    /// With what resolves when the attempt is of no more use.
    fn begin(slots: &'a Slots, id: GroupShard) -> (Self, oneshot::Receiver<()>) {
        let (sender, superseded) = oneshot::channel();
        let mut number = 0;
        slots.replace(id, |state| {
            state.attempts += 1;
            number = state.attempts;
            Slot::Loading(Ticket {
                number,
                _waited_for: sender,
            })
        });
        (Self { slots, id, number }, superseded)
    }

    fn end(self, loaded: Loaded) -> Result<(), OpenError> {
        let mut state = self.slots.state.write();
        if !self.is_current(&state) {
            return Err(OpenError::Closed);
        }
        let mut serving = Serving::start(loaded);
        if let Some(topics) = &state.topics {
            serving.check_topics(topics.clone());
        }
        state.slots[self.id.index()] = Slot::Open(serving);
        Ok(())
    }

    fn is_current(&self, state: &State) -> bool {
        matches!(&state.slots[self.id.index()], Slot::Loading(ticket) if ticket.number == self.number)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state.write();
        if self.is_current(&state) {
            state.slots[self.id.index()] = Slot::Closed;
        }
    }
}
