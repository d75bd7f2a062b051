//! The contract's semantics, written once over a small set of tables.
//!
//! [`tables`] is what a medium must offer; [`execute`] runs one command against it; [`read`] answers reads
//! and watch replays from a snapshot. Everything here is synchronous and knows no clock, no thread, no disk.

mod execute;
mod read;
mod tables;

pub(crate) use execute::{Command, HistoryBound, Reply, execute, trim_history};
pub(crate) use read::{EventsPage, EventsRequest, events_page, range};
pub(crate) use tables::{Forgotten, ReadTables, State, StoredEvent, WriteTables};
