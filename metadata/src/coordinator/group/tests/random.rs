//! Random events against what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::*;
use super::harness::*;

/// What a client of the model does next; `client` picks one of a few.
#[derive(Debug, Clone)]
enum Step {
    Join {
        client: usize,
        forget_id: bool,
        topics: usize,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Commit {
        client: usize,
        offset: i64,
    },
    DeleteGroup,
    EndWrite {
        applied: bool,
    },
    SlowWrite,
    Pass {
        millis: u64,
    },
    Reload,
}

const CLIENTS: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        6 => (client.clone(), any::<bool>(), 1..3usize).prop_map(|(client, forget, topics)| {
            Step::Join { client, forget_id: forget && client == 0, topics }
        }),
        6 => client.clone().prop_map(|client| Step::Sync { client }),
        3 => client.clone().prop_map(|client| Step::Heartbeat { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        3 => (client, 0..100i64).prop_map(|(client, offset)| Step::Commit { client, offset }),
        1 => Just(Step::DeleteGroup),
        8 => prop_oneof![9 => Just(true), 1 => Just(false)]
            .prop_map(|applied| Step::EndWrite { applied }),
        1 => Just(Step::SlowWrite),
        4 => (1..12_000u64).prop_map(|millis| Step::Pass { millis }),
        1 => Just(Step::Reload),
    ]
}

#[derive(Default)]
struct Client {
    member_id: String,
    generation: i32,
    join: Option<WaiterId>,
}

/// Runs the steps and checks after each.
struct Model {
    h: Harness,
    clients: Vec<Client>,
    asked: BTreeSet<WaiterId>,
    answered_before_reload: BTreeSet<WaiterId>,
    /// What the store holds, by the writes that were applied.
    stored_group: Option<GroupRecord>,
    stored_offset: Option<OffsetRecord>,
    /// By generation, the SyncGroup whose assignment was handed out.
    handed_out: BTreeMap<String, String>,
    /// SyncGroup answers that are in `handed_out` already.
    seen: BTreeSet<WaiterId>,
    syncs: u64,
}

impl Model {
    fn new() -> Self {
        let mut h = Harness::new();
        h.store = None;
        Self {
            h,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            asked: BTreeSet::new(),
            answered_before_reload: BTreeSet::new(),
            stored_group: None,
            stored_offset: None,
            handed_out: BTreeMap::new(),
            seen: BTreeSet::new(),
            syncs: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Join {
                client,
                forget_id,
                topics,
            } => self.join(client, forget_id, topics),
            Step::Sync { client } => self.sync(client),
            Step::Heartbeat { client } => {
                let c = &self.clients[client];
                let (id, generation) = (c.member_id.clone(), c.generation);
                let _ = self.h.heartbeat(&id, generation);
            }
            Step::Leave { client } => {
                let id = self.clients[client].member_id.clone();
                let waiter = self.h.leave(&[(&id, None)]);
                self.asked.insert(waiter);
            }
            Step::Commit { client, offset } => {
                let c = &self.clients[client];
                let request = commit(&c.member_id, Some(c.generation), offset);
                let waiter = self.h.commit(request);
                self.asked.insert(waiter);
            }
            Step::DeleteGroup => {
                let waiter = self.h.waiter();
                let effects = self
                    .h
                    .registry
                    .delete_group(&"g".into(), waiter, self.h.now);
                self.h.take(effects);
                self.asked.insert(waiter);
            }
            Step::EndWrite { applied } => self.end_write(applied),
            Step::SlowWrite => {
                if let Some(write) = self.h.writes.front().cloned() {
                    let now = self.h.now;
                    let effects = self
                        .h
                        .registry
                        .on_slow_write(&write.group_id, write.token, now);
                    self.h.take(effects);
                }
            }
            Step::Pass { millis } => self.h.advance(Duration::from_millis(millis)),
            Step::Reload => self.reload(),
        }
        self.learn();
    }

    fn join(&mut self, client: usize, forget_id: bool, topics: usize) {
        let c = &mut self.clients[client];
        if forget_id {
            c.member_id.clear();
        }
        // Client 0 is static.
        let instance_id = (client == 0).then(|| InstanceId::new("i"));
        let request = JoinRequest {
            member_id: c.member_id.as_str().into(),
            instance_id,
            require_known_member_id: client % 2 == 1,
            supports_skip_assignment: true,
            protocols: vec![protocol("range", &["t", "u"][..topics])],
            ..join("c")
        };
        let waiter = self.h.join(request);
        self.clients[client].join = Some(waiter);
        self.asked.insert(waiter);
    }

    fn sync(&mut self, client: usize) {
        let c = &self.clients[client];
        let members = match self.h.registry.describe(&"g".into()) {
            Ok(group) => group.members,
            Err(_) => Vec::new(),
        };
        self.syncs += 1;
        let text = Bytes::from(format!("{}:{}", c.generation, self.syncs));
        let assignments = members.into_iter().map(|m| (m.member_id, text.clone()));
        let request = SyncRequest {
            assignments: assignments.collect(),
            instance_id: (client == 0).then(|| InstanceId::new("i")),
            ..sync(&c.member_id, c.generation)
        };
        let waiter = self.h.sync(request);
        self.asked.insert(waiter);
    }

