//! The engine's tables in redb.

use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::codec::{self, Table as Tag};
use super::error::{no_table, not_done};
use crate::store::engine::{Forgotten, ReadTables, State, StoredEvent, WriteTables};
use crate::store::error::StoreError;
use crate::store::range::KeyRange;
use crate::store::types::{KeyValue, LeaseId, Revision};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const KV: Definition = TableDefinition::new("kv");
const BY_REVISION: Definition = TableDefinition::new("by_revision");
const LEASE: Definition = TableDefinition::new("lease");
const ATTACHED: Definition = TableDefinition::new("attached");
const META: Definition = TableDefinition::new("meta");

const STATE: &[u8] = b"state";
const FORMAT: &[u8] = b"format";
const CLUSTER: &[u8] = b"cluster";

pub(super) type Reading = Tables<ReadOnlyTable<&'static [u8], &'static [u8]>>;
pub(super) type Writing<'txn> = Tables<redb::Table<'txn, &'static [u8], &'static [u8]>>;

/// The five tables of one redb transaction.
pub(super) struct Tables<T> {
    kv: T,
    by_revision: T,
    lease: T,
    attached: T,
    meta: T,
    /// Whether anything was written: a transaction that only read need not be committed.
    changed: bool,
}

/// Opens the tables for reading.
pub(super) fn reading(txn: &ReadTransaction) -> Result<Reading, StoreError> {
    let open = |definition| txn.open_table(definition).map_err(no_table);
    Ok(Tables {
        kv: open(KV)?,
        by_revision: open(BY_REVISION)?,
        lease: open(LEASE)?,
        attached: open(ATTACHED)?,
        meta: open(META)?,
        changed: false,
    })
}

/// Opens the tables for writing, and makes those that are missing.
pub(super) fn writing(txn: &WriteTransaction) -> Result<Writing<'_>, StoreError> {
    let open = |definition| txn.open_table(definition).map_err(no_table);
    Ok(Tables {
        kv: open(KV)?,
        by_revision: open(BY_REVISION)?,
        lease: open(LEASE)?,
        attached: open(ATTACHED)?,
        meta: open(META)?,
        changed: false,
    })
}

/// What a store says about itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) format: u32,
    pub(super) cluster: String,
}

/// Reads who a store is; `None` if it was never made ready.
pub(super) fn identity(txn: &ReadTransaction) -> Result<Option<Identity>, StoreError> {
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(no_table(error)),
    };
    let Some(format) = row(&meta, Tag::Meta, FORMAT, codec::decode_u32)? else {
        return Ok(None);
    };
    let cluster = row(&meta, Tag::Meta, CLUSTER, |body| {
        Ok(String::from_utf8_lossy(body).into_owned())
    })?;
    Ok(Some(Identity {
        format,
        cluster: cluster.unwrap_or_default(),
    }))
}

