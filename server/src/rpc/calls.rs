//! The calls to other brokers as those who need them make them.

use std::sync::Arc;

use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_common::topic::TopicPartition;
use alluvium_ingest::recovery::HandedIndex;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::debug;

use super::convert::{BadMessage, Known, News, handed_in, led_out, offsets_in, tp_out};
use super::peers::{CallError, Peers};
use super::{
    PARTITIONS_PER_CALL_MAX, ReadBatch, ReadOffsets, TakeIndex, WATCH_WAIT_MAX, Watch, proto,
};
use crate::partitions::FormerLeaders;

fn bad(broker_id: BrokerId) -> impl Fn(BadMessage) -> CallError {
    move |error| CallError::Failed {
        broker_id,
        reason: error.to_string(),
    }
}

impl Peers {
    /// The offsets of partitions that `leader` leads under these epochs, in their order; `None` where it does not.
    pub async fn offsets(
        &self,
        leader: BrokerId,
        led: &[(TopicPartition, LeaderEpoch)],
    ) -> Result<Vec<Option<LogOffsets>>, CallError> {
        let mut read = Vec::with_capacity(led.len());
        for led in led.chunks(PARTITIONS_PER_CALL_MAX) {
            let partitions = led.iter().map(|(tp, epoch)| led_out(*tp, *epoch));
            let request = proto::OffsetsRequest {
                partitions: partitions.collect(),
            };
            let answer = self.call::<ReadOffsets>(leader, request).await?;
            if answer.partitions.len() != led.len() {
                return Err(bad(leader)(BadMessage::Field("number of partitions")));
            }
            for one in &answer.partitions {
                let offsets = one.offsets.as_ref().map(offsets_in).transpose();
                read.push(offsets.map_err(bad(leader))?);
            }
        }
        Ok(read)
    }

    /// What is new in a partition, as soon as something is; nothing new after a while.
    pub async fn watch(
        &self,
        leader: BrokerId,
        (tp, leader_epoch): (TopicPartition, LeaderEpoch),
        known: Option<Known>,
    ) -> Result<News, CallError> {
        let request = proto::WatchRequest {
            partition: Some(led_out(tp, leader_epoch)),
            known: known.map(Known::out),
            wait_ms: u32::try_from(WATCH_WAIT_MAX.as_millis()).unwrap_or(u32::MAX),
        };
        let answer = self.call::<Watch>(leader, request).await?;
        News::read(answer).map_err(bad(leader))
    }

    /// The batch that holds `offset`.
    pub async fn read_batch(
        &self,
        leader: BrokerId,
        (tp, leader_epoch): (TopicPartition, LeaderEpoch),
        offset: Offset,
    ) -> Result<Bytes, CallError> {
        let request = proto::ReadBatchRequest {
            partition: Some(led_out(tp, leader_epoch)),
            offset: offset.get(),
        };
        Ok(self.call::<ReadBatch>(leader, request).await?.batch)
    }

    async fn take_index(
        &self,
        former: BrokerId,
        tps: &[TopicPartition],
    ) -> Result<Vec<HandedIndex>, CallError> {
        let request = proto::TakeIndexRequest {
            partitions: tps.iter().copied().map(tp_out).collect(),
        };
        let answer = self.call::<TakeIndex>(former, request).await?;
        let handed = answer.handed.iter().map(handed_in);
        handed.collect::<Result<_, _>>().map_err(bad(former))
    }
}

impl FormerLeaders for Arc<Peers> {
    fn ask(&self, former: BrokerId, tps: Vec<TopicPartition>) -> BoxFuture<'_, Vec<HandedIndex>> {
        async move {
            let mut handed = Vec::new();
            for tps in tps.chunks(PARTITIONS_PER_CALL_MAX) {
                match self.take_index(former, tps).await {
                    Ok(told) => handed.extend(told),
                    Err(error) => {
                        debug!(%error, "a former leader tells nothing; reading footers");
                        break;
                    }
                }
            }
            handed
        }
        .boxed()
    }
}
