//! All of start-up over the real metadata store.

use std::sync::Arc;

use alluvium_cache::tail::TailBudget;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::{TopicName, TopicPartition};
use alluvium_metadata::model::PartitionRecord;
use alluvium_metadata::store::Revision;
use alluvium_metadata::topics::TopicWriter;
use object_store::ObjectStore;

use super::{CommitReader, RecoveredBatch, RecoveryError, ReplaySummary, load, plan_replay};
use crate::pipeline::OpenState;
use crate::validate::TopicRules;

/// A partition to take over.
pub struct Led {
    /// Which partition.
    pub tp: TopicPartition,
    /// Name of its topic.
    pub topic: TopicName,
    /// Its topic's rules.
    pub rules: TopicRules,
    /// Its record.
    pub record: PartitionRecord,
    /// When the record was read.
    pub read_at: Revision,
}

/// With what to take over.
pub struct TakeOver<'a> {
    /// Commit logs of all sessions.
    pub commits: &'a dyn CommitReader,
    /// The bucket.
    pub objects: &'a Arc<dyn ObjectStore>,
    /// Writes the partitions' records under the new session.
    pub writer: &'a TopicWriter,
    /// This broker.
    pub broker_id: BrokerId,
    /// Its new session.
    pub broker_epoch: BrokerEpoch,
    /// Memory of the tails.
    pub tail_budget: &'a Arc<TailBudget>,
}

/// A partition ready to be opened: see `Pipeline::open_recovered`.
pub struct Recovered {
    /// Name of its topic.
    pub topic: TopicName,
    /// Its topic's rules.
    pub rules: TopicRules,
    /// Its committed log.
    pub state: OpenState,
    /// Its record, as it is now.
    pub record: PartitionRecord,
    /// What the write-ahead log adds.
    pub replay: Vec<RecoveredBatch>,
}

/// Takes over `led`; `frames` are what the write-ahead log holds, in its order.
pub async fn take_over(
    with: TakeOver<'_>,
    led: Vec<Led>,
    frames: Vec<RecoveredBatch>,
) -> Result<(Vec<Recovered>, ReplaySummary), RecoveryError> {
    let records = led.iter().map(|led| (led.tp, led.record.clone())).collect();
    let mut images = load(with.commits, with.objects, records).await?;
    let summary = plan_replay(&mut images, frames);
    if summary.unacknowledged > 0 {
        tracing::warn!(
            batches = summary.unacknowledged,
            "the write-ahead log holds batches that do not continue the log; \
             they were never acknowledged and are dropped"
        );
    }
    let mut led = led;
    led.sort_unstable_by_key(|led| led.tp);
    let new_records: Vec<_> = images
        .iter()
        .zip(&led)
        .map(|(image, led)| {
            let record = image.taken_over(with.broker_id, with.broker_epoch);
            (image.tp, record, led.read_at)
        })
        .collect();
    with.writer.take_over(&new_records).await?;
    let recovered = images
        .into_iter()
        .zip(led)
        .zip(new_records)
        .map(|((image, led), (_, record, _))| {
            let (state, replay) = image.open(&record, with.tail_budget);
            Recovered {
                topic: led.topic,
                rules: led.rules,
                state,
                record,
                replay,
            }
        })
        .collect();
    Ok((recovered, summary))
}
