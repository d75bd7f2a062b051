//! Which sessions there are, and which one makes room for another.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::rand::SharedRandom;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::partitions::Partitions;
use super::{INITIAL_EPOCH, NO_SESSION, Session, SessionConfig, next_epoch};
use crate::metrics::ReadMetrics;

#[derive(Debug)]
struct Slot {
    session: Arc<Mutex<Session>>,
    created: Instant,
    used: Instant,
    partitions: usize,
}

#[derive(Debug)]
pub(super) struct Cache {
    config: SessionConfig,
    random: SharedRandom,
    metrics: ReadMetrics,
    slots: HashMap<i32, Slot>,
    partitions: usize,
}

impl Cache {
    pub(super) fn new(config: SessionConfig, random: SharedRandom, metrics: ReadMetrics) -> Self {
        Self {
            config,
            random,
            metrics,
            slots: HashMap::new(),
            partitions: 0,
        }
    }

    pub(super) fn get(&self, id: i32) -> Option<Arc<Mutex<Session>>> {
        self.slots.get(&id).map(|slot| Arc::clone(&slot.session))
    }

    /// Notes a use of the session and its new size. False when it is gone, or has grown beyond what
    /// fits and therefore goes.
    pub(super) fn touch(&mut self, id: i32, partitions: usize) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else {
            return false;
        };
        slot.used = Instant::now();
        self.partitions = self.partitions - slot.partitions + partitions;
        slot.partitions = partitions;
        if self.partitions > self.config.partitions_max {
            self.evict(id);
            return false;
        }
        true
    }

    pub(super) fn remove(&mut self, id: i32) {
        if let Some(slot) = self.slots.remove(&id) {
            self.partitions -= slot.partitions;
            self.metrics.sessions.set(self.slots.len() as i64);
        }
    }

    fn evict(&mut self, id: i32) {
        self.remove(id);
        self.metrics.sessions_evicted.inc();
    }

    /// A new session's id; [`NO_SESSION`] when there is no room and nobody makes any.
    pub(super) fn create(&mut self, by_topic_ids: bool, partitions: Partitions) -> i32 {
        let size = partitions.len();
        let fits = self.partitions + size <= self.config.partitions_max;
        if !fits || (self.slots.len() >= self.config.slots && !self.make_room(size)) {
            return NO_SESSION;
        }
        let id = self.new_id();
        let now = Instant::now();
        let session = Session {
            id,
            epoch: next_epoch(INITIAL_EPOCH),
            by_topic_ids,
            partitions,
        };
        let slot = Slot {
            session: Arc::new(Mutex::new(session)),
            created: now,
            used: now,
            partitions: size,
        };
        self.slots.insert(id, slot);
        self.partitions += size;
        self.metrics.sessions.set(self.slots.len() as i64);
        id
    }

    /// Evicts the session not used for longest, if that is long; otherwise the smallest one, if it is
    /// not young and not larger than the newcomer.
    fn make_room(&mut self, newcomer: usize) -> bool {
        let now = Instant::now();
        let patience = self.config.eviction;
        let stale = self.slots.iter().min_by_key(|(id, slot)| (slot.used, **id));
        if let Some((id, slot)) = stale
            && now - slot.used > patience
        {
            let id = *id;
            self.evict(id);
            return true;
        }
        let old = self
            .slots
            .iter()
            .filter(|(_, slot)| now - slot.created > patience);
        let smallest = old.min_by_key(|(id, slot)| (slot.partitions, **id));
        match smallest {
            Some((id, slot)) if slot.partitions < newcomer => {
                let id = *id;
                self.evict(id);
                true
            }
            _ => false,
        }
    }

    fn new_id(&self) -> i32 {
        loop {
            // 31 bits: ids are positive. With at most some thousand slots taken, this ends soon.
            let id = (self.random.next_u64() >> 33) as i32;
            if id != NO_SESSION && !self.slots.contains_key(&id) {
                return id;
            }
        }
    }
}
