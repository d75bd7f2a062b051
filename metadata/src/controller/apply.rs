//! Writing a plan for partitions, each part of it under what must hold for it.

use std::collections::BTreeMap;

use alluvium_common::epoch::BrokerId;
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use tracing::info;

use super::plan::{Assignment, Because, Move, Plan};
use crate::keys::Keys;
use crate::leadership::{LeadershipError, PartitionChange, PartitionWriter, Written};
use crate::model::PartitionRecord;
use crate::store::{Compare, Revision, StoreError};
use crate::view::{Picture, Placed};

/// Records written before the picture is looked at again: some twenty transactions, so that a broker that comes back or
/// another election is noticed within a second or so, and that the next plan is made of what was really written.
pub(super) const CHANGES_PER_ROUND: usize = 2_000;

/// Why a plan was not written to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// F5: another election has taken place.
    #[error("this broker is the controller no more")]
    Deposed,
    /// The store did not do it, or it is unknown whether it did; the next picture tells.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Applied {
    pub(super) assigned: u64,
    pub(super) moved: u64,
    /// Of the last write; nothing was written when it is [`Revision::NONE`].
    pub(super) revision: Revision,
}

/// Writes plans as the controller of one epoch.
#[derive(Debug)]
pub(super) struct Applier<'a> {
    pub(super) writer: &'a PartitionWriter,
    pub(super) keys: &'a Keys,
    /// F5
    pub(super) guard: Compare,
}

impl Applier<'_> {
    /// Writes a plan that was made for `picture`, or as much of it as one round may. What somebody else changed
    /// meanwhile is left to the next round.
    pub(super) async fn apply(
        &self,
        picture: &Picture,
        plan: &Plan<TopicPartition>,
    ) -> Result<Applied, ApplyError> {
        let assignments = plan.assignments.iter().take(CHANGES_PER_ROUND);
        let left = CHANGES_PER_ROUND - assignments.len();
        let mut applied = Applied::default();
        for (gone, changes) in by_gone_broker(picture, assignments) {
            applied.assigned += self.write(gone, &changes, &mut applied.revision).await?;
        }
        let moves = plan.moves.iter().take(left);
        let moves: Vec<_> = moves.filter_map(|order| moved(picture, order)).collect();
        applied.moved = self.write(None, &moves, &mut applied.revision).await?;
        Ok(applied)
    }

    /// Writes changes; if they are because a broker is gone, only while it is. Answers with how many were written.
    async fn write(
        &self,
        gone: Option<BrokerId>,
        changes: &[PartitionChange],
        revision: &mut Revision,
    ) -> Result<u64, ApplyError> {
        let mut guard = vec![self.guard.clone()];
        // F2: a session that stands may still commit what it acknowledges.
        guard.extend(gone.map(|broker_id| Compare::absent(self.keys.broker(broker_id))));
        let written = match self.writer.write(&guard, changes).await {
            Ok(written) => written,
            Err(LeadershipError::Guard { index: 0, .. }) => return Err(ApplyError::Deposed),
            Err(LeadershipError::Guard { .. }) => {
                info!(broker_id = ?gone, "a broker came back and keeps what it leads");
                return Ok(0);
            }
            Err(LeadershipError::Store(error)) => return Err(error.into()),
        };
        let done = written.iter().filter_map(|written| match written {
            Written::Done(revision) => Some(*revision),
            Written::Changed => None,
        });
        let mut count = 0;
        for at in done {
            count += 1;
            *revision = at.max(*revision);
        }
        Ok(count)
    }
}

/// The changes that assignments are, by the broker whose absence they rely on.
fn by_gone_broker<'a>(
    picture: &Picture,
    assignments: impl Iterator<Item = &'a Assignment<TopicPartition>>,
) -> BTreeMap<Option<BrokerId>, Vec<PartitionChange>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for assignment in assignments {
        let gone = (assignment.because == Because::Gone).then_some(assignment.from);
        let change = change(picture, assignment.duty, |placed| {
            let mut record = placed.record.assigned_to(assignment.to);
            if assignment.unclean {
                record.wal = None;
            }
            record
        });
        groups.entry(gone).or_default().extend(change);
    }
    groups
}

fn moved(picture: &Picture, order: &Move<TopicPartition>) -> Option<PartitionChange> {
    change(picture, order.duty, |placed| match order.to {
        Some(to) if seeded_bug::is("frozen-not-checked") => placed.record.assigned_to(to),
        to => PartitionRecord {
            moving_to: to,
            ..placed.record.clone()
        },
    })
}

fn change(
    picture: &Picture,
    tp: TopicPartition,
    edit: impl FnOnce(&Placed) -> PartitionRecord,
) -> Option<PartitionChange> {
    let placed = picture.partitions.get(tp)?;
    Some(PartitionChange {
        tp,
        record: edit(placed),
        read_at: placed.mod_revision,
    })
}