    fn end_write(&mut self, applied: bool) {
        let Some(write) = self.h.writes.front().cloned() else {
            return;
        };
        if !applied {
            return self
                .h
                .end_write(WriteOutcome::Failed(GroupError::CoordinatorNotAvailable));
        }
        for op in write.ops {
            match op {
                WriteOp::PutGroup(record) => self.stored_group = Some(record),
                WriteOp::DeleteGroup => {
                    // A group made anew counts its generations anew.
                    self.stored_group = None;
                    self.handed_out.clear();
                }
                WriteOp::PutOffset(_, offset) => self.stored_offset = Some(offset),
                WriteOp::DeleteOffset(_) => self.stored_offset = None,
            }
        }
        self.h.end_write(WriteOutcome::Applied);
    }

    /// The coordinator dies: its waiters lose their connection, and the store is what it was.
    fn reload(&mut self) {
        let config = GroupConfig::default();
        self.answered_before_reload
            .extend(self.asked.iter().copied());
        self.h.registry = GroupRegistry::new(config);
        self.h.writes.clear();
        let now = self.h.now;
        if let Some(offset) = self.stored_offset.clone() {
            let registry = &mut self.h.registry;
            registry.load_offset("g".into(), partition(1, 0), offset, now.wall_ms);
        }
        if let Some(record) = self.stored_group.clone() {
            let effects = self.h.registry.load_group("g".into(), record, now);
            self.h.take(effects);
        }
    }

    /// Clients take in their answers; what must hold is checked on the way.
    fn learn(&mut self) {
        for client in &mut self.clients {
            let Some(Reply::Join(result)) = client.join.and_then(|w| self.h.replies.get(&w)) else {
                continue;
            };
            client.join = None;
            match result {
                Ok(joined) => {
                    client.member_id = joined.member_id.to_string();
                    client.generation = joined.generation;
                }
                Err(failure) if failure.error == GroupError::MemberIdRequired => {
                    client.member_id = failure.member_id.to_string();
                }
                Err(failure) if failure.error == GroupError::UnknownMemberId => {
                    client.member_id.clear();
                }
                Err(_) => {}
            }
        }
        self.check_assignments();
    }

    /// All that was handed out in a generation comes from one SyncGroup of its leader (I14).
    fn check_assignments(&mut self) {
        for (waiter, reply) in &self.h.replies {
            let Reply::Sync(Ok(synced)) = reply else {
                continue;
            };
            if synced.assignment.is_empty() || !self.seen.insert(*waiter) {
                continue;
            }
            let text = String::from_utf8_lossy(&synced.assignment).into_owned();
            let (generation, attempt) = text.split_once(':').expect("as assigned");
            let first = self
                .handed_out
                .entry(generation.to_owned())
                .or_insert_with(|| attempt.to_owned());
            assert_eq!(first, attempt, "generation {generation} was assigned twice");
        }
    }

    fn check(&self) {
        let Ok(group) = self.h.registry.describe(&"g".into()) else {
            return;
        };
        let asked: BTreeSet<_> = self.asked.iter().collect();
        for waiter in self.h.replies.keys() {
            assert!(asked.contains(waiter), "{waiter:?} never asked");
        }
        // What is committed is what the store holds: never ahead of it, never behind (I14).
        let fetched = self
            .h
            .registry
            .fetch_offsets(&"g".into(), Some(&[partition(1, 0)]));
        if group.state != GroupState::Dead {
            assert_eq!(fetched.partitions[0].1, self.stored_offset);
        }
        // A stable group is exactly the stored one: assignments are stored before they are handed out.
        if group.state == GroupState::Stable && self.h.writes.is_empty() {
            let record = self.stored_group.as_ref().expect("stable means stored");
            let stored: BTreeMap<_, _> = record
                .members
                .iter()
                .map(|m| (m.member_id.clone(), m.assignment.clone()))
                .collect();
            for member in &group.members {
                assert_eq!(stored.get(&member.member_id), Some(&member.assignment));
            }
        }
    }

    /// When the store answers and every session and rebalance has run out, nobody waits any more.
    fn finish(mut self) {
        for _ in 0..3 {
            while !self.h.writes.is_empty() {
                self.end_write(true);
            }
            self.h.advance(Duration::from_secs(2000));
        }
        while !self.h.writes.is_empty() {
            self.end_write(true);
        }
        for waiter in self.asked.difference(&self.answered_before_reload) {
            assert!(
                self.h.replies.contains_key(waiter),
                "{waiter:?} was forgotten"
            );
        }
        if let Ok(group) = self.h.registry.describe(&"g".into()) {
            assert_eq!((group.state, group.members.len()), (GroupState::Empty, 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_must_hold_holds(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.run(step);
            model.check();
        }
        model.finish();
    }
}
