//! Running one command against the tables. Everything that can be refused is refused before the first
//! change, so that a refused command leaves no trace in a batch it shares with others.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::read::{check_readable, range};
use super::tables::{State, StoredEvent, WriteTables};
use crate::store::error::StoreError;
use crate::store::limits::DELETE_KEYS_MAX;
use crate::store::range::KeyRange;
use crate::store::txn::{Op, OpResult, Txn, TxnResponse};
use crate::store::types::{Event, KeyValue, LeaseId, Revision};

/// Whatever changes the store.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Txn(Txn),
    Grant { ttl: Duration },
    Revoke { lease: LeaseId },
    Compact { revision: Revision },
}

/// The answer to a [`Command`] of the same name.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Txn(TxnResponse),
    Granted(LeaseId),
    Revoked(Revision),
    Compacted,
}

/// How much history is kept at least until it is compacted by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistoryBound {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// Runs a command. An error of [`crate::store::Outcome::NotDone`] that is not the medium's own left
/// everything as it was.
pub(crate) fn execute(
    tables: &mut impl WriteTables,
    state: &mut State,
    command: &Command,
) -> Result<Reply, StoreError> {
    match command {
        Command::Txn(txn) => run_txn(tables, state, txn).map(Reply::Txn),
        Command::Grant { ttl } => {
            let lease = state.next_lease;
            tables.put_lease(lease, *ttl)?;
            state.next_lease = LeaseId(lease.0 + 1);
            Ok(Reply::Granted(lease))
        }
        Command::Revoke { lease } => revoke(tables, state, *lease).map(Reply::Revoked),
        Command::Compact { revision } => {
            compact(tables, state, *revision)?;
            Ok(Reply::Compacted)
        }
    }
}

fn run_txn(
    tables: &mut impl WriteTables,
    state: &mut State,
    txn: &Txn,
) -> Result<TxnResponse, StoreError> {
    txn.check()?;
    let mut succeeded = true;
    for compare in &txn.compares {
        succeeded &= compare.holds(tables.get(&compare.key)?.as_ref());
    }
    let ops = if succeeded {
        &txn.then_ops
    } else {
        &txn.else_ops
    };
    check_ops(tables, state, ops)?;
    let mut writer = Writer::new(tables, state);
    let mut results = Vec::with_capacity(ops.len());
    for op in ops {
        results.push(writer.run(op)?);
    }
    let revision = writer.finish();
    Ok(TxnResponse {
        succeeded,
        revision,
        results,
    })
}

/// Refuses what depends on what is stored.
fn check_ops(tables: &impl WriteTables, state: &State, ops: &[Op]) -> Result<(), StoreError> {
    let mut deletes = 0;
    for op in ops {
        match op {
            Op::Put {
                lease: Some(lease), ..
            } => {
                if !tables.has_lease(*lease)? {
                    return Err(StoreError::LeaseNotFound { lease: *lease });
                }
            }
            Op::Put { lease: None, .. } => {}
            Op::Delete { range } => {
                tables.scan(range, &mut |_| {
                    deletes += 1;
                    if deletes > DELETE_KEYS_MAX {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })?;
                if deletes > DELETE_KEYS_MAX {
                    return Err(StoreError::TooManyDeletes {
                        limit: DELETE_KEYS_MAX,
                    });
                }
            }
            Op::Range(request) => check_readable(state, request.revision)?,
        }
    }
    Ok(())
}

fn revoke(
    tables: &mut impl WriteTables,
    state: &mut State,
    lease: LeaseId,
) -> Result<Revision, StoreError> {
    if !tables.has_lease(lease)? {
        return Err(StoreError::LeaseNotFound { lease });
    }
    let keys = tables.attached(lease)?;
    let mut writer = Writer::new(tables, state);
    for key in keys {
        writer.delete_key(&key)?;
    }
    let revision = writer.finish();
    tables.remove_lease(lease)?;
    Ok(revision)
}

fn compact(
    tables: &mut impl WriteTables,
    state: &mut State,
    revision: Revision,
) -> Result<(), StoreError> {
    if revision <= state.compacted {
        return Err(StoreError::Compacted {
            requested: revision,
            compacted: state.compacted,
        });
    }
    if revision > state.revision {
        return Err(StoreError::FutureRevision {
            requested: revision,
            newest: state.revision,
        });
    }
    forget(tables, state, revision)
}

/// Forgets the oldest revisions until history is within its bound. The newest revision always stays, so
/// that reads at it and watches from it work however large it is.
pub(crate) fn trim_history(
    tables: &mut impl WriteTables,
    state: &mut State,
    bound: HistoryBound,
) -> Result<(), StoreError> {
    while state.history_events > bound.events || state.history_bytes > bound.bytes {
        match tables.oldest_event()? {
            Some(oldest) if oldest < state.revision => forget(tables, state, oldest.next())?,
            _ => break,
        }
    }
    Ok(())
}

fn forget(
    tables: &mut impl WriteTables,
    state: &mut State,
    revision: Revision,
) -> Result<(), StoreError> {
    let forgotten = tables.forget_before(revision)?;
    state.history_events = state.history_events.saturating_sub(forgotten.events);
    state.history_bytes = state.history_bytes.saturating_sub(forgotten.bytes);
    state.compacted = revision;
    Ok(())
}

/// Writes the events of one new revision, which exists only once something was written.
struct Writer<'a, T> {
    tables: &'a mut T,
    state: &'a mut State,
    revision: Revision,
    events: u32,
}

