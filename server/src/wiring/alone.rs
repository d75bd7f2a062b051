//! Until leadership can move between brokers, one broker has all of a cluster. This is what keeps a second one out.
//!
//! An embedded store is kept from others by the lock of its folder; an etcd is open to all. So a broker looks, once
//! its own session stands and before it touches anything: of two that start together at least one sees the other.

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{BrokerRecord, PartitionRecord};
use alluvium_metadata::store::{MetadataStore, MetadataStoreExt};
use alluvium_metadata::value;
use anyhow::{Context, bail};

/// Refuses to go on where another broker is, or has led.
pub async fn check(
    store: &dyn MetadataStore,
    keys: &Keys,
    cluster: &str,
    broker_id: BrokerId,
) -> anyhow::Result<()> {
    let (_, sessions) = store
        .list(keys.brokers())
        .await
        .context("the sessions of brokers cannot be read")?;
    let own = keys.broker(broker_id);
    if let Some(session) = sessions.iter().find(|session| session.key != own) {
        let other: BrokerRecord = value::decode(&session.value)?;
        bail!(
            "broker {} runs in cluster {cluster:?} at {}:{}; this version runs one broker in a cluster: stop it, or start this one with another --cluster",
            other.broker_id,
            other.host,
            other.port
        );
    }
    let (_, partitions) = store
        .list(keys.partitions())
        .await
        .context("the partitions cannot be read")?;
    for partition in &partitions {
        let record: PartitionRecord = value::decode(&partition.value)?;
        // What it acknowledged may still lie in its write-ahead log only.
        if record.leader != broker_id {
            let (leader, own) = (record.leader, broker_id);
            bail!(
                "partitions of cluster {cluster:?} are led by broker {leader}; this version cannot move them to broker {own}: start with --broker-id {leader} and the data folder of that broker, or with another --cluster"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::BrokerEpoch;
    use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
    use alluvium_metadata::store::MemoryStore;
    use uuid::Uuid;

    use super::*;

    async fn refusal(store: &MemoryStore, keys: &Keys) -> String {
        let checked = check(store, keys, "c", BrokerId(1)).await;
        checked.expect_err("refused").to_string()
    }

    #[tokio::test]
    async fn another_broker_keeps_this_one_out() {
        let (store, keys) = (MemoryStore::new(), Keys::new("c"));
        let record = |broker_id| BrokerRecord {
            broker_id: BrokerId(broker_id),
            host: "elsewhere".to_owned(),
            port: 9092,
            rack: None,
            instance_id: Uuid::from_u128(7),
            version: "0".to_owned(),
            started_ms: 0,
        };
        for id in [1, 2] {
            check(&store, &keys, "c", BrokerId(1)).await.expect("alone");
            let session = value::encode(&record(id));
            let put = store.put(keys.broker(BrokerId(id)), session).await;
            put.expect("put");
        }
        let text = refusal(&store, &keys).await;
        assert!(
            text.contains("broker 2") && text.contains("elsewhere:9092"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_another_broker_led_is_not_taken() {
        let (store, keys) = (MemoryStore::new(), Keys::new("c"));
        let tp = TopicPartition::new(TopicId(Uuid::from_u128(5)), PartitionIndex(0));
        let record = PartitionRecord::new(BrokerId(2), BrokerEpoch(3), 0);
        let put = store.put(keys.partition(tp), value::encode(&record)).await;
        put.expect("put");
        let text = refusal(&store, &keys).await;
        assert!(text.contains("led by broker 2"), "{text}");
    }
}
