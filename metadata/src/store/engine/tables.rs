//! What the engine needs of a medium: four small tables and a state record.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use crate::store::error::StoreError;
use crate::store::range::KeyRange;
use crate::store::types::{Event, KeyValue, LeaseId, Revision};

/// The store's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Newest revision.
    pub(crate) revision: Revision,
    /// Oldest revision that can be read and watched; history before it is forgotten.
    pub(crate) compacted: Revision,
    /// The next lease to grant; counted so that no id is ever given twice.
    pub(crate) next_lease: LeaseId,
    /// Events kept in `by_revision`.
    pub(crate) history_events: u64,
    /// Bytes of those events, by [`StoredEvent::size_bytes`].
    pub(crate) history_bytes: u64,
}

impl State {
    /// The state of an empty store.
    pub(crate) const EMPTY: Self = Self {
        revision: Revision::FIRST,
        compacted: Revision::NONE,
        next_lease: LeaseId(1),
        history_events: 0,
        history_bytes: 0,
    };
}

/// An event with what it replaced: history is an undo log, so that the current state is one plain table and
/// a read of the past costs what changed since, not what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    pub(crate) event: Event,
    pub(crate) previous: Option<KeyValue>,
}

impl StoredEvent {
    /// What the event is counted with against the bound on history.
    pub(crate) fn size_bytes(&self) -> u64 {
        /// Revisions, lease, lengths and checksum of one event.
        const OVERHEAD_BYTES: usize = 128;
        let value = match &self.event {
            Event::Put(kv) => kv.value.len(),
            Event::Delete { .. } => 0,
        };
        let previous = self.previous.as_ref().map_or(0, |kv| kv.value.len());
        (self.event.key().len() + value + previous + OVERHEAD_BYTES) as u64
    }
}

/// How much history was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Forgotten {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// Reading a consistent snapshot.
pub(crate) trait ReadTables {
    /// The counters.
    fn state(&self) -> Result<State, StoreError>;
    /// A key as it stands.
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError>;
    /// Visits the keys of a range in order until told to stop.
    fn scan(
        &self,
        range: &KeyRange,
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    /// Visits kept events from a revision on, in order, until told to stop.
    fn events(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    /// Whether the lease exists.
    fn has_lease(&self, lease: LeaseId) -> Result<bool, StoreError>;
    /// The keys that are deleted with the lease, in order.
    fn attached(&self, lease: LeaseId) -> Result<Vec<Bytes>, StoreError>;
}

/// Changing the tables. A failure leaves them undefined: the medium discards the whole attempt.
pub(crate) trait WriteTables: ReadTables {
    /// Creates or overwrites a key's record.
    fn put(&mut self, kv: &KeyValue) -> Result<(), StoreError>;
    /// Removes a key's record.
    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError>;
    /// Adds the `index`-th event of its revision.
    fn push_event(&mut self, index: u32, event: &StoredEvent) -> Result<(), StoreError>;
    /// The revision of the oldest kept event.
    fn oldest_event(&self) -> Result<Option<Revision>, StoreError>;
    /// Removes the events before a revision.
    fn forget_before(&mut self, revision: Revision) -> Result<Forgotten, StoreError>;
    /// Adds a lease.
    fn put_lease(&mut self, lease: LeaseId, ttl: Duration) -> Result<(), StoreError>;
    /// Removes a lease; its keys are detached already.
    fn remove_lease(&mut self, lease: LeaseId) -> Result<(), StoreError>;
    /// Ties a key to a lease.
    fn attach(&mut self, lease: LeaseId, key: &[u8]) -> Result<(), StoreError>;
    /// Frees a key from a lease.
    fn detach(&mut self, lease: LeaseId, key: &[u8]) -> Result<(), StoreError>;
}
