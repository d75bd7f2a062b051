//! Writes a plan: first the fold objects, then what names them, the cluster's identity last.

use alluvium_common::epoch::BrokerEpoch;
use alluvium_metadata::model::{ClusterRecord, FoldRecord};
use alluvium_metadata::producer_ids;
use alluvium_metadata::store::{MetadataStoreExt, Op, TXN_BYTES_MAX, Txn};
use alluvium_metadata::value;
use alluvium_segment::fold_object::{FoldBuilder, FoldedCommit};
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::plan::Plan;
use super::{RESTORED_BROKER, Restore};

/// Bytes of footers after which a fold object ends: bounds this process's memory, and what one GET of a part needs.
const FOLD_BYTES: usize = 32 * 1024 * 1024;
/// Keys of one transaction.
const KEYS_PER_TXN: usize = 100;
/// Bytes of one transaction: the store's bound less what comparisons and framing take.
const BYTES_PER_TXN: usize = TXN_BYTES_MAX / 2;

pub async fn write(restore: &Restore, plan: &Plan) -> anyhow::Result<()> {
    let mut keys = plan.copied.clone();
    for (key, _) in &mut keys {
        *key = restore.keys.absolute(key);
    }
    for (broker_epoch, commits) in &plan.logs {
        for fold in put_folds(restore, *broker_epoch, commits).await? {
            let key = restore
                .keys
                .commit(RESTORED_BROKER, *broker_epoch, fold.last_seq);
            keys.push((key, value::encode(&fold)));
        }
    }
    for partition in &plan.partitions {
        keys.push((
            restore.keys.partition(partition.tp),
            value::encode(&partition.record),
        ));
    }
    for (topic_id, record) in &plan.published {
        keys.push((restore.keys.published(*topic_id), value::encode(record)));
    }
    for topic in &plan.topics {
        keys.push((restore.keys.topic(&topic.name), value::encode(topic)));
    }
    put_keys(restore, keys).await?;
    producer_ids::raise(&*restore.store, &restore.keys, plan.next_producer_id).await?;
    let now_ms = restore.clock.now_ms();
    let cluster = ClusterRecord {
        cluster_id: plan.cluster_id.unwrap_or_else(|| restore.random.uuid()),
        created_ms: now_ms,
    };
    put_keys(
        restore,
        vec![(restore.keys.cluster(), value::encode(&cluster))],
    )
    .await
}

async fn put_folds(
    restore: &Restore,
    broker_epoch: BrokerEpoch,
    commits: &[FoldedCommit],
) -> anyhow::Result<Vec<FoldRecord>> {
    let mut folds = Vec::new();
    let (mut rest, mut first_seq) = (commits, 0);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |commit: &&FoldedCommit| {
            let first = bytes == 0;
            bytes += commit.footer.len();
            first || bytes <= FOLD_BYTES
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count());
        let fold = put_fold(restore, broker_epoch, first_seq, now).await?;
        first_seq = fold.last_seq + 1;
        folds.push(fold);
        rest = later;
    }
    Ok(folds)
}

async fn put_fold(
    restore: &Restore,
    broker_epoch: BrokerEpoch,
    first_seq: u64,
    commits: &[FoldedCommit],
) -> anyhow::Result<FoldRecord> {
    let now_ms = restore.clock.now_ms();
    let mut builder = FoldBuilder::new(RESTORED_BROKER, broker_epoch, first_seq, now_ms);
    for commit in commits {
        builder.push(commit)?;
    }
    let object = builder.finish()?;
    let object_key = ObjectKey::fold(&SegmentName {
        broker_id: RESTORED_BROKER,
        broker_epoch,
        id: restore.random.uuid(),
    });
    let payload: PutPayload = object.chunks.into_iter().collect();
    let path = Path::from(object_key.as_str());
    restore.objects.put(&path, payload).await?;
    Ok(FoldRecord {
        object_key,
        size_bytes: object.size_bytes,
        index_length: object.index_length,
        index_crc: object.index_crc,
        first_seq,
        last_seq: first_seq + commits.len() as u64 - 1,
    })
}

/// Puts keys that nobody else writes, so that doing it twice does no harm.
async fn put_keys(restore: &Restore, keys: Vec<(Bytes, Bytes)>) -> anyhow::Result<()> {
    let (mut txn, mut bytes) = (Txn::new(), 0);
    for (key, value) in keys {
        let added = key.len() + value.len();
        if txn.then_ops.len() == KEYS_PER_TXN || bytes + added > BYTES_PER_TXN {
            restore
                .store
                .txn_repeatable(std::mem::take(&mut txn))
                .await?;
            bytes = 0;
        }
        bytes += added;
        txn = txn.then(Op::put(key, value));
    }
    restore.store.txn_repeatable(txn).await?;
    Ok(())
}
