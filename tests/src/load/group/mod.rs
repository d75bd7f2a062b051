//! Members of a consumer group, by the classic protocol.
//!
//! A member joins, reads its partitions from the committed offsets on, commits, and leaves after a while to join again as
//! somebody else. When it has seen a new generation it commits once more under the one before, which must be refused.

mod offsets;
mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_protocol::ErrorCode;
use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::{HeartbeatRequest, JoinGroupResponse, LeaveGroupRequest};
use tokio::time::sleep;

use self::requests::{Call, JOIN_VERSION, assignment, join_request, shares, sync_request};
use super::caller::Caller;
use super::reader::{Fetched, fetch, read};
use super::router::{Broker, Found};
use super::{RETRY_AFTER, Shared};
use crate::client::Topic;
use crate::history::{Assignment, Read};

/// Pause between two rounds of reading, committing and telling the coordinator that it is there.
const ROUND: Duration = Duration::from_millis(100);
/// Rounds before a member leaves.
const ROUNDS_OF_A_LIFE: std::ops::Range<u64> = 20..80;
const HEARTBEAT_VERSION: i16 = 3;
const LEAVE_VERSION: i16 = 2;

pub(super) struct Member {
    group: String,
    number: usize,
    topic: Topic,
    partitions: i32,
    shared: Shared,
    caller: Caller,
    random: Arc<SeededRandom>,
    coordinator: Option<Broker>,
    /// As the coordinator named it; empty before it has.
    id: StrBytes,
    /// The generation it was in last.
    generation: Option<i32>,
    /// What it owns, with the offset to be read next.
    owned: BTreeMap<i32, i64>,
}

/// The member has to begin again: find the coordinator, or join.
struct Again;

impl Member {
    pub(super) fn new(
        group: usize,
        number: usize,
        topic: Topic,
        partitions: i32,
        seed: u64,
        shared: Shared,
    ) -> Self {
        Self {
            group: format!("readers-{group}"),
            number,
            caller: shared.caller(),
            topic,
            partitions,
            shared,
            random: SeededRandom::new(seed * 100 + number as u64),
            coordinator: None,
            id: StrBytes::default(),
            generation: None,
            owned: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while !self.shared.is_stopping() {
            // Whatever went wrong, it begins again; only who it is may last.
            let _again = self.life().await;
            self.owned.clear();
            sleep(RETRY_AFTER).await;
        }
    }

    /// Joins, and works until something makes it join again.
    async fn life(&mut self) -> Result<(), Again> {
        let began = self.shared.recorder.tick();
        let joined = self.join().await?;
        let generation = joined.generation_id;
        let known_at = self.shared.recorder.tick();
        let before = self.generation.replace(generation);
        let indexes = self.sync(&joined).await?;
        self.shared.recorder.assigned(Assignment {
            group: self.group.clone(),
            generation,
            member: self.id.to_string(),
            partitions: indexes
                .iter()
                .map(|index| self.topic.partition(*index))
                .collect(),
            began,
            joined: known_at,
        });
        for index in &indexes {
            let from = self.committed(*index).await?.unwrap_or(0);
            self.owned.insert(*index, from);
        }
        if let Some(before) = before.filter(|before| *before < generation) {
            self.commit_as_before(before).await;
        }
        let width = ROUNDS_OF_A_LIFE.end - ROUNDS_OF_A_LIFE.start;
        let rounds = ROUNDS_OF_A_LIFE.start + self.random.below(width);
        for _ in 0..rounds {
            if self.shared.is_stopping() {
                break;
            }
            self.round(generation).await?;
        }
        self.leave().await;
        Ok(())
    }

    /// Reads and commits each partition, and tells the coordinator that it is there.
    async fn round(&mut self, generation: i32) -> Result<(), Again> {
        let indexes: Vec<_> = self.owned.keys().copied().collect();
        for index in indexes {
            if self.advance(generation, index).await {
                let next = self.owned[&index];
                self.commit(generation, index, next).await?;
            }
        }
        let request = HeartbeatRequest {
            group_id: StrBytes::copy_of(&self.group),
            generation_id: generation,
            member_id: self.id.clone(),
            group_instance_id: None,
        };
        let answer = self.ask(&request, HEARTBEAT_VERSION).await?;
        self.check(answer.error_code)?;
        sleep(ROUND).await;
        Ok(())
    }

    /// Reads on in one partition. Whether there was something.
    async fn advance(&mut self, generation: i32, index: i32) -> bool {
        let partition = self.topic.partition(index);
        let Found::Leader(leader) = self.shared.router.leader(partition).await else {
            return false;
        };
        let from = self.owned[&index];
        let began = self.shared.recorder.tick();
        let fetched = fetch(&mut self.caller, &leader, &self.topic, index, from, 0).await;
        let Fetched::Answer(answer) = fetched else {
            self.shared.router.forget(partition, leader.id);
            return false;
        };
        if answer.code.is_error() {
            return false;
        }
        let name = format!("member {} of generation {generation}", self.number);
        let read = read(&name, &leader, &self.topic, index, began, from, &answer);
        let ended = self.shared.recorder.tick();
        let last = read.records.last().map(|(offset, _)| offset + 1);
        self.shared.recorder.read(Read { ended, ..read });
        match last {
            Some(next) => self.owned.insert(index, next) != Some(next),
            None => false,
        }
    }

    async fn join(&mut self) -> Result<JoinGroupResponse, Again> {
        for _ in 0..2 {
            let request = join_request(&self.group, &self.id);
            let answer = self.ask(&request, JOIN_VERSION).await?;
            match ErrorCode::from(answer.error_code) {
                ErrorCode::None => {
                    self.id = answer.member_id.clone();
                    return Ok(answer);
                }
                ErrorCode::MemberIdRequired => self.id = answer.member_id,
                _ => self.check(answer.error_code)?,
            }
        }
        Err(Again)
    }

    /// What it owns. The leader of the group gives each member its share first.
    async fn sync(&mut self, joined: &JoinGroupResponse) -> Result<Vec<i32>, Again> {
        let shares = match joined.leader == self.id {
            true => shares(&joined.members, self.partitions),
            false => Vec::new(),
        };
        let request = sync_request(&self.group, joined.generation_id, &self.id, shares);
        let answer = self.ask(&request, requests::SYNC_VERSION).await?;
        self.check(answer.error_code)?;
        Ok(assignment(&answer.assignment))
    }

    async fn leave(&mut self) {
        let request = LeaveGroupRequest {
            group_id: StrBytes::copy_of(&self.group),
            member_id: self.id.clone(),
            members: Vec::new(),
        };
        // Who is not heard leaves by silence.
        let _silent = self.ask(&request, LEAVE_VERSION).await;
        self.id = StrBytes::default();
    }

    /// What an error asks of the member.
    fn check(&mut self, code: i16) -> Result<(), Again> {
        match ErrorCode::from(code) {
            ErrorCode::None => return Ok(()),
            ErrorCode::UnknownMemberId => self.id = StrBytes::default(),
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {}
            _ => self.coordinator = None,
        }
        Err(Again)
    }

    /// Asks the coordinator, which is looked for first if it is not known.
    async fn ask<R: Call>(&mut self, request: &R, version: i16) -> Result<R::Response, Again> {
        if self.coordinator.is_none() {
            self.coordinator = requests::coordinator(&mut self.caller, &self.group).await;
        }
        let coordinator = self.coordinator.clone().ok_or(Again)?;
        match self.caller.call(&coordinator, request, version).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.coordinator = None;
                Err(Again)
            }
        }
    }
}
