//! Makes sure that metadata and object store belong together.
//!
//! A cluster's object store has a marker with the cluster's id and an id of its own, which stands in the metadata too. So
//! a broker notices a bucket of another cluster, and a bucket that the other brokers of its cluster do not use, such as
//! the local folder that is the default.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_common::rand::Random;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{CommitRecord, FoldRecord, ObjectStoreRecord};
use alluvium_metadata::store::{Cas, KeyRange, MetadataStore, MetadataStoreExt, RangeRequest};
use alluvium_metadata::value;
use alluvium_segment::object_key::CLUSTER_MARKER;
use anyhow::{Context, bail};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::Instant;
use uuid::Uuid;

/// Where to look.
pub struct Stores<'a> {
    pub metadata: &'a dyn MetadataStore,
    pub keys: &'a Keys,
    pub objects: &'a Arc<dyn ObjectStore>,
    /// What the object store is called, for people.
    pub url: &'a str,
    /// The broker that starts.
    pub own: BrokerId,
}

/// How long a marker is waited for that another broker may be about to write: brokers of a new cluster start together.
const MARKER_TIME: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Refuses an object store that is not the cluster's; marks one that is the first.
pub async fn check(
    stores: &Stores<'_>,
    cluster_id: Uuid,
    random: &dyn Random,
) -> anyhow::Result<()> {
    let known = stores.known().await?;
    let marker = match &known {
        None => stores.marker().await?,
        Some(_) => stores.marker_in_time().await?,
    };
    match (known, marker) {
        (_, Some(marker)) if marker.cluster_id != cluster_id => bail!(
            "{} belongs to another cluster ({}); give this one a bucket or prefix of its own with --object-store",
            stores.url,
            marker.cluster_id
        ),
        (Some(known), Some(marker)) if known == marker => Ok(()),
        (Some(_), Some(_)) => Err(stores.not_ours()),
        // The metadata were restored.
        (None, Some(marker)) => stores.know(marker).await.map(|_| ()),
        (Some(known), None) => {
            // A first start was broken off between its two writes, unless somebody has another object store.
            stores.refuse_if_in_use_elsewhere().await?;
            stores.mark(&known).await
        }
        (None, None) => {
            stores.refuse_if_commits_lie_elsewhere().await?;
            let first = ObjectStoreRecord {
                cluster_id,
                store_id: random.uuid(),
            };
            // Of brokers that start together one names it, and all write the same marker.
            let named = stores.know(first).await?;
            stores.mark(&named).await
        }
    }
}

/// Refuses an object store that is not marked as that of the metadata: what these do not name may be another cluster's.
pub async fn check_same(
    metadata: &dyn MetadataStore,
    keys: &Keys,
    objects: &Arc<dyn ObjectStore>,
    url: &str,
) -> anyhow::Result<()> {
    let stores = Stores {
        metadata,
        keys,
        objects,
        url,
        own: BrokerId(0),
    };
    match (stores.known().await?, stores.marker().await?) {
        (Some(known), Some(marker)) if known == marker => Ok(()),
        (None, _) => bail!(
            "the metadata are of no object store: is --metadata the cluster's, and --cluster its name?"
        ),
        _ => bail!(
            "{url} is not the object store of these metadata: is --object-store the cluster's?"
        ),
    }
}

