//! The shards of topics that this process has claimed.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::compaction::{Claims, CompactionShard, shards_of};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leased_key::HoldError;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{Compare, MetadataStore, Revision};
use alluvium_metadata::view::Picture;
use tracing::info;

/// See the module's documentation.
pub struct Shards {
    me: BrokerId,
    claims: Claims,
    joined: bool,
    held: BTreeMap<CompactionShard, Revision>,
}

impl Shards {
    /// None yet.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys, session: Arc<Session>) -> Self {
        Self {
            me: session.broker_id(),
            claims: Claims::new(store, keys, session),
            joined: false,
            held: BTreeMap::new(),
        }
    }

    /// The shards that this process has, and the epochs of its claims.
    pub fn held(&self) -> &BTreeMap<CompactionShard, Revision> {
        &self.held
    }

    /// Whether topics of that shard are this process' to compact.
    pub fn holds(&self, shard: CompactionShard) -> bool {
        self.held.contains_key(&shard)
    }

    /// The comparison that what is written of topics of that shard carries.
    pub fn claim(&self, shard: CompactionShard) -> Option<Compare> {
        let epoch = self.held.get(&shard)?;
        Some(self.claims.guard(shard, *epoch))
    }

    /// Whether [`Self::keep`] has something to do.
    pub fn are_to_change(&self, picture: &Picture) -> bool {
        let wanted = shards_of(self.me, &picture.compactors);
        let is_free = |shard: &CompactionShard| {
            let claim = picture.claims.get(shard);
            claim.is_none_or(|claim| claim.broker_id == self.me)
        };
        let takes = wanted
            .iter()
            .any(|shard| !self.holds(*shard) && is_free(shard));
        takes || !self.surplus(picture, &wanted).is_empty()
    }

    /// The claims of this process that are others' part: those that it knows of, and those whose reply it never had. What the
    /// picture shows may be gone by now; then releasing it does nothing.
    fn surplus(
        &self,
        picture: &Picture,
        wanted: &[CompactionShard],
    ) -> BTreeMap<CompactionShard, Revision> {
        let claims = picture.claims.iter();
        let mine = claims.filter(|(_, claim)| claim.broker_id == self.me);
        let shown = mine.map(|(shard, claim)| (*shard, claim.epoch));
        let held = self.held.iter().map(|(shard, epoch)| (*shard, *epoch));
        // What is held is newer than what is shown of the same shard.
        let mut surplus: BTreeMap<_, _> = shown.chain(held).collect();
        surplus.retain(|shard, _| !wanted.contains(shard));
        surplus
    }

    /// Takes what is this process' part and free, and leaves the rest to others. When it fails, some of that may be done.
    pub async fn keep(&mut self, picture: &Picture) -> Result<(), HoldError> {
        if !self.joined {
            self.claims.join().await?;
            self.joined = true;
        }
        let mut compactors = (*picture.compactors).clone();
        compactors.insert(self.me);
        let wanted = shards_of(self.me, &compactors);
        for (shard, epoch) in self.surplus(picture, &wanted) {
            // It is held until it is certainly released, or nobody would release it any more.
            self.claims.release(shard, epoch).await?;
            self.held.remove(&shard);
            info!(%shard, "left a shard of topics to another compactor");
        }
        for shard in wanted {
            let lost = |epoch: &Revision| {
                let claim = picture.claims.get(&shard);
                claim.is_some_and(|claim| claim.epoch > *epoch)
            };
            if self.held.get(&shard).is_some_and(|epoch| !lost(epoch)) {
                continue;
            }
            match self.claims.take(shard).await? {
                Some(epoch) => {
                    if self.held.insert(shard, epoch) != Some(epoch) {
                        info!(%shard, "compacting the topics of a shard");
                    }
                }
                None => drop(self.held.remove(&shard)),
            }
        }
        Ok(())
    }
}
