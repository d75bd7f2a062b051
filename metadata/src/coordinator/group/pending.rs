//! Writes under way, and what is to be done when their outcome is known.

use std::collections::BTreeMap;

use alluvium_common::topic::TopicPartition;
use bytes::Bytes;

use super::classic::ClassicGroup;
use super::effects::{Reply, Turn, WriteOutcome};
use super::error::GroupError;
use super::ids::{InstanceId, MemberId, WaiterId, WriteToken};
use super::record::OffsetRecord;
use super::request::{JoinFailure, Joined};
use super::state::GroupState;

/// A write of a group. A waiter is taken out when it had to be answered before the outcome was known.
#[derive(Debug)]
pub(super) enum PendingWrite {
    /// The assignment of a generation.
    Assignment {
        generation: i32,
        assignment: BTreeMap<MemberId, Bytes>,
    },
    /// The new member id of a static member.
    StaticMember {
        waiter: Option<WaiterId>,
        member_id: MemberId,
        instance_id: Option<InstanceId>,
        old_leader: MemberId,
        supports_skip_assignment: bool,
    },
    /// The group without members, after the last one expired.
    Emptied,
    /// The same, after the last one left.
    Leave {
        waiter: Option<WaiterId>,
        results: Vec<Result<(), GroupError>>,
    },
    /// Committed offsets.
    Commit {
        waiter: Option<WaiterId>,
        offsets: Vec<(TopicPartition, OffsetRecord)>,
        results: Vec<Result<(), GroupError>>,
    },
    /// Deleted offsets: by request, expired, or of a deleted topic.
    OffsetDelete {
        waiter: Option<WaiterId>,
        partitions: Vec<TopicPartition>,
        results: Vec<Result<(), GroupError>>,
    },
    /// The whole group. The group is `Dead` meanwhile.
    DeleteGroup { waiter: Option<WaiterId> },
}

impl ClassicGroup {
    /// The outcome of a write. Returns true when the group is gone.
    pub fn on_write(
        &mut self,
        token: WriteToken,
        outcome: WriteOutcome,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(pending) = self.pending_writes.remove(&token) else {
            return false;
        };
        let result = match outcome {
            WriteOutcome::Applied => Ok(()),
            WriteOutcome::Failed(error) => Err(error),
        };
        let applied = result.is_ok();
        match pending {
            PendingWrite::Assignment {
                generation,
                assignment,
            } => self.on_assignment_stored(generation, assignment, result, turn),
            PendingWrite::Emptied => {}
            PendingWrite::StaticMember {
                waiter,
                member_id,
                instance_id,
                old_leader,
                supports_skip_assignment,
            } => {
                let result = result.and_then(|()| {
                    // It may have been replaced or removed while its id was being stored.
                    self.check_member(&member_id, instance_id.as_ref())
                });
                let reply = result
                    .map(|()| self.joined_static(&member_id, old_leader, supports_skip_assignment))
                    .map_err(join_failure);
                answer(waiter, Reply::Join(reply), turn);
                if !applied && self.state == GroupState::Stable {
                    // What is stored names the old id: the next generation sets it right.
                    let _emptied = self.prepare_rebalance(turn);
                }
            }
            PendingWrite::Leave { waiter, results } => {
                answer(waiter, Reply::Leave(result.map(|()| results)), turn);
            }
            PendingWrite::Commit {
                waiter,
                offsets,
                results,
            } => {
                if applied {
                    for (partition, offset) in offsets {
                        self.offsets.put(partition, offset);
                    }
                }
                answer(waiter, Reply::Commit(result.map(|()| results)), turn);
            }
            PendingWrite::OffsetDelete {
                waiter,
                partitions,
                results,
            } => {
                if applied {
                    for partition in &partitions {
                        self.offsets.remove(partition);
                    }
                }
                answer(waiter, Reply::OffsetDelete(result.map(|()| results)), turn);
            }
            PendingWrite::DeleteGroup { waiter } => {
                if !applied {
                    self.transition(GroupState::Empty, turn);
                }
                answer(waiter, Reply::DeleteGroup(result), turn);
                return applied;
            }
        }
        false
    }

    /// The write takes longer than a client should wait: whoever waits is told to retry. What the write
    /// does takes effect all the same once it is stored, except for an assignment, which the members
    /// that were sent away will not ask for again.
    pub fn on_slow_write(&mut self, token: WriteToken, turn: &mut Turn<'_>) {
        let error = GroupError::CoordinatorNotAvailable;
        if let Some(PendingWrite::Assignment { .. }) = self.pending_writes.get(&token) {
            let _gone = self.on_write(token, WriteOutcome::Failed(error), turn);
            return;
        }
        let Some(pending) = self.pending_writes.get_mut(&token) else {
            return;
        };
        let (waiter, reply) = match pending {
            PendingWrite::Assignment { .. } | PendingWrite::Emptied => return,
            PendingWrite::StaticMember { waiter, .. } => {
                (waiter, Reply::Join(Err(join_failure(error))))
            }
            PendingWrite::Leave { waiter, .. } => (waiter, Reply::Leave(Err(error))),
            PendingWrite::Commit { waiter, .. } => (waiter, Reply::Commit(Err(error))),
            PendingWrite::OffsetDelete { waiter, .. } => (waiter, Reply::OffsetDelete(Err(error))),
            PendingWrite::DeleteGroup { waiter } => (waiter, Reply::DeleteGroup(Err(error))),
        };
        answer(waiter.take(), reply, turn);
    }

    /// What a static member is told that took its place back.
    fn joined_static(
        &self,
        member_id: &MemberId,
        old_leader: MemberId,
        supports_skip_assignment: bool,
    ) -> Joined {
        let is_leader = self.is_leader(member_id);
        if supports_skip_assignment {
            return self.joined(member_id, is_leader, is_leader);
        }
        // An old client that is told it leads would assign anew. It is told of the leader that was,
        // and so takes itself for a follower.
        let mut joined = self.joined(member_id, false, false);
        joined.leader = old_leader;
        joined
    }

    /// Answers everybody who waits, since this broker no longer coordinates the group.
    pub fn abandon(&mut self, error: GroupError, turn: &mut Turn<'_>) {
        self.state = GroupState::Dead;
        self.timers.clear();
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            self.expel(id, error, turn);
        }
        let tokens: Vec<WriteToken> = self.pending_writes.keys().copied().collect();
        for token in tokens {
            let _gone = self.on_write(token, WriteOutcome::Failed(error), turn);
        }
        self.state = GroupState::Dead;
    }
}

fn join_failure(error: GroupError) -> JoinFailure {
    JoinFailure {
        error,
        member_id: MemberId::default(),
    }
}

fn answer(waiter: Option<WaiterId>, reply: Reply, turn: &mut Turn<'_>) {
    if let Some(waiter) = waiter {
        turn.reply(waiter, reply);
    }
}