impl Stores<'_> {
    fn not_ours(&self) -> anyhow::Error {
        anyhow::anyhow!(
            "{} is not the object store of this cluster; start every broker with the same --object-store",
            self.url
        )
    }

    async fn known(&self) -> anyhow::Result<Option<ObjectStoreRecord>> {
        let stands = self.metadata.get(self.keys.object_store()).await?;
        Ok(stands.map(|kv| value::decode(&kv.value)).transpose()?)
    }

    /// Notes the object store, unless another is noted; which one stands there.
    async fn know(&self, marker: ObjectStoreRecord) -> anyhow::Result<ObjectStoreRecord> {
        let (key, stored) = (self.keys.object_store(), value::encode(&marker));
        match self.metadata.put_if_absent(key, stored, None).await? {
            Cas::Done(_) => Ok(marker),
            // Another broker was faster, or it was ourselves with a lost reply (F4).
            Cas::Conflict(Some(kv)) => Ok(value::decode(&kv.value)?),
            Cas::Conflict(None) => Err(self.not_ours()),
        }
    }

    async fn marker_in_time(&self) -> anyhow::Result<Option<ObjectStoreRecord>> {
        let deadline = Instant::now() + MARKER_TIME;
        loop {
            let marker = self.marker().await?;
            if marker.is_some() || Instant::now() >= deadline {
                return Ok(marker);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn refuse_if_in_use_elsewhere(&self) -> anyhow::Result<()> {
        let (_, sessions) = self.metadata.list(self.keys.brokers()).await?;
        let others = sessions
            .iter()
            .filter_map(|kv| self.keys.parse_broker(&kv.key));
        if others.filter(|other| *other != self.own).count() > 0 {
            return Err(self.not_ours());
        }
        self.refuse_if_commits_lie_elsewhere().await
    }

    async fn marker(&self) -> anyhow::Result<Option<ObjectStoreRecord>> {
        let path = Path::from(CLUSTER_MARKER);
        let bytes = match self.objects.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        let bytes =
            bytes.with_context(|| format!("{CLUSTER_MARKER} of {} cannot be read", self.url))?;
        let marker = value::decode(&bytes)
            .with_context(|| format!("{CLUSTER_MARKER} of {} is damaged", self.url))?;
        Ok(Some(marker))
    }

    async fn mark(&self, marker: &ObjectStoreRecord) -> anyhow::Result<()> {
        let path = Path::from(CLUSTER_MARKER);
        let put = self.objects.put(&path, value::encode(marker).into()).await;
        put.with_context(|| format!("{} cannot be marked", self.url))?;
        Ok(())
    }

    /// A cluster of a build that did not mark its object store: that is where its segments are.
    async fn refuse_if_commits_lie_elsewhere(&self) -> anyhow::Result<()> {
        let commits: KeyRange = self.keys.all_commits();
        let first = self
            .metadata
            .range(RangeRequest::new(commits).limit(1))
            .await?;
        let Some(kv) = first.kvs.first() else {
            return Ok(());
        };
        // What was restored is in folds.
        let object_key = match value::decode::<FoldRecord>(&kv.value) {
            Ok(fold) => fold.object_key,
            Err(_) => value::decode::<CommitRecord>(&kv.value)?.object_key,
        };
        match self.objects.head(&Path::from(object_key.as_str())).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => Err(self.not_ours()),
            Err(error) => Err(error).context("a committed segment cannot be looked up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_common::rand::SeededRandom;
    use alluvium_metadata::store::MemoryStore;
    use object_store::memory::InMemory;

    use super::*;

    struct World {
        metadata: MemoryStore,
        keys: Keys,
    }

    impl World {
        async fn start(&self, objects: &Arc<dyn ObjectStore>, cluster: u128) -> Result<(), String> {
            let stores = Stores {
                metadata: &self.metadata,
                keys: &self.keys,
                objects,
                url: "s3://bucket",
                own: BrokerId(1),
            };
            let random = SeededRandom::new(cluster as u64);
            let checked = check(&stores, Uuid::from_u128(cluster), &*random).await;
            checked.map_err(|error| error.to_string())
        }
    }

    impl World {
        async fn other_broker(&self) {
            let put = self.metadata.put(self.keys.broker(BrokerId(2)), "session");
            put.await.expect("put");
        }
    }

    fn world() -> World {
        World {
            metadata: MemoryStore::new(),
            keys: Keys::new("test"),
        }
    }

    fn bucket() -> Arc<dyn ObjectStore> {
        Arc::new(InMemory::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_has_one_object_store() {
        let (world, own) = (world(), bucket());
        world.start(&own, 1).await.expect("marked");
        world.start(&own, 1).await.expect("known");
        world.other_broker().await;
        let error = world.start(&bucket(), 1).await.expect_err("another bucket");
        assert!(error.contains("--object-store"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn brokers_that_start_together_agree() {
        let (world, own) = (world(), bucket());
        let starts = (0..5).map(|_| world.start(&own, 1));
        for started in futures::future::join_all(starts).await {
            started.expect("the same for all");
        }
        world.other_broker().await;
        world.start(&own, 1).await.expect("known");
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_start_that_was_broken_off_is_finished() {
        let (world, own) = (world(), bucket());
        world.start(&own, 1).await.expect("marked");
        own.delete(&Path::from(CLUSTER_MARKER))
            .await
            .expect("deleted");
        world.start(&own, 1).await.expect("marked again");
    }

    #[tokio::test]
    async fn an_object_store_has_one_cluster() {
        let (first, own) = (world(), bucket());
        first.start(&own, 1).await.expect("marked");
        let error = world().start(&own, 2).await.expect_err("another cluster");
        assert!(error.contains("another cluster"), "{error}");
        // The same cluster, whose metadata were restored.
        world().start(&own, 1).await.expect("known again");
    }

    #[tokio::test]
    async fn metadata_and_object_store_are_told_apart_from_others() {
        let (world, own) = (world(), bucket());
        let check = async |objects: &Arc<dyn ObjectStore>| {
            let checked = check_same(&world.metadata, &world.keys, objects, "s3://bucket").await;
            checked.map_err(|error| error.to_string())
        };
        assert!(
            check(&own)
                .await
                .expect_err("nothing yet")
                .contains("--metadata")
        );
        world.start(&own, 1).await.expect("marked");
        check(&own).await.expect("the same");
        assert!(
            check(&bucket())
                .await
                .expect_err("empty")
                .contains("--object-store")
        );
        let other = bucket();
        World {
            metadata: MemoryStore::new(),
            keys: Keys::new("test"),
        }
        .start(&other, 2)
        .await
        .expect("marked");
        assert!(
            check(&other)
                .await
                .expect_err("another")
                .contains("--object-store")
        );
    }

    #[tokio::test]
    async fn a_damaged_marker_is_no_marker_of_anybody() {
        let (world, own) = (world(), bucket());
        world.start(&own, 1).await.expect("marked");
        let path = Path::from(CLUSTER_MARKER);
        own.put(&path, bytes::Bytes::from_static(b"AM").into())
            .await
            .expect("put");
        let error = world.start(&own, 1).await.expect_err("damaged");
        assert!(error.contains("damaged"), "{error}");
    }
}
