//! Revisions, leases, keys with their values, events.

use std::fmt;
use std::time::Duration;

use alluvium_common::epoch::BrokerEpoch;
use bytes::Bytes;

/// A point in the store's one history. A new store stands at 1; every transaction that writes moves it
/// by one. 0 is the revision of what does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The create and mod revision of a key that does not exist.
    pub const NONE: Self = Self(0);
    /// Where a new store stands.
    pub const FIRST: Self = Self(1);

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A broker epoch is the revision that created the session's key.
impl From<Revision> for BrokerEpoch {
    fn from(revision: Revision) -> Self {
        Self(i64::try_from(revision.0).unwrap_or(i64::MAX))
    }
}

impl From<BrokerEpoch> for Revision {
    fn from(epoch: BrokerEpoch) -> Self {
        Self(epoch.0.unsigned_abs())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a lease. Never 0, never given twice by one store, at most `i64::MAX` (etcd's type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A granted lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lives without a keep-alive; at least what was asked for.
    pub ttl: Duration,
}

/// A key as it stands at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision that created it. A key deleted and put again has a new one.
    pub create_revision: Revision,
    /// The revision that last put it.
    pub mod_revision: Revision,
    /// How often it was put since it was created; 1 for a new key.
    pub version: u64,
    /// The lease that it is deleted with.
    pub lease: Option<LeaseId>,
}

/// One change of one key, of revision [`Event::revision`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was created or overwritten.
    Put(KeyValue),
    /// The key was deleted, by a transaction or with its lease.
    Delete {
        /// The key.
        key: Bytes,
        /// The revision that deleted it.
        revision: Revision,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision that changed it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// What a store that has a database of bounded size tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreSpace {
    /// Bytes of the database.
    pub size_bytes: u64,
    /// Bytes of it that hold something; the rest is given back by defragmenting.
    pub in_use_bytes: u64,
    /// Size at which writes are refused, if it is told (by etcd 3.6 and newer).
    pub quota_bytes: Option<u64>,
    /// Writes are refused for want of space, until somebody ends the alarm.
    pub is_exhausted: bool,
}
