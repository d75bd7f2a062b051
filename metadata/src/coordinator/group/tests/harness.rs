//! A registry with a clock that the test moves and a store that answers when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use bytes::Bytes;
use uuid::Uuid;

use super::super::*;
use crate::coordinator::group::subscription::encode_for_test;

pub const SESSION: Duration = Duration::from_secs(10);
pub const REBALANCE: Duration = Duration::from_secs(60);
pub const DELAY: Duration = Duration::from_secs(3);

pub struct Harness {
    pub registry: GroupRegistry,
    pub now: Now,
    pub replies: BTreeMap<WaiterId, Reply>,
    pub writes: VecDeque<Write>,
    /// Outcome of every write as soon as it is asked for; `None` leaves them in `writes`.
    pub store: Option<WriteOutcome>,
    waiters: u64,
    ids: u64,
}

impl Harness {
    pub fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    pub fn with(config: GroupConfig) -> Self {
        Self {
            registry: GroupRegistry::new(config),
            now: Now {
                monotonic: Duration::ZERO,
                wall_ms: 1_000_000,
            },
            replies: BTreeMap::new(),
            writes: VecDeque::new(),
            store: Some(WriteOutcome::Applied),
            waiters: 0,
            ids: 0,
        }
    }

    pub fn waiter(&mut self) -> WaiterId {
        self.waiters += 1;
        WaiterId(self.waiters)
    }

    pub fn take(&mut self, effects: Effects) {
        for (waiter, reply) in effects.replies {
            let before = self.replies.insert(waiter, reply);
            assert_eq!(before, None, "{waiter:?} answered twice");
        }
        self.writes.extend(effects.writes);
        while let (Some(outcome), Some(write)) = (self.store, self.writes.front().cloned()) {
            self.writes.pop_front();
            let effects = self
                .registry
                .on_write(&write.group_id, write.token, outcome, self.now);
            self.take(effects);
        }
    }

    /// Ends the oldest write.
    pub fn end_write(&mut self, outcome: WriteOutcome) {
        let write = self.writes.pop_front().expect("a write is under way");
        let effects = self
            .registry
            .on_write(&write.group_id, write.token, outcome, self.now);
        self.take(effects);
    }

