//! The open database: runs batches of commands, answers reads, stops at the first failed write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use alluvium_common::error::{ErrorKind, Outcome};
use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase};
use tokio::sync::watch;

use super::EmbeddedOptions;
use super::error::{no_transaction, not_done};
use super::tables::{Reading, reading, writing};
use crate::store::engine::{
    Command, EventsPage, EventsRequest, HistoryBound, ReadTables, Reply, State, events_page,
    execute, range, trim_history,
};
use crate::store::error::StoreError;
use crate::store::range::{RangeRequest, RangeResponse};
use crate::store::types::Revision;

type Answer = Result<Reply, StoreError>;

/// The database and what is known of it.
#[derive(Debug)]
pub(super) struct Core {
    db: Database,
    /// The counters of the last commit. Held while a batch runs: one batch at a time.
    committed: Mutex<State>,
    newest: watch::Sender<Revision>,
    /// Why nothing works any more.
    failed: OnceLock<String>,
    history: HistoryBound,
}

impl Core {
    /// Takes over an initialized database.
    pub(super) fn new(db: Database, options: &EmbeddedOptions) -> Result<Self, StoreError> {
        let state = reading(&db.begin_read().map_err(no_transaction)?)?.state()?;
        Ok(Self {
            db,
            committed: Mutex::new(state),
            newest: watch::Sender::new(state.revision),
            failed: OnceLock::new(),
            history: HistoryBound {
                events: options.history_events_max,
                bytes: options.history_bytes_max,
            },
        })
    }

    pub(super) fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        let tables = self.snapshot()?;
        range(&tables, &tables.state()?, request)
    }

    pub(super) fn events(&self, request: &EventsRequest) -> Result<EventsPage, StoreError> {
        events_page(&self.snapshot()?, request)
    }

    fn snapshot(&self) -> Result<Reading, StoreError> {
        reading(&self.db.begin_read().map_err(no_transaction)?)
    }

    /// Ends every lease.
    pub(super) fn revoke_all(&self) -> Result<(), StoreError> {
        let leases = self.snapshot()?.leases()?;
        let revokes = leases
            .into_iter()
            .map(|lease| Command::Revoke { lease })
            .collect::<Vec<_>>();
        self.run(&revokes)
            .into_iter()
            .try_for_each(|answer| answer.map(|_| ()))
    }

    /// Runs commands in order in one commit, and answers each once it is durable.
    pub(super) fn run(&self, commands: &[Command]) -> Vec<Answer> {
        let mut committed = self.committed.lock();
        if let Some(reason) = self.failed.get() {
            let error = StoreError::Stopped {
                outcome: Outcome::NotDone,
                reason: reason.clone(),
            };
            return vec![Err(error); commands.len()];
        }
        match self.guarded(&committed, commands) {
            Ok(batch) => {
                *committed = batch.state;
                self.newest.send_if_modified(|newest| {
                    std::mem::replace(newest, batch.state.revision) != batch.state.revision
                });
                batch.answers
            }
            // One command met a damaged row: the others shall not suffer for it.
            Err(error) if error.kind() == ErrorKind::BadData && commands.len() > 1 => {
                drop(committed);
                commands
                    .iter()
                    .flat_map(|command| self.run(std::slice::from_ref(command)))
                    .collect()
            }
            Err(error) => {
                if let StoreError::Stopped { reason, .. } = &error {
                    tracing::error!(%reason, "metadata store stopped");
                    let _ = self.failed.set(reason.clone());
                }
                vec![Err(error); commands.len()]
            }
        }
    }

    /// redb promises not to panic, and has done so on damaged files.
    fn guarded(&self, committed: &State, commands: &[Command]) -> Result<Batch, StoreError> {
        catch_unwind(AssertUnwindSafe(|| self.commit(committed, commands))).unwrap_or_else(
            |panic| {
                Err(StoreError::Stopped {
                    outcome: Outcome::Unknown,
                    reason: panic_text(&*panic),
                })
            },
        )
    }

    fn commit(&self, committed: &State, commands: &[Command]) -> Result<Batch, StoreError> {
        let mut txn = self.db.begin_write().map_err(no_transaction)?;
        txn.set_two_phase_commit(true);
        txn.set_durability(Durability::Immediate)
            .map_err(|error| StoreError::Stopped {
                outcome: Outcome::NotDone,
                reason: error.to_string(),
            })?;
        let mut tables = writing(&txn)?;
        let mut state = *committed;
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let answer = execute(&mut tables, &mut state, command);
            if let Err(error @ (StoreError::Damaged { .. } | StoreError::Stopped { .. })) = answer {
                return Err(error);
            }
            answers.push(answer);
        }
        if !tables.changed() {
            drop(tables);
            txn.abort().map_err(not_done)?;
            return Ok(Batch { state, answers });
        }
        trim_history(&mut tables, &mut state, self.history)?;
        tables.set_state(&state)?;
        drop(tables);
        txn.commit().map_err(|error| StoreError::Stopped {
            outcome: Outcome::Unknown,
            reason: error.to_string(),
        })?;
        Ok(Batch { state, answers })
    }
}

/// What a commit did.
struct Batch {
    state: State,
    answers: Vec<Answer>,
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.as_deref().unwrap_or("without a message"))
}
