//! Reads all groups and offsets at the start.

use bytes::Bytes;
use tracing::info;

use super::Inner;
use crate::coordinator::group::GroupId;
use crate::coordinator::keys::GroupKeys;
use crate::coordinator::stored::{self, StoredError};
use crate::store::{KeyRange, KeyValue, MetadataStore, RangeRequest, StoreError};

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("the groups cannot be loaded: {0}")]
    Store(#[from] StoreError),
    /// Others took the groups over again and again, or this broker's ownership ended.
    #[error("this broker does not own the groups")]
    NotOwner,
    /// What is stored is not what was written. Nothing is skipped: a consumer whose offset was silently
    /// dropped would read everything again, or nothing.
    #[error("the stored value of {key} cannot be read: {source}")]
    Damaged {
        /// The key.
        key: String,
        /// What is wrong with its value.
        source: StoredError,
    },
}

impl Inner {
    /// Nobody else writes these keys by now, so pages of different revisions fit together.
    pub(super) async fn load(
        &self,
        store: &dyn MetadataStore,
        keys: &GroupKeys,
    ) -> Result<(), OpenError> {
        let mut offsets = 0;
        for_each(store, keys.all_offsets(), |kv| {
            offsets += 1;
            self.load_offset(keys, kv)
        })
        .await?;
        let mut groups = 0;
        for_each(store, keys.all_groups(), |kv| {
            groups += 1;
            self.load_group(keys, kv)
        })
        .await?;
        info!(groups, offsets, "loaded consumer groups");
        Ok(())
    }

    fn load_offset(&self, keys: &GroupKeys, kv: &KeyValue) -> Result<(), OpenError> {
        let damaged = |source| damaged(&kv.key, source);
        let parsed = keys.parse_offset(&kv.key);
        let (id, partition) = parsed.ok_or_else(|| damaged(StoredError::Invalid("key")))?;
        let record = stored::offset::decode(&kv.value).map_err(damaged)?;
        let now_ms = self.clock.now_ms();
        let load = |registry: &mut super::GroupRegistry| {
            registry.load_offset(id.clone(), partition, record, now_ms);
        };
        let _never_stopped_yet = self.shard(&id).change(load);
        Ok(())
    }

    fn load_group(&self, keys: &GroupKeys, kv: &KeyValue) -> Result<(), OpenError> {
        let damaged = |source| damaged(&kv.key, source);
        let parsed: Option<GroupId> = keys.parse_group(&kv.key);
        let id = parsed.ok_or_else(|| damaged(StoredError::Invalid("key")))?;
        let record = stored::group::decode(&kv.value).map_err(damaged)?;
        self.with(self.shard(&id), |registry, now| {
            registry.load_group(id.clone(), record, now)
        });
        Ok(())
    }
}

async fn for_each(
    store: &dyn MetadataStore,
    range: KeyRange,
    mut load: impl FnMut(&KeyValue) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut rest = Some(range);
    while let Some(range) = rest {
        let page = store.range(RangeRequest::new(range.clone())).await?;
        for kv in &page.kvs {
            load(kv)?;
        }
        rest = page.continuation(&range);
    }
    Ok(())
}

fn damaged(key: &Bytes, source: StoredError) -> OpenError {
    OpenError::Damaged {
        key: String::from_utf8_lossy(key).into_owned(),
        source,
    }
}
