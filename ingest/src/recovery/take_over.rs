//! Opening partitions over the real metadata store.

use std::sync::Arc;

use alluvium_cache::tail::TailBudget;
use alluvium_common::topic::{TopicName, TopicPartition};
use alluvium_metadata::leadership::{PartitionChange, PartitionWriter, Written};
use alluvium_metadata::model::{Opener, PartitionRecord};
use alluvium_metadata::store::{Compare, Revision};
use alluvium_metadata::topic_config::Durability;
use alluvium_segment::manifest::Manifest;
use object_store::ObjectStore;

use super::{
    CommitReader, HandedIndex, PartitionImage, RecoveredBatch, RecoveryError, ReplaySummary,
    handed, load, plan_replay,
};
use crate::pipeline::OpenState;
use crate::validate::TopicRules;

/// A partition to take over.
#[derive(Clone)]
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
    /// What is published of its topic, not older than the commit logs that are read.
    pub manifest: Option<Arc<Manifest>>,
}

/// With what to take over.
pub struct TakeOver<'a> {
    /// Commit logs of all sessions.
    pub commits: &'a dyn CommitReader,
    /// The bucket.
    pub objects: &'a Arc<dyn ObjectStore>,
    /// Writes the partitions' records.
    pub writer: &'a PartitionWriter,
    /// F1: holds as long as the session does that will lead.
    pub fence: Compare,
    /// That session. Its write-ahead log is named where a partition needs it.
    pub opener: Opener,
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

/// Takes over `led`, but for those whose records others have changed meanwhile; `frames` are what the write-ahead log
/// holds, in its order.
pub async fn take_over(
    with: &TakeOver<'_>,
    led: Vec<Led>,
    frames: Vec<RecoveredBatch>,
) -> Result<(Vec<Recovered>, ReplaySummary), RecoveryError> {
    take_over_handed(with, led, frames, Vec::new()).await
}

/// The same; of the partitions in `handed` no footer is read, where what their former leaders tell fits.
pub async fn take_over_handed(
    with: &TakeOver<'_>,
    mut led: Vec<Led>,
    frames: Vec<RecoveredBatch>,
    handed: Vec<HandedIndex>,
) -> Result<(Vec<Recovered>, ReplaySummary), RecoveryError> {
    let mut images = images(with, &led, handed).await?;
    let summary = plan_replay(&mut images, frames);
    if summary.unacknowledged > 0 {
        tracing::warn!(
            batches = summary.unacknowledged,
            "the write-ahead log holds batches that do not continue the log; \
             they were never acknowledged and are dropped"
        );
    }
    led.sort_unstable_by_key(|led| led.tp);
    let changes: Vec<_> = images
        .iter()
        .zip(&led)
        .map(|(image, led)| PartitionChange {
            tp: image.tp,
            record: opened(image, led, &with.opener),
            read_at: led.read_at,
        })
        .collect();
    let fence = std::slice::from_ref(&with.fence);
    let written = with.writer.write(fence, &changes).await?;
    let mut recovered = Vec::with_capacity(changes.len());
    for (((image, led), change), written) in images.into_iter().zip(led).zip(changes).zip(written) {
        if written == Written::Changed {
            continue;
        }
        let (state, replay) = image.open(&change.record, with.tail_budget);
        recovered.push(Recovered {
            topic: led.topic,
            rules: led.rules,
            state,
            record: change.record,
            replay,
        });
    }
    Ok((recovered, summary))
}

/// Sorted.
async fn images(
    with: &TakeOver<'_>,
    led: &[Led],
    handed: Vec<HandedIndex>,
) -> Result<Vec<PartitionImage>, RecoveryError> {
    let new = |led: &Led| PartitionImage::new(led.tp, led.record.clone(), led.manifest.clone());
    let own = (with.opener.broker_id, with.opener.broker_epoch);
    let (mut images, rest) = handed::split(led.iter().map(new).collect(), handed);
    images.extend(load(with.commits, with.objects, own, rest).await?);
    images.sort_unstable_by_key(|image| image.tp);
    Ok(images)
}

/// The record names the write-ahead log before that takes, or puts back, anything of the partition.
fn opened(image: &PartitionImage, led: &Led, opener: &Opener) -> PartitionRecord {
    let needs_wal = led.rules.durability == Durability::Local || image.has_replay();
    image.opened(&Opener {
        wal: opener.wal.filter(|_| needs_wal),
        ..*opener
    })
}
