//! Requests that belong to the leaders of partitions.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_protocol::messages::ListOffsetsRequest;
use alluvium_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use alluvium_protocol::{ErrorCode, Request, StrBytes};

use super::ClientError;
use super::cluster::{Call, Cluster, pass};
use super::retries::{Retries, passes, refused};

/// Asks for the first offset still readable.
pub const EARLIEST: i64 = -2;
/// Asks for the end of the log.
pub const LATEST: i64 = -1;

/// Partitions by their leaders, and those without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaders {
    /// By the leader's number.
    pub by_leader: BTreeMap<i32, Vec<i32>>,
    /// Led by nobody now.
    pub leaderless: Vec<i32>,
}

/// The answer of a leader for one partition.
#[derive(Debug, Clone)]
pub struct PartitionAnswer<T> {
    /// The partition.
    pub partition: i32,
    /// Kafka's code.
    pub code: ErrorCode,
    /// For people.
    pub message: Option<StrBytes>,
    /// What was asked for, if there was no error.
    pub value: T,
}

impl Cluster {
    /// Who leads `partitions` of the topic now.
    ///
    /// # Errors
    /// The topic does not exist, or no broker answers in time.
    pub async fn leaders(
        &mut self,
        topic: &str,
        partitions: &BTreeSet<i32>,
    ) -> Result<Leaders, ClientError> {
        let described = self.topic(topic, false).await?;
        let mut leaders = Leaders::default();
        for partition in partitions {
            let told = described.partitions.iter();
            let leader = told
                .filter(|told| told.partition_index == *partition)
                .map(|told| told.leader_id)
                .find(|leader| *leader >= 0);
            match leader {
                Some(leader) => leaders
                    .by_leader
                    .entry(leader)
                    .or_default()
                    .push(*partition),
                None => leaders.leaderless.push(*partition),
            }
        }
        Ok(leaders)
    }

    /// Asks the leaders of `partitions`, wherever they move, until each has answered for its own. `build` makes the
    /// request for some of them, `read` takes an answer apart. Must be something that may be done twice.
    ///
    /// # Errors
    /// An answer that does not pass, or not in time.
    pub async fn ask_leaders<R: Request, T>(
        &mut self,
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
        build: impl Fn(&[i32]) -> Result<Call<R>, ClientError>,
        read: impl Fn(R::Response) -> Vec<PartitionAnswer<T>>,
    ) -> Result<BTreeMap<i32, T>, ClientError> {
        let mut waiting: BTreeSet<i32> = partitions.into_iter().collect();
        let mut answers = BTreeMap::new();
        let mut retries = Retries::default();
        loop {
            let leaders = self.leaders(topic, &waiting).await?;
            let mut failed = leaders.leaderless.first().map(|partition| {
                let what = format!("{topic}-{partition} has no leader");
                ClientError::NoLeader { what }
            });
            let mut calls = Vec::with_capacity(leaders.by_leader.len());
            for (leader, led) in &leaders.by_leader {
                calls.push((*leader, build(led)?));
            }
            for (_, answered) in self.call_each(calls).await {
                match answered {
                    Err(error) if passes(&error) => failed = Some(error),
                    Err(error) => return Err(error),
                    Ok(response) => {
                        for answer in read(response) {
                            match refusal(topic, &answer) {
                                None => {
                                    waiting.remove(&answer.partition);
                                    answers.insert(answer.partition, answer.value);
                                }
                                Some(error) if passes(&error) => failed = Some(error),
                                Some(error) => return Err(error),
                            }
                        }
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(answers);
            }
            let failed = failed.unwrap_or_else(|| {
                ClientError::BadAnswer(format!("partitions of {topic} are missing in the answer"))
            });
            pass(&mut retries, failed).await?;
        }
    }

    /// The offset of each of `partitions` for `timestamp`: [`EARLIEST`], [`LATEST`] or milliseconds.
    ///
    /// # Errors
    /// Not all leaders answer in time.
    pub async fn offsets(
        &mut self,
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
        timestamp: i64,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let build = |partitions: &[i32]| {
            let wanted = partitions.iter().map(|partition| ListOffsetsPartition {
                partition_index: *partition,
                timestamp,
                ..ListOffsetsPartition::default()
            });
            let topics = vec![ListOffsetsTopic {
                name: StrBytes::copy_of(topic),
                partitions: wanted.collect(),
            }];
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics,
                ..ListOffsetsRequest::default()
            };
            Ok(Call {
                request,
                version: None,
            })
        };
        self.ask_leaders(topic, partitions, build, |response| {
            let topics = response.topics.into_iter();
            topics
                .flat_map(|topic| topic.partitions)
                .map(|answer| PartitionAnswer {
                    partition: answer.partition_index,
                    code: ErrorCode::from(answer.error_code),
                    message: None,
                    value: answer.offset,
                })
                .collect()
        })
        .await
    }
}

/// The broker's own message says more than the code.
fn refusal<T>(topic: &str, answer: &PartitionAnswer<T>) -> Option<ClientError> {
    let partition = answer.partition;
    let what = match &answer.message {
        Some(message) if !message.is_empty() => format!("{topic}-{partition}: {message}"),
        _ => format!("{topic}-{partition}"),
    };
    refused(answer.code, what)
}
