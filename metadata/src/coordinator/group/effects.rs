//! What a group asks of the world: replies to waiters and writes to the store.

use std::time::Duration;

use alluvium_common::clock::TimestampMs;
use alluvium_common::topic::TopicPartition;

use super::config::GroupConfig;
use super::error::GroupError;
use super::ids::{GroupId, WaiterId, WriteToken};
use super::record::{GroupRecord, OffsetRecord};
use super::request::{JoinResult, LeaveResult, PartitionsResult, SyncResult};

/// The time of an event, on both clocks: deadlines are monotonic, what is stored is wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the coordinator's start; never goes back.
    pub monotonic: Duration,
    /// Wall-clock time, for commit and retention stamps only.
    pub wall_ms: TimestampMs,
}

/// The answer to one waiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To JoinGroup.
    Join(JoinResult),
    /// To SyncGroup.
    Sync(SyncResult),
    /// To LeaveGroup.
    Leave(LeaveResult),
    /// To OffsetCommit.
    Commit(PartitionsResult),
    /// To OffsetDelete.
    OffsetDelete(PartitionsResult),
    /// To one group of a DeleteGroups.
    DeleteGroup(Result<(), GroupError>),
}

/// One change to what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    /// Write the group's record.
    PutGroup(GroupRecord),
    /// Delete the group's record.
    DeleteGroup,
    /// Write a committed offset.
    PutOffset(TopicPartition, OffsetRecord),
    /// Delete a committed offset.
    DeleteOffset(TopicPartition),
}

/// Changes of one group that are acknowledged together. Writes of one group must take effect in the
/// order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The group.
    pub group_id: GroupId,
    /// Names the write when its outcome is reported.
    pub token: WriteToken,
    /// What to change.
    pub ops: Vec<WriteOp>,
}

/// How a write ended. There is no "unknown" here: who executes writes finds out (F4), and tells
/// waiters of a slow one by `write_is_slow` meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is stored.
    Applied,
    /// It is not stored and never will be.
    Failed(GroupError),
}

/// What is to be done after an event. Dropping it loses replies.
#[derive(Debug, Default)]
#[must_use]
pub struct Effects {
    /// Answers, each to a different waiter.
    pub replies: Vec<(WaiterId, Reply)>,
    /// Writes, in order.
    pub writes: Vec<Write>,
}

impl Effects {
    /// Adds what is to be done after a later event.
    pub fn append(&mut self, mut later: Effects) {
        self.replies.append(&mut later.replies);
        self.writes.append(&mut later.writes);
    }
}

/// One event's surroundings, handed down through the functions that handle it.
pub(super) struct Turn<'a> {
    pub config: &'a GroupConfig,
    pub now: Now,
    pub effects: &'a mut Effects,
    pub next_token: &'a mut u64,
}

impl Turn<'_> {
    pub fn reply(&mut self, waiter: WaiterId, reply: Reply) {
        self.effects.replies.push((waiter, reply));
    }

    pub fn write(&mut self, group_id: &GroupId, ops: Vec<WriteOp>) -> WriteToken {
        let token = WriteToken(*self.next_token);
        *self.next_token += 1;
        self.effects.writes.push(Write {
            group_id: group_id.clone(),
            token,
            ops,
        });
        token
    }
}
