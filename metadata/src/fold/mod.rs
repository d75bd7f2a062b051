//! Folding: the metadata of a commit log does not grow with the log.
//!
//! Nouns: a **fold** is one entry in place of a run of entries of one commit log; what it stands for lies in a **fold
//! object** in the bucket (`alluvium_segment::fold_object`). A **log** is named by broker id and broker epoch.
//!
//! Flow: [`plan_folds`] chooses a run; somebody makes and uploads the object (the compactor); [`replace`] swaps the
//! entries for the fold in one transaction. The broker folds the log of its own session while it goes on committing at
//! the log's other end; logs that are frozen (F2) are folded by the controller. Each passes its own fence.
//!
//! **Why a run cannot change underneath.** Entries are never overwritten by anything but a fold of them. The
//! transaction compares that the run's first and last entry are as they were read. Whatever another folder did between
//! the two has put a fold of entries of the same run there, and our object holds all of them; and whatever reached
//! beyond the run on either side has removed the first or the last entry.
//!
//! **Unknown outcomes** (F4): the last key holds our record or it does not. An attempt that is applied late, after it
//! was given up, is as good as one in time, so an object that was uploaded is never deleted by its maker. Objects that no
//! log names are garbage, recognised by their names below `folds/`, to be deleted after a grace period longer than
//! any reader.
//!
//! [`drop_start`] drops the first entries of a log when all that their segments hold is published or deleted. Whoever folds
//! a log drops from it too, so that neither comes upon the other's work. [`unneeded_logs`] finds whole logs that nothing
//! needs any more.

mod plan;
mod replace;
#[cfg(test)]
mod tests;
mod unneeded;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};

pub use plan::{FoldLimits, plan_folds};
pub use replace::{LogState, ReplaceError, Replaced, drop_start, read_log, replace};
pub use unneeded::{
    DropError, Dropped, Overview, commit_logs, drop_unneeded, overview, unneeded_logs,
};

/// Names a commit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Whose.
    pub broker_id: BrokerId,
    /// Of which session.
    pub broker_epoch: BrokerEpoch,
}
