//! Classic consumer groups as pure state machines.
//!
//! [`GroupRegistry`] takes requests, outcomes of writes and the time, and returns [`Effects`]: replies
//! to waiters and writes to the store. It reads no clock, does no I/O and starts no task, so every
//! behaviour can be tested by calling it. Behaviour follows Apache Kafka 4.x (`GroupMetadataManager`,
//! `ClassicGroup`, `OffsetMetadataManager`).
//!
//! What always holds:
//! - every waiter is answered exactly once;
//! - a member learns of an assignment only after the store has it, and of a committed offset likewise
//!   (I14);
//! - in one generation a member has at most one assignment, given by that generation's one leader;
//! - writes of one group are asked for in the order in which they must take effect.

mod classic;
mod config;
mod effects;
mod error;
mod ids;
mod join;
mod member;
mod membership;
mod offset_commit;
mod offsets;
mod pending;
mod rebalance;
mod record;
mod registry;
mod request;
mod state;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod view;

pub use config::GroupConfig;
pub use effects::{Effects, Now, Reply, Write, WriteOp, WriteOutcome};
pub use error::GroupError;
pub use ids::{GroupId, InstanceId, MemberId, WaiterId, WriteToken};
pub use record::{GroupRecord, MemberRecord, OffsetRecord};
pub use registry::GroupRegistry;
pub use request::{
    CommitRequest, HeartbeatRequest, JoinFailure, JoinRequest, JoinResult, Joined, JoinedMember,
    LeaveRequest, LeaveResult, LeavingMember, OffsetDeleteRequest, OffsetToCommit,
    PartitionsResult, Protocol, SyncRequest, SyncResult, Synced,
};
pub use state::GroupState;
pub use view::{FetchedOffsets, GroupDescription, GroupListing, MemberDescription};
