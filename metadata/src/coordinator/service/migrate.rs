//! Moves groups and offsets from where they stood before there were group shards.

use std::sync::Arc;

use alluvium_common::error::ErrorKind;
use alluvium_common::rand::SharedRandom;
use tracing::{info, warn};

use super::batch::change_bytes;
use super::exclusive::{BATCH_LIMITS, ExclusiveWriter};
use super::load::{OpenError, read_page};
use super::ownership::Ownership;
use super::pauses::Pauses;
use crate::coordinator::keys::OldGroupKeys;
use crate::keys::Keys;
use crate::store::{KeyValue, MetadataStore, Op};

/// Times that another broker may begin to move the same keys before this one gives up.
const ROUNDS_MAX: u32 = 20;

/// Moves what stands in the layout from before there were group shards, if anything does: call it before any shard is
/// opened. It costs one read when there is nothing. Each transaction moves some keys as a whole, compares `fence`,
/// and takes effect once at most, so it may be interrupted anywhere and called again, on any broker.
///
/// # Errors
/// The store does not answer, `fence` does not hold, or there is a key that names no group.
pub async fn migrate_groups(
    store: &Arc<dyn MetadataStore>,
    keys: &Keys,
    fence: &Arc<dyn Ownership>,
    random: &SharedRandom,
) -> Result<(), OpenError> {
    let old = OldGroupKeys::new(keys);
    for _ in 0..ROUNDS_MAX {
        if read_page(&**store, &old.all()).await?.kvs.is_empty() {
            return Ok(());
        }
        // A coordinator of the old layout that still runs writes nothing more from here on.
        let name = random.uuid().as_u128();
        let writer = ExclusiveWriter::take_over(store.clone(), fence.clone(), old.writer(), name);
        let migration = Migration {
            store,
            old: &old,
            writer: writer.await?,
        };
        if let Some(moved) = migration.run().await? {
            info!(keys = moved, "moved consumer groups to their group shards");
        }
    }
    Err(OpenError::NotOwner)
}

struct Migration<'a> {
    store: &'a Arc<dyn MetadataStore>,
    old: &'a OldGroupKeys,
    writer: ExclusiveWriter,
}

impl Migration<'_> {
    /// How many keys were moved; `None` if another broker has taken the move over.
    async fn run(mut self) -> Result<Option<usize>, OpenError> {
        let mut moved = 0;
        loop {
            let page = read_page(&**self.store, &self.old.all_but_writer())
                .await?
                .kvs;
            if page.is_empty() {
                break;
            }
            let mut rest = &page[..];
            while !rest.is_empty() {
                let (ops, count) = self.first_moves(rest)?;
                if !self.write(&ops).await? {
                    return Ok(None);
                }
                moved += count;
                rest = &rest[count..];
            }
        }
        Ok(self.delete_writer_key().await?.then_some(moved))
    }

    /// Operations that move as many of the keys as one transaction takes, at least one, and how many those are.
    fn first_moves(&self, kvs: &[KeyValue]) -> Result<(Vec<Op>, usize), OpenError> {
        let (mut ops, mut bytes) = (Vec::new(), 0);
        for kv in kvs {
            let moved = self.old.moved(&kv.key);
            let to = moved.ok_or_else(|| OpenError::strange_key(&kv.key))?;
            bytes += change_bytes(&to, Some(&kv.value)) + change_bytes(&kv.key, None);
            let is_full = ops.len() + 2 > BATCH_LIMITS.operations || bytes > BATCH_LIMITS.bytes;
            if is_full && !ops.is_empty() {
                break;
            }
            ops.push(Op::put(to, kv.value.clone()));
            ops.push(Op::delete(kv.key.clone()));
        }
        let count = ops.len() / 2;
        Ok((ops, count))
    }

    async fn write(&mut self, ops: &[Op]) -> Result<bool, OpenError> {
        let mut pauses = Pauses::bounded();
        loop {
            match self.writer.try_write(ops.iter().cloned()).await {
                Ok(is_ours) => return Ok(is_ours),
                Err(error) if error.kind() == ErrorKind::Retry => {
                    if !pauses.further_attempt().await {
                        return Err(error.into());
                    }
                    warn!(%error, "groups cannot be moved, tried again");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The last step: from then on there is nothing in the old layout.
    async fn delete_writer_key(&self) -> Result<bool, OpenError> {
        let mut pauses = Pauses::bounded();
        loop {
            match self.writer.try_delete_key().await {
                Ok(is_gone) => return Ok(is_gone),
                Err(error) if error.kind() == ErrorKind::Retry => {
                    if !pauses.further_attempt().await {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
