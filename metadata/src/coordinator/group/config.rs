//! Settings of the group coordinator, under Kafka's names.

use std::time::Duration;

/// What an operator can set. Each field names its Kafka setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: shorter session time-outs are refused.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`: longer session time-outs are refused. A longer one takes longer
    /// to notice a dead member.
    pub max_session_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for further members before
    /// its first rebalance. Longer means fewer rebalances at start, and a later first record.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: members of one group.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`: length of the metadata of one committed offset, counted in UTF-16
    /// units as Kafka counts it.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`: age at which the offsets of an empty group are dropped.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`: how often that is checked.
    pub retention_check_interval: Duration,
    /// `offsets.commit.timeout.ms`: how long a request waits for the store.
    pub commit_timeout: Duration,
    /// How long a member that just joined may take until it is heard of again; Kafka has it fixed at
    /// five minutes. A joining client cannot send heartbeats, so the session time-out cannot apply.
    pub new_member_join_timeout: Duration,
    /// Groups held in memory by one shard of the coordinator. A bound on what clients that invent group
    /// ids can make us keep; Kafka has none.
    pub groups_per_shard_max: usize,
    /// Members of one group that were given a member id and have not used it yet, for the same reason.
    pub pending_members_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            max_size: i32::MAX as usize,
            offset_metadata_max: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            retention_check_interval: Duration::from_secs(10 * 60),
            commit_timeout: Duration::from_secs(5),
            new_member_join_timeout: Duration::from_secs(5 * 60),
            groups_per_shard_max: 100_000,
            pending_members_max: 10_000,
        }
    }
}