/// Reads one row of a table.
fn row<T>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    tag: Tag,
    key: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let Some(sealed) = table.get(key).map_err(not_done)? else {
        return Ok(None);
    };
    decode(codec::unseal(tag, key, sealed.value())?).map(Some)
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> ReadTables for Tables<T> {
    fn state(&self) -> Result<State, StoreError> {
        let state = row(&self.meta, Tag::Meta, STATE, codec::decode_state)?;
        state.ok_or_else(|| StoreError::Damaged {
            what: "no counters".to_owned(),
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        row(&self.kv, Tag::Kv, key, |body| codec::decode_kv(key, body))
    }

    fn scan(
        &self,
        range: &KeyRange,
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if range.is_empty() {
            return Ok(());
        }
        let to = range
            .to
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&range.from), to);
        for entry in self.kv.range::<&[u8]>(bounds).map_err(not_done)? {
            let (key, sealed) = entry.map_err(not_done)?;
            let body = codec::unseal(Tag::Kv, key.value(), sealed.value())?;
            if visit(codec::decode_kv(key.value(), body)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn events(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let first = codec::event_row(from, 0);
        for entry in self
            .by_revision
            .range::<&[u8]>(&first[..]..)
            .map_err(not_done)?
        {
            let (row, sealed) = entry.map_err(not_done)?;
            if visit(event(row.value(), sealed.value())?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn has_lease(&self, lease: LeaseId) -> Result<bool, StoreError> {
        let row_key = lease.0.to_be_bytes();
        Ok(row(&self.lease, Tag::Lease, &row_key, codec::decode_u64)?.is_some())
    }

    fn attached(&self, lease: LeaseId) -> Result<Vec<Bytes>, StoreError> {
        let (from, to) = (lease.0.to_be_bytes(), (lease.0 + 1).to_be_bytes());
        let mut keys = Vec::new();
        for entry in self
            .attached
            .range::<&[u8]>(&from[..]..&to[..])
            .map_err(not_done)?
        {
            let (row, sealed) = entry.map_err(not_done)?;
            codec::unseal(Tag::Attached, row.value(), sealed.value())?;
            keys.push(Bytes::copy_from_slice(&row.value()[from.len()..]));
        }
        Ok(keys)
    }
}

fn event(row: &[u8], sealed: &[u8]) -> Result<StoredEvent, StoreError> {
    let body = codec::unseal(Tag::ByRevision, row, sealed)?;
    codec::decode_event(codec::event_row_revision(row)?, body)
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Tables<T> {
    /// Every lease there is.
    pub(super) fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        let mut leases = Vec::new();
        for entry in self.lease.iter().map_err(not_done)? {
            let (row, _) = entry.map_err(not_done)?;
            leases.push(LeaseId(codec::decode_u64(row.value())?));
        }
        Ok(leases)
    }

    /// Whether anything was written.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }
}

impl Writing<'_> {
    /// Makes an empty store ready.
    pub(super) fn initialize(&mut self, cluster: &str) -> Result<(), StoreError> {
        self.put_meta(FORMAT, &codec::FORMAT.to_be_bytes())?;
        self.put_meta(CLUSTER, cluster.as_bytes())?;
        self.set_state(&State::EMPTY)
    }

    /// Records the counters.
    pub(super) fn set_state(&mut self, state: &State) -> Result<(), StoreError> {
        self.put_meta(STATE, &codec::encode_state(state))
    }

    fn put_meta(&mut self, name: &[u8], body: &[u8]) -> Result<(), StoreError> {
        insert(&mut self.meta, Tag::Meta, name, body)?;
        self.changed = true;
        Ok(())
    }
}

type WriteTable<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

fn insert(table: &mut WriteTable<'_>, tag: Tag, row: &[u8], body: &[u8]) -> Result<(), StoreError> {
    table
        .insert(row, &codec::seal(tag, row, body)[..])
        .map_err(not_done)?;
    Ok(())
}

fn delete(table: &mut WriteTable<'_>, row: &[u8]) -> Result<(), StoreError> {
    table.remove(row).map_err(not_done)?;
    Ok(())
}

impl WriteTables for Writing<'_> {
    fn put(&mut self, kv: &KeyValue) -> Result<(), StoreError> {
        self.changed = true;
        insert(&mut self.kv, Tag::Kv, &kv.key, &codec::encode_kv(kv))
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.changed = true;
        delete(&mut self.kv, key)
    }

    fn push_event(&mut self, index: u32, stored: &StoredEvent) -> Result<(), StoreError> {
        self.changed = true;
        let row = codec::event_row(stored.event.revision(), index);
        insert(
            &mut self.by_revision,
            Tag::ByRevision,
            &row,
            &codec::encode_event(stored),
        )
    }

    fn oldest_event(&self) -> Result<Option<Revision>, StoreError> {
        let first = self.by_revision.first().map_err(not_done)?;
        first
            .map(|(row, _)| codec::event_row_revision(row.value()))
            .transpose()
    }

    fn forget_before(&mut self, revision: Revision) -> Result<Forgotten, StoreError> {
        self.changed = true;
        let end = codec::event_row(revision, 0);
        let mut forgotten = Forgotten::default();
        let extracted = self
            .by_revision
            .extract_from_if::<&[u8], _>(..&end[..], |_, _| true)
            .map_err(not_done)?;
        for entry in extracted {
            let (row, sealed) = entry.map_err(not_done)?;
            forgotten.events += 1;
            forgotten.bytes += event(row.value(), sealed.value())?.size_bytes();
        }
        Ok(forgotten)
    }

    fn put_lease(&mut self, lease: LeaseId, ttl: Duration) -> Result<(), StoreError> {
        self.changed = true;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        insert(
            &mut self.lease,
            Tag::Lease,
            &lease.0.to_be_bytes(),
            &ttl_ms.to_be_bytes(),
        )
    }

    fn remove_lease(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        self.changed = true;
        delete(&mut self.lease, &lease.0.to_be_bytes())
    }

    fn attach(&mut self, lease: LeaseId, key: &[u8]) -> Result<(), StoreError> {
        self.changed = true;
        insert(
            &mut self.attached,
            Tag::Attached,
            &codec::attached_row(lease, key),
            &[],
        )
    }

    fn detach(&mut self, lease: LeaseId, key: &[u8]) -> Result<(), StoreError> {
        self.changed = true;
        delete(&mut self.attached, &codec::attached_row(lease, key))
    }
}
