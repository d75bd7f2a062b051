//! Who compacts what, as etcd says.

use std::collections::BTreeMap;

use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::ClaimRecord;
use alluvium_metadata::store::MetadataStoreExt;
use alluvium_metadata::value;

use super::{CLUSTER, Cluster};

impl Cluster {
    /// How many shards of topics each process has claimed, by [`super::Node::id`].
    pub async fn claims(&self) -> BTreeMap<usize, usize> {
        let (store, keys) = (self.etcd.store().await, Keys::new(CLUSTER));
        let mut claims = BTreeMap::new();
        for shard in CompactionShard::all() {
            let claim = store.get(keys.compaction_claim(shard)).await;
            if let Some(kv) = claim.expect("etcd answers") {
                let record: ClaimRecord = value::decode(&kv.value).expect("a claim");
                let id = usize::try_from(record.broker_id.0).expect("not negative");
                *claims.entry(id).or_default() += 1;
            }
        }
        claims
    }
}
