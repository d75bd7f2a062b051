//! A store in memory, for tests and simulations: the whole contract, nothing durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::engine::{
    Command, EventsPage, EventsRequest, Forgotten, HistoryBound, ReadTables, Reply, State,
    StoredEvent, WriteTables, events_page, execute, range, trim_history,
};
use super::error::StoreError;
use super::local::{Backing, LocalStore};
use super::range::{KeyRange, RangeRequest, RangeResponse};
use super::types::{KeyValue, LeaseId, Revision};

/// A store in memory. Must be used inside a tokio runtime, which times its leases.
pub type MemoryStore = LocalStore<MemoryBacking>;

impl MemoryStore {
    /// An empty store that keeps as much history as the embedded one.
    #[must_use]
    pub fn new() -> Self {
        Self::with_history(super::HISTORY_EVENTS_MAX, super::HISTORY_BYTES_MAX)
    }

    /// An empty store that keeps at most so many events, and so many bytes of them, for watches and reads
    /// of the past. The newest revision is always kept.
    #[must_use]
    pub fn with_history(events_max: u64, bytes_max: u64) -> Self {
        Self::over(MemoryBacking {
            tables: Mutex::new(MemoryTables::default()),
            newest: watch::Sender::new(State::EMPTY.revision),
            history: HistoryBound {
                events: events_max,
                bytes: bytes_max,
            },
        })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// The medium of [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryBacking {
    tables: Mutex<MemoryTables>,
    newest: watch::Sender<Revision>,
    history: HistoryBound,
}

#[async_trait]
#[expect(private_interfaces, reason = "the trait is sealed")]
impl Backing for MemoryBacking {
    async fn submit(&self, command: Command) -> Result<Reply, StoreError> {
        let mut tables = self.tables.lock();
        let mut state = tables.state;
        let reply = execute(&mut *tables, &mut state, &command)?;
        trim_history(&mut *tables, &mut state, self.history)?;
        tables.state = state;
        // Under the lock, so that it only ever moves forward.
        self.newest.send_if_modified(|newest| {
            let moved = *newest != state.revision;
            *newest = state.revision;
            moved
        });
        Ok(reply)
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        let tables = self.tables.lock();
        range(&*tables, &tables.state, request)
    }

    fn events(&self, request: &EventsRequest) -> Result<EventsPage, StoreError> {
        events_page(&*self.tables.lock(), request)
    }

    fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }
}

#[derive(Debug)]
struct MemoryTables {
    state: State,
    kv: BTreeMap<Bytes, KeyValue>,
    by_revision: BTreeMap<(Revision, u32), StoredEvent>,
    leases: BTreeSet<LeaseId>,
    attached: BTreeSet<(LeaseId, Bytes)>,
}

impl Default for MemoryTables {
    fn default() -> Self {
        Self {
            state: State::EMPTY,
            kv: BTreeMap::new(),
            by_revision: BTreeMap::new(),
            leases: BTreeSet::new(),
            attached: BTreeSet::new(),
        }
    }
}

impl ReadTables for MemoryTables {
    fn state(&self) -> Result<State, StoreError> {
        Ok(self.state)
    }

    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.kv.get(key).cloned())
    }

    fn scan(
        &self,
        range: &KeyRange,
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if range.is_empty() {
            return Ok(());
        }
        let to = range.to.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self
            .kv
            .range::<Bytes, _>((Bound::Included(&range.from), to));
        let _ = keys.map(|(_, kv)| kv.clone()).try_for_each(visit);
        Ok(())
    }

    fn events(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let _ = self
            .by_revision
            .range((from, 0)..)
            .map(|(_, event)| event.clone())
            .try_for_each(visit);
        Ok(())
    }

    fn has_lease(&self, lease: LeaseId) -> Result<bool, StoreError> {
        Ok(self.leases.contains(&lease))
    }

    fn attached(&self, lease: LeaseId) -> Result<Vec<Bytes>, StoreError> {
        let keys = self.attached.range((lease, Bytes::new())..);
        Ok(keys
            .take_while(|(of, _)| *of == lease)
            .map(|(_, key)| key.clone())
            .collect())
    }
}

impl WriteTables for MemoryTables {
    fn put(&mut self, kv: &KeyValue) -> Result<(), StoreError> {
        self.kv.insert(kv.key.clone(), kv.clone());
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.kv.remove(key);
        Ok(())
    }

    fn push_event(&mut self, index: u32, event: &StoredEvent) -> Result<(), StoreError> {
        self.by_revision
            .insert((event.event.revision(), index), event.clone());
        Ok(())
    }

    fn oldest_event(&self) -> Result<Option<Revision>, StoreError> {
        Ok(self
            .by_revision
            .keys()
            .next()
            .map(|(revision, _)| *revision))
    }

    fn forget_before(&mut self, revision: Revision) -> Result<Forgotten, StoreError> {
        let kept = self.by_revision.split_off(&(revision, 0));
        let forgotten = std::mem::replace(&mut self.by_revision, kept);
        let bytes = forgotten.values().map(StoredEvent::size_bytes).sum();
        Ok(Forgotten {
            events: forgotten.len() as u64,
            bytes,
        })
    }

    fn put_lease(&mut self, lease: LeaseId, _ttl: Duration) -> Result<(), StoreError> {
        self.leases.insert(lease);
        Ok(())
    }

    fn remove_lease(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        self.leases.remove(&lease);
        Ok(())
    }

    fn attach(&mut self, lease: LeaseId, key: &[u8]) -> Result<(), StoreError> {
        self.attached.insert((lease, Bytes::copy_from_slice(key)));
        Ok(())
    }

    fn detach(&mut self, lease: LeaseId, key: &[u8]) -> Result<(), StoreError> {
        self.attached.remove(&(lease, Bytes::copy_from_slice(key)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
