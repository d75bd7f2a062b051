//! Batches of a follower log that left memory and that no segment holds yet: the leader has them.

use std::io;
use std::sync::Arc;

use alluvium_cache::tail::SpilledBatch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::{StoredBatch, check_crc};
use tokio::runtime::Handle;

use super::Leading;
use crate::rpc::Peers;

/// Where the batches of one follower log come from.
pub(super) struct Source {
    peers: Arc<Peers>,
    tp: TopicPartition,
    leading: Leading,
    runtime: Handle,
}

impl Source {
    /// To be called within the runtime that makes the calls.
    pub(super) fn new(peers: Arc<Peers>, tp: TopicPartition, leading: Leading) -> Arc<Self> {
        Arc::new(Self {
            peers,
            tp,
            leading,
            runtime: Handle::current(),
        })
    }

    /// A batch that can be had from here again.
    pub(super) fn batch(
        self: &Arc<Self>,
        base: Offset,
        size_bytes: usize,
    ) -> Arc<dyn SpilledBatch> {
        Arc::new(RemoteBatch {
            source: Arc::clone(self),
            base,
            size_bytes,
        })
    }
}

struct RemoteBatch {
    source: Arc<Source>,
    base: Offset,
    size_bytes: usize,
}

impl SpilledBatch for RemoteBatch {
    fn read(&self) -> io::Result<StoredBatch> {
        let source = &self.source;
        let led = (source.tp, source.leading.leader_epoch);
        let call = source
            .peers
            .read_batch(source.leading.broker_id, led, self.base);
        let raw = source.runtime.block_on(call).map_err(io::Error::other)?;
        check_crc(&raw).map_err(io::Error::other)?;
        let batch = StoredBatch::from_stored(raw).map_err(io::Error::other)?;
        if batch.base_offset() != self.base {
            return Err(io::Error::other("the leader sent another batch"));
        }
        Ok(batch)
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}