impl<'a, T: WriteTables> Writer<'a, T> {
    fn new(tables: &'a mut T, state: &'a mut State) -> Self {
        let revision = state.revision.next();
        Self {
            tables,
            state,
            revision,
            events: 0,
        }
    }

    fn run(&mut self, op: &Op) -> Result<OpResult, StoreError> {
        match op {
            Op::Put { key, value, lease } => {
                self.put(key, value, *lease)?;
                Ok(OpResult::Put)
            }
            Op::Delete { range } => self.delete_range(range).map(OpResult::Deleted),
            Op::Range(request) => {
                let mut state = *self.state;
                state.revision = self.revision_so_far();
                range(self.tables, &state, request).map(OpResult::Range)
            }
        }
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: Option<LeaseId>,
    ) -> Result<(), StoreError> {
        let previous = self.tables.get(key)?;
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: previous
                .as_ref()
                .map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: previous.as_ref().map_or(1, |kv| kv.version + 1),
            lease,
        };
        let former = previous.as_ref().and_then(|kv| kv.lease);
        if former != lease {
            if let Some(former) = former {
                self.tables.detach(former, key)?;
            }
            if let Some(lease) = lease {
                self.tables.attach(lease, key)?;
            }
        }
        self.tables.put(&kv)?;
        self.push(StoredEvent {
            event: Event::Put(kv),
            previous,
        })
    }

    fn delete_range(&mut self, range: &KeyRange) -> Result<u64, StoreError> {
        let mut keys = Vec::new();
        self.tables.scan(range, &mut |kv| {
            keys.push(kv.key);
            ControlFlow::Continue(())
        })?;
        for key in &keys {
            self.delete_key(key)?;
        }
        Ok(keys.len() as u64)
    }

    fn delete_key(&mut self, key: &Bytes) -> Result<(), StoreError> {
        let Some(previous) = self.tables.get(key)? else {
            return Ok(());
        };
        if let Some(lease) = previous.lease {
            self.tables.detach(lease, key)?;
        }
        self.tables.remove(key)?;
        let event = Event::Delete {
            key: key.clone(),
            revision: self.revision,
        };
        self.push(StoredEvent {
            event,
            previous: Some(previous),
        })
    }

    fn push(&mut self, event: StoredEvent) -> Result<(), StoreError> {
        self.tables.push_event(self.events, &event)?;
        self.events += 1;
        self.state.history_events += 1;
        self.state.history_bytes += event.size_bytes();
        Ok(())
    }

    fn revision_so_far(&self) -> Revision {
        if self.events > 0 {
            self.revision
        } else {
            self.state.revision
        }
    }

    fn finish(self) -> Revision {
        self.state.revision = self.revision_so_far();
        self.state.revision
    }
}
