//! The group shards that this broker coordinates: opened and closed as the picture of the cluster says.
//!
//! Each is held by its record as it was written: when that is written anew, even with the same broker in it, the shard
//! is closed and opened under the new one. A shard that stops by itself, because its writes were refused, is opened again if
//! the picture still wants it here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_common::seeded_bug;
use alluvium_metadata::coordinator::{GroupCoordinator, GroupShard, OpenError, ShardOwnership};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::Revision;
use alluvium_metadata::view::{ClusterView, Coordinator};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// Pause before a shard that could not be opened, or has stopped, is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Follows the picture.
pub struct GroupShards {
    session: Arc<Session>,
    view: Arc<ClusterView>,
    keys: Keys,
    groups: Arc<GroupCoordinator>,
    /// Opened, or being opened, under the record of that revision.
    held: BTreeMap<GroupShard, Revision>,
    opening: JoinSet<Opened>,
}

struct Opened {
    shard: GroupShard,
    under: Revision,
    result: Result<(), OpenError>,
}

impl GroupShards {
    /// Follows nothing yet: see [`Self::follow`].
    pub fn new(
        session: Arc<Session>,
        view: Arc<ClusterView>,
        keys: Keys,
        groups: Arc<GroupCoordinator>,
    ) -> Self {
        Self {
            session,
            view,
            keys,
            groups,
            held: BTreeMap::new(),
            opening: JoinSet::new(),
        }
    }

    /// The task. Ends with the session.
    pub async fn follow(mut self) {
        let mut changes = self.view.changes();
        let session = Arc::clone(&self.session);
        let groups = Arc::clone(&self.groups);
        loop {
            changes.mark_unchanged();
            self.round();
            tokio::select! {
                () = session.lost() => return,
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                Some(Ok(opened)) = self.opening.join_next() => self.opened(opened),
                stopped = groups.stopped() => {
                    warn!(shard = %stopped.shard, error = %stopped.error, "a group shard stopped");
                    self.held.remove(&stopped.shard);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn round(&mut self) {
        let picture = self.view.picture();
        let me = self.session.broker_id();
        for shard in GroupShard::all() {
            let wanted = picture.coordinators.get(&shard).copied();
            match step(wanted, me, self.held.get(&shard).copied()) {
                Step::Stay => {}
                Step::Close => self.close(shard),
                Step::Open(under) => {
                    self.close(shard);
                    self.open(shard, under);
                }
            }
        }
    }

    fn close(&mut self, shard: GroupShard) {
        if self.held.remove(&shard).is_some() {
            self.groups.close_shard(shard);
        }
    }

    fn open(&mut self, shard: GroupShard, under: Revision) {
        self.held.insert(shard, under);
        let groups = Arc::clone(&self.groups);
        let session = Arc::clone(&self.session);
        let ownership = ShardOwnership::new(session, &self.keys, shard, under);
        self.opening.spawn(async move {
            let result = groups.open_shard(shard, Arc::new(ownership)).await;
            if result.is_err() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Opened {
                shard,
                under,
                result,
            }
        });
    }

    fn opened(&mut self, opened: Opened) {
        match opened.result {
            Ok(()) => info!(shard = %opened.shard, "coordinating the groups of a shard"),
            Err(error) => {
                warn!(shard = %opened.shard, %error, "a group shard is not open yet; trying again");
                if self.held.get(&opened.shard) == Some(&opened.under) {
                    self.held.remove(&opened.shard);
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Stay,
    Close,
    Open(Revision),
}

/// What to do with a shard that is held here under the record of a revision, or not at all.
fn step(wanted: Option<Coordinator>, me: BrokerId, held: Option<Revision>) -> Step {
    match (wanted.filter(|wanted| wanted.broker_id == me), held) {
        (Some(wanted), Some(held)) if wanted.mod_revision == held => Step::Stay,
        (Some(wanted), _) => Step::Open(wanted.mod_revision),
        (None, Some(_)) if seeded_bug::is("two-coordinators") => Step::Stay,
        (None, Some(_)) => Step::Close,
        (None, None) => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_held_under_one_record() {
        let at = |revision| Revision(revision);
        let by = |broker_id, revision| {
            Some(Coordinator {
                broker_id: BrokerId(broker_id),
                mod_revision: at(revision),
            })
        };
        let me = BrokerId(1);
        assert_eq!(step(None, me, None), Step::Stay);
        assert_eq!(step(by(2, 5), me, None), Step::Stay);
        assert_eq!(step(by(1, 5), me, None), Step::Open(at(5)));
        assert_eq!(step(by(1, 5), me, Some(at(5))), Step::Stay);
        assert_eq!(step(by(1, 6), me, Some(at(5))), Step::Open(at(6)));
        assert_eq!(step(by(2, 6), me, Some(at(5))), Step::Close);
        assert_eq!(step(None, me, Some(at(5))), Step::Close);
    }
}
