//! Which broker of its own rack a client should read from.

use std::collections::HashMap;
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::view::Brokers;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::rpc::rendezvous;

/// A client that is back within this time could not read where it was sent: it is served here. Clients remember for
/// minutes where they were sent, so that nobody else comes back so soon.
const BACK_TIME: Duration = Duration::from_secs(1);

/// Redirections remembered. Beyond, all are forgotten, which costs some clients another detour.
const REMEMBERED_MAX: usize = 20_000;

/// Remembers whom it sent where.
#[derive(Debug, Default)]
pub(super) struct Preferred {
    sent: Mutex<HashMap<(TopicPartition, BrokerId), Instant>>,
}

impl Preferred {
    /// The broker in `rack` for a partition that is led here. All clients of a rack are sent to the same one, so that each
    /// partition is followed once in a rack; partitions are spread over its brokers.
    pub(super) fn choose(
        &self,
        brokers: &Brokers,
        tp: TopicPartition,
        rack: &str,
    ) -> Option<BrokerId> {
        let in_rack = brokers.all().filter(|live| {
            let record = &live.record;
            record.rack.as_deref() == Some(rack) && record.rpc.is_some() && !record.draining
        });
        let mut key = [0; 20];
        key[..16].copy_from_slice(tp.topic_id.0.as_bytes());
        key[16..].copy_from_slice(&tp.partition.0.to_le_bytes());
        let chosen = rendezvous::home(&key, in_rack.map(|live| live.record.broker_id))?;
        self.may_send((tp, chosen)).then_some(chosen)
    }

    fn may_send(&self, way: (TopicPartition, BrokerId)) -> bool {
        let now = Instant::now();
        let mut sent = self.sent.lock();
        if let Some(before) = sent.get(&way)
            && now.duration_since(*before) < BACK_TIME
        {
            return false;
        }
        if sent.len() >= REMEMBERED_MAX {
            sent.clear();
        }
        sent.insert(way, now);
        true
    }
}
