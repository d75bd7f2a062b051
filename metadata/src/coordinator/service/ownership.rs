//! What makes a broker the coordinator of its groups.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::coordinator::group_shard::GroupShard;
use crate::keys::Keys;
use crate::session::Session;
use crate::store::{Compare, Revision};

/// The right to coordinate a group shard, as records in the store that others can take away.
pub trait Ownership: Send + Sync + Debug {
    /// Comparisons that hold in the store exactly while this broker is the coordinator. They are part of
    /// every transaction the coordinator writes (F1), so at most a few.
    fn compares(&self) -> Vec<Compare>;

    /// Whether this broker may still believe itself the coordinator, by its own monotonic clock (F3).
    /// Asked before every request, so cheap.
    fn is_held(&self) -> bool;
}

/// The only broker of a cluster coordinates all groups, for as long as its session lasts.
impl Ownership for Session {
    fn compares(&self) -> Vec<Compare> {
        vec![self.fence()]
    }

    fn is_held(&self) -> bool {
        self.is_alive()
    }
}

/// Ownership by a coordinator record that names this broker, for as long as the record is not written anew and the
/// broker's session lasts.
#[derive(Debug)]
pub struct ShardOwnership {
    session: Arc<Session>,
    record: Bytes,
    mod_revision: Revision,
}

impl ShardOwnership {
    /// Of the shard's [`crate::model::CoordinatorRecord`] as it was put at `mod_revision`.
    pub fn new(
        session: Arc<Session>,
        keys: &Keys,
        shard: GroupShard,
        mod_revision: Revision,
    ) -> Self {
        Self {
            session,
            record: keys.group_coordinator(shard),
            mod_revision,
        }
    }
}

impl Ownership for ShardOwnership {
    fn compares(&self) -> Vec<Compare> {
        let record = Compare::unchanged_since(self.record.clone(), self.mod_revision);
        vec![self.session.fence(), record]
    }

    fn is_held(&self) -> bool {
        self.session.is_alive()
    }
}

/// Ownership by being the only one there is. Even then a coordinator that starts takes the groups over
/// from one that still runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoleOwner;

impl Ownership for SoleOwner {
    fn compares(&self) -> Vec<Compare> {
        Vec::new()
    }

    fn is_held(&self) -> bool {
        true
    }
}