    /// Moves the time, stopping at every deadline on the way.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.monotonic + by;
        while let Some(at) = self.registry.next_deadline().filter(|at| *at <= end) {
            self.set_time(at.max(self.now.monotonic));
            let effects = self.registry.on_time(self.now);
            self.take(effects);
        }
        self.set_time(end);
    }

    fn set_time(&mut self, at: Duration) {
        self.now.wall_ms += (at - self.now.monotonic).as_millis() as i64;
        self.now.monotonic = at;
    }

    pub fn join(&mut self, request: JoinRequest) -> WaiterId {
        let waiter = self.waiter();
        self.ids += 1;
        let name = match &request.instance_id {
            Some(instance) => instance.to_string(),
            None => request.client_id.clone(),
        };
        let fresh = MemberId::new(&format!("{name}-{}", self.ids));
        let effects = self.registry.join(&request, fresh, waiter, self.now);
        self.take(effects);
        waiter
    }

    pub fn sync(&mut self, request: SyncRequest) -> WaiterId {
        let waiter = self.waiter();
        let effects = self.registry.sync(request, waiter, self.now);
        self.take(effects);
        waiter
    }

    pub fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation,
            member_id: member.into(),
            instance_id: None,
        };
        self.registry.heartbeat(&request, self.now)
    }

    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> WaiterId {
        let waiter = self.waiter();
        let members = members.iter().map(|(member, instance)| LeavingMember {
            member_id: (*member).into(),
            instance_id: instance.map(InstanceId::new),
            reason: None,
        });
        let request = LeaveRequest {
            group_id: "g".into(),
            members: members.collect(),
        };
        let effects = self.registry.leave(&request, waiter, self.now);
        self.take(effects);
        waiter
    }

    pub fn commit(&mut self, request: CommitRequest) -> WaiterId {
        let waiter = self.waiter();
        let effects = self.registry.commit(request, waiter, self.now);
        self.take(effects);
        waiter
    }

    pub fn reply(&self, waiter: WaiterId) -> Option<&Reply> {
        self.replies.get(&waiter)
    }

    pub fn joined(&self, waiter: WaiterId) -> &JoinResult {
        match self.reply(waiter) {
            Some(Reply::Join(result)) => result,
            other => panic!("no JoinGroup answer: {other:?}"),
        }
    }

    pub fn join_ok(&self, waiter: WaiterId) -> &Joined {
        self.joined(waiter).as_ref().expect("joined")
    }

    pub fn join_error(&self, waiter: WaiterId) -> (GroupError, &str) {
        let failure = self.joined(waiter).as_ref().expect_err("refused");
        (failure.error, failure.member_id.as_str())
    }

    pub fn synced(&self, waiter: WaiterId) -> Result<Bytes, GroupError> {
        match self.reply(waiter) {
            Some(Reply::Sync(Ok(synced))) => Ok(synced.assignment.clone()),
            Some(Reply::Sync(Err(error))) => Err(*error),
            other => panic!("no SyncGroup answer: {other:?}"),
        }
    }

    pub fn left(&self, waiter: WaiterId) -> LeaveResult {
        match self.reply(waiter) {
            Some(Reply::Leave(result)) => result.clone(),
            other => panic!("no LeaveGroup answer: {other:?}"),
        }
    }

    pub fn committed(&self, waiter: WaiterId) -> PartitionsResult {
        match self.reply(waiter) {
            Some(Reply::Commit(result)) => result.clone(),
            other => panic!("no OffsetCommit answer: {other:?}"),
        }
    }

    pub fn state(&self) -> GroupState {
        self.describe().state
    }

    pub fn describe(&self) -> GroupDescription {
        self.registry.describe(&"g".into()).expect("group exists")
    }

    /// Joins as a new member of a version before 4, and waits out the initial delay where `first`.
    pub fn add_member(&mut self, client: &str) -> WaiterId {
        self.join(join(client))
    }

    /// A stable group of `clients`; returns their member ids, the leader's first.
    pub fn stable_group(&mut self, clients: &[&str]) -> Vec<String> {
        let waiters: Vec<_> = clients.iter().map(|c| self.add_member(c)).collect();
        self.advance(DELAY * (clients.len() as u32 + 1));
        let mut ids: Vec<String> = waiters
            .iter()
            .map(|waiter| self.join_ok(*waiter).member_id.to_string())
            .collect();
        let first = self.join_ok(waiters[0]).clone();
        let leader = first.leader.to_string();
        ids.sort_by_key(|id| *id != leader);
        self.sync_all(&ids, first.generation);
        assert_eq!(self.state(), GroupState::Stable);
        ids
    }

    /// SyncGroup of all members, the leader's last; each is assigned its own id.
    pub fn sync_all(&mut self, leader_first: &[String], generation: i32) -> Vec<WaiterId> {
        let mut waiters = Vec::new();
        for id in leader_first.iter().skip(1) {
            waiters.push(self.sync(sync(id, generation)));
        }
        let request = SyncRequest {
            assignments: assign_own_ids(leader_first),
            ..sync(&leader_first[0], generation)
        };
        waiters.insert(0, self.sync(request));
        waiters
    }
}

pub fn assign_own_ids(ids: &[String]) -> Vec<(MemberId, Bytes)> {
    let own = |id: &String| (MemberId::new(id), Bytes::from(id.clone()));
    ids.iter().map(own).collect()
}

/// A JoinGroup of a consumer subscribed to topic `t`, of a version before 4.
pub fn join(client: &str) -> JoinRequest {
    JoinRequest {
        group_id: "g".into(),
        member_id: MemberId::default(),
        instance_id: None,
        client_id: client.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", &["t"])],
        require_known_member_id: false,
        supports_skip_assignment: false,
        reason: None,
    }
}

pub fn rejoin(member: &str) -> JoinRequest {
    JoinRequest {
        member_id: member.into(),
        ..join("c")
    }
}

pub fn protocol(name: &str, topics: &[&str]) -> Protocol {
    Protocol {
        name: name.to_owned(),
        metadata: encode_for_test(topics),
    }
}

pub fn sync(member: &str, generation: i32) -> SyncRequest {
    SyncRequest {
        group_id: "g".into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignments: Vec::new(),
    }
}

pub fn partition(topic: u128, index: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(topic)), PartitionIndex(index))
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("valid name")
}

/// An OffsetCommit of `offset` for partition 0 of topic `t`, whose id is 1.
pub fn commit(member: &str, generation: Option<i32>, offset: i64) -> CommitRequest {
    CommitRequest {
        group_id: "g".into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        retention: None,
        offsets: vec![to_commit("t", partition(1, 0), offset)],
    }
}

pub fn to_commit(name: &str, partition: TopicPartition, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic(name),
        partition,
        offset: Offset::new(offset),
        leader_epoch: None,
        metadata: "m".to_owned(),
    }
}
