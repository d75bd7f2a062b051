//! What of the metadata goes into a snapshot, and its capture at one revision.
//!
//! Everything of the cluster does, except what lives no longer than a session: sessions themselves and the
//! controller's key. The sessions that were open are told beside it, because only they, and later ones, can have
//! committed anything after the snapshot (F2).

use alluvium_common::epoch::BrokerEpoch;
use alluvium_segment::snapshot_object::SnapshotHead;
use bytes::Bytes;
use uuid::Uuid;

use crate::keys::Keys;
use crate::store::{MetadataStore, MetadataStoreExt, StoreError};

/// The state of a cluster at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// What it is of.
    pub head: SnapshotHead,
    /// Keys below the cluster's prefix and their values, in order.
    pub keys: Vec<(Bytes, Bytes)>,
}

impl Captured {
    /// A checksum of what was captured: whether anything has changed since another capture.
    pub fn checksum(&self) -> u32 {
        self.keys.iter().fold(0, |crc, (key, value)| {
            let lengths = [key.len() as u64, value.len() as u64].map(u64::to_le_bytes);
            let crc = crc32c::crc32c_append(crc, &lengths.concat());
            crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value)
        })
    }
}

/// Captures the state of the cluster. It must fit into memory, as etcd's whole database should.
pub async fn capture(
    store: &dyn MetadataStore,
    keys: &Keys,
    cluster_id: Uuid,
    created_ms: i64,
) -> Result<Captured, StoreError> {
    let (revision, kvs) = store.list(keys.all()).await?;
    let mut sessions = Vec::new();
    let mut captured = Vec::with_capacity(kvs.len());
    for kv in kvs {
        if let Some(broker_id) = keys.parse_broker(&kv.key) {
            sessions.push((broker_id, BrokerEpoch::from(kv.create_revision)));
        }
        let Some(key) = keys.relative(&kv.key) else {
            continue;
        };
        let is_left_out = keys.brokers().contains(&kv.key) || kv.key == keys.controller();
        if !is_left_out {
            captured.push((Bytes::copy_from_slice(key), kv.value));
        }
    }
    let head = SnapshotHead {
        cluster_id,
        revision: revision.0,
        created_ms,
        sessions,
    };
    Ok(Captured {
        head,
        keys: captured,
    })
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::BrokerId;

    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn sessions_are_told_and_not_kept() {
        let (store, keys) = (MemoryStore::new(), Keys::new("test"));
        let session = store
            .put(keys.broker(BrokerId(3)), "session")
            .await
            .expect("put");
        let drain = keys.drain(BrokerId(1));
        for key in [keys.controller(), keys.below("topics/t"), drain.clone()] {
            store.put(key, "value").await.expect("put");
        }
        store
            .put(Keys::new("other").below("topics/u"), "u")
            .await
            .expect("put");
        let first = capture(&store, &keys, Uuid::from_u128(7), 5)
            .await
            .expect("captured");
        assert_eq!(
            first.head.sessions,
            [(BrokerId(3), BrokerEpoch(session.0 as i64))]
        );
        let names: Vec<_> = first.keys.iter().map(|(key, _)| &key[..]).collect();
        assert_eq!(Some(names[0]), keys.relative(&drain));
        assert_eq!(names[1..], [b"topics/t"]);
        assert_eq!(keys.absolute(names[1]), keys.below("topics/t"));

        store.put(keys.controller(), "again").await.expect("put");
        let second = capture(&store, &keys, Uuid::from_u128(7), 9)
            .await
            .expect("captured");
        assert!(second.head.revision > first.head.revision);
        assert_eq!(first.checksum(), second.checksum());
        store
            .put(keys.below("topics/t"), "changed")
            .await
            .expect("put");
        let third = capture(&store, &keys, Uuid::from_u128(7), 9)
            .await
            .expect("captured");
        assert_ne!(first.checksum(), third.checksum());
    }
}
