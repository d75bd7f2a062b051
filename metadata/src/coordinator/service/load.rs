//! Reads the groups and offsets of a shard when it is opened.

use std::sync::Arc;

use alluvium_common::error::ErrorKind;
use alluvium_common::seeded_bug;
use bytes::Bytes;
use tracing::{debug, info, warn};

use super::pauses::Pauses;
use super::shard::Shard;
use crate::coordinator::group::GroupId;
use crate::coordinator::stored::{self, StoredError};
use crate::store::{
    KeyRange, KeyValue, MetadataStore, RangeRequest, RangeResponse, Revision, StoreError,
};

/// Why a group shard is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("the groups cannot be loaded: {0}")]
    Store(#[from] StoreError),
    /// Others took the groups over again and again, or this broker's ownership ended.
    #[error("this broker does not own the groups")]
    NotOwner,
    /// The shard was closed, or opened anew, before it was loaded.
    #[error("the groups were closed while they were loaded")]
    Closed,
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

impl OpenError {
    /// A key that says nothing we know.
    pub(super) fn strange_key(key: &Bytes) -> Self {
        damaged(key, StoredError::Invalid("key"))
    }
}

impl Shard {
    /// Nobody else writes these keys after `taken_over`, so pages of different revisions fit together.
    pub(super) async fn load(self: &Arc<Self>, taken_over: Revision) -> Result<(), OpenError> {
        let store = &*self.host.store;
        let mut offsets = 0;
        if !seeded_bug::is("group-offsets-forgotten") {
            for_each(store, self.keys.all_offsets(), |kv| {
                offsets += 1;
                self.load_offset(kv)
            })
            .await?;
        }
        let mut groups = 0;
        for_each(store, self.keys.all_groups(), |kv| {
            groups += 1;
            self.load_group(kv)
        })
        .await?;
        debug!(shard = %self.id, revision = %taken_over, "opened a group shard");
        if groups + offsets > 0 {
            info!(shard = %self.id, groups, offsets, "loaded consumer groups");
        }
        Ok(())
    }

    fn load_offset(&self, kv: &KeyValue) -> Result<(), OpenError> {
        let parsed = self.keys.parse_offset(&kv.key);
        let (id, partition) = parsed.ok_or_else(|| OpenError::strange_key(&kv.key))?;
        let record = stored::offset::decode(&kv.value).map_err(|why| damaged(&kv.key, why))?;
        let now_ms = self.host.clock.now_ms();
        let _never_stopped_yet = self.groups.change(|registry| {
            registry.load_offset(id, partition, record, now_ms);
        });
        Ok(())
    }

    fn load_group(&self, kv: &KeyValue) -> Result<(), OpenError> {
        let parsed: Option<GroupId> = self.keys.parse_group(&kv.key);
        let id = parsed.ok_or_else(|| OpenError::strange_key(&kv.key))?;
        let record = stored::group::decode(&kv.value).map_err(|why| damaged(&kv.key, why))?;
        self.with(|registry, now| registry.load_group(id, record, now));
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
        let page = read_page(store, &range).await?;
        for kv in &page.kvs {
            load(kv)?;
        }
        rest = page.continuation(&range);
    }
    Ok(())
}

/// As much of the range as fits into an answer.
pub(super) async fn read_page(
    store: &dyn MetadataStore,
    range: &KeyRange,
) -> Result<RangeResponse, StoreError> {
    let mut pauses = Pauses::bounded();
    loop {
        match store.range(RangeRequest::new(range.clone())).await {
            Err(error) if error.kind() == ErrorKind::Retry => {
                if !pauses.further_attempt().await {
                    return Err(error);
                }
                warn!(%error, "groups cannot be read, tried again");
            }
            other => return other,
        }
    }
}

fn damaged(key: &Bytes, source: StoredError) -> OpenError {
    OpenError::Damaged {
        key: String::from_utf8_lossy(key).into_owned(),
        source,
    }
}
