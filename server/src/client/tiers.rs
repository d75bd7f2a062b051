//! How far the records of topics have come: from the write-ahead log into segments, from segments into table files. Leaders
//! tell by DescribeLogDirs, and are asked by AlterReplicaLogDirs to publish now.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use alluvium_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use alluvium_protocol::messages::{
    AlterReplicaLogDirsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse, MetadataResponse,
};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::cluster::{Call, Cluster, pass};
use super::retries::{Retries, passes, refused};
use super::{ClientError, check};

/// How the dir of segments ends.
const SEGMENTS: &str = "/segments";
/// How the dir of table files ends.
const TABLES: &str = "/tables";

/// Where the records of one partition are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionTiers {
    /// Bytes that only its leader's disk has.
    pub disk_bytes: u64,
    /// Bytes in segments.
    pub segment_bytes: u64,
    /// Bytes in table files.
    pub table_bytes: u64,
    /// Records that are not in object storage.
    pub unuploaded: i64,
    /// Records below the high watermark that are not in table files.
    pub unpublished: i64,
}

/// Where the records of one topic are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicTiers {
    /// Its partitions, as their leaders told of them.
    pub partitions: BTreeMap<i32, PartitionTiers>,
    /// Which partitions each leader has.
    pub leaders: BTreeMap<i32, BTreeSet<i32>>,
    /// Partitions that are led by nobody now.
    pub leaderless: Vec<i32>,
}

/// Where the records of topics are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tiers {
    /// By topic.
    pub topics: BTreeMap<String, TopicTiers>,
    /// What each of the leaders calls the place of its table files.
    pub tables: BTreeMap<i32, String>,
}

/// What one leader is asked to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The leader.
    pub broker: i32,
    /// What it calls the place of its table files.
    pub tables: String,
    /// The partitions.
    pub partitions: BTreeSet<i32>,
}

impl Cluster {
    /// Where the records of all topics, or of the named ones, are.
    ///
    /// # Errors
    /// A topic does not exist, or not all leaders answer in time.
    pub async fn tiers(&mut self, topics: Option<&[&str]>) -> Result<Tiers, ClientError> {
        let mut retries = Retries::default();
        loop {
            let told = self.metadata(topics, false).await?;
            let mut tiers = match Tiers::led(&told) {
                Ok(tiers) => tiers,
                // Who misspelt a name should not have to wait.
                Err(error) if is_unknown_topic(&error) => return Err(error),
                Err(error) => {
                    pass(&mut retries, error).await?;
                    continue;
                }
            };
            let mut failed = None;
            for (broker, answered) in self.call_each(tiers.calls()).await {
                match answered.and_then(|response| tiers.take(broker, response)) {
                    Ok(()) => {}
                    Err(error) if passes(&error) => failed = Some(error),
                    Err(error) => return Err(error),
                }
            }
            match failed.or_else(|| tiers.missing()) {
                None => return Ok(tiers),
                Some(failed) => pass(&mut retries, failed).await?,
            }
        }
    }

    /// Asks the leaders of a topic to publish it now, and says whom for what. They agree at once; how far it is then,
    /// [`Self::tiers`] tells.
    ///
    /// # Errors
    /// The topic does not exist, is led by nobody, or not all leaders agree in time.
    pub async fn publish(&mut self, topic: &str) -> Result<Vec<Asked>, ClientError> {
        let mut agreed: BTreeSet<i32> = BTreeSet::new();
        let mut all = Vec::new();
        let mut retries = Retries::default();
        loop {
            let asked = self.tiers(Some(&[topic])).await?.to_ask(topic, &agreed);
            let mut failed = None;
            let call = |asked: &Asked| (asked.broker, asked.call(topic));
            for (broker, answered) in self.call_each(asked.iter().map(call).collect()).await {
                let response = match answered {
                    Ok(response) => response,
                    Err(error) if passes(&error) => {
                        failed = Some(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let mut partitions = BTreeSet::new();
                for told in response.results.iter().flat_map(|told| &told.partitions) {
                    let index = told.partition_index;
                    match refused(ErrorCode::from(told.error_code), format!("{topic}-{index}")) {
                        None => _ = partitions.insert(index),
                        Some(error) if passes(&error) => failed = Some(error),
                        Some(error) => return Err(error),
                    }
                }
                agreed.extend(&partitions);
                let asked = asked.iter().find(|asked| asked.broker == broker);
                all.extend(asked.filter(|_| !partitions.is_empty()).map(|asked| Asked {
                    partitions,
                    ..asked.clone()
                }));
            }
            // A topic is published as a whole, so what nobody leads now need not be waited for.
            if failed.is_none() && agreed.is_empty() {
                let what = format!("no partition of {topic} has a leader");
                failed = Some(ClientError::NoLeader { what });
            }
            match failed {
                None => return Ok(all),
                Some(failed) => pass(&mut retries, failed).await?,
            }
        }
    }
}

impl Asked {
    fn call(&self, topic: &str) -> Call<AlterReplicaLogDirsRequest> {
        let dir = AlterReplicaLogDir {
            path: self.tables.clone().into(),
            topics: vec![AlterReplicaLogDirTopic {
                name: StrBytes::copy_of(topic),
                partitions: self.partitions.iter().copied().collect(),
            }],
        };
        Call {
            request: AlterReplicaLogDirsRequest { dirs: vec![dir] },
            version: None,
        }
    }
}

impl Tiers {
    /// Who leads what, and nothing known of the tiers yet.
    fn led(told: &MetadataResponse) -> Result<Self, ClientError> {
        let mut tiers = Self::default();
        for topic in &told.topics {
            let name = topic.name.as_deref().unwrap_or_default();
            check(topic.error_code, &format!("topic {name:?}"))?;
            let led = tiers.topics.entry(name.to_owned()).or_default();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                match partition.leader_id {
                    leader @ 0.. => _ = led.leaders.entry(leader).or_default().insert(index),
                    _ => led.leaderless.push(index),
                }
            }
            led.leaderless.sort_unstable();
        }
        Ok(tiers)
    }

    /// Each leader is asked for what it leads: others cannot tell.
    fn calls(&self) -> Vec<(i32, Call<DescribeLogDirsRequest>)> {
        let mut wanted: BTreeMap<i32, Vec<DescribableLogDirTopic>> = BTreeMap::new();
        for (name, topic) in &self.topics {
            for (leader, partitions) in &topic.leaders {
                let topic = DescribableLogDirTopic {
                    topic: StrBytes::copy_of(name),
                    partitions: partitions.iter().copied().collect(),
                };
                wanted.entry(*leader).or_default().push(topic);
            }
        }
        let call = |(leader, topics)| {
            let request = DescribeLogDirsRequest {
                topics: Some(topics),
            };
            let version = None;
            (leader, Call { request, version })
        };
        wanted.into_iter().map(call).collect()
    }

    /// What the leader `broker` said.
    fn take(&mut self, broker: i32, response: DescribeLogDirsResponse) -> Result<(), ClientError> {
        let of_broker = || format!("log dirs of broker {broker}");
        check(response.error_code, &of_broker())?;
        let objects = objects_of(&response).ok_or_else(|| {
            let what =
                "shows no place for table files; it is older than this program, or not Alluvium";
            ClientError::BadAnswer(format!("broker {broker} {what}"))
        })?;
        let (segments, tables) = (format!("{objects}{SEGMENTS}"), format!("{objects}{TABLES}"));
        for dir in response.results {
            check(dir.error_code, &of_broker())?;
            let path = dir.log_dir.as_str();
            for topic in dir.topics {
                let Some(known) = self.topics.get_mut(topic.name.as_str()) else {
                    continue;
                };
                for told in topic.partitions {
                    let partition = known.partitions.entry(told.partition_index).or_default();
                    let bytes = u64::try_from(told.partition_size).unwrap_or_default();
                    if path == tables {
                        partition.table_bytes = bytes;
                        partition.unpublished = told.offset_lag;
                    } else if path == segments {
                        partition.segment_bytes = bytes;
                    } else {
                        partition.disk_bytes = bytes;
                        partition.unuploaded = told.offset_lag;
                    }
                }
            }
        }
        self.tables.insert(broker, tables);
        Ok(())
    }

    /// A partition that has a leader of which its leader said nothing: it is just moving.
    fn missing(&self) -> Option<ClientError> {
        self.topics.iter().find_map(|(name, topic)| {
            let mut led = topic.leaders.values().flatten();
            let index = led.find(|index| !topic.partitions.contains_key(index))?;
            let what = format!("{name}-{index} is not served by its leader yet");
            Some(ClientError::NoLeader { what })
        })
    }

    /// Whom to ask to publish the topic, for partitions of which nobody has agreed yet.
    fn to_ask(&self, topic: &str, agreed: &BTreeSet<i32>) -> Vec<Asked> {
        let leaders = self.topics.get(topic).into_iter().flat_map(|t| &t.leaders);
        let asked = leaders.filter_map(|(broker, led)| {
            let partitions: BTreeSet<_> = led.difference(agreed).copied().collect();
            let tables = self.tables.get(broker)?.clone();
            (!partitions.is_empty()).then_some(Asked {
                broker: *broker,
                tables,
                partitions,
            })
        });
        asked.collect()
    }
}

fn is_unknown_topic(error: &ClientError) -> bool {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    matches!(error, ClientError::Refused { code, .. } if *code == unknown)
}

/// What stands before the two dirs that only an object store with table files has. The names of other dirs may end
/// like one of them.
fn objects_of(response: &DescribeLogDirsResponse) -> Option<String> {
    let paths = || response.results.iter().map(|dir| dir.log_dir.as_str());
    let mut before = paths().filter_map(|path| path.strip_suffix(TABLES));
    let is_beside = |before: &str| paths().any(|path| path.strip_suffix(SEGMENTS) == Some(before));
    before.rfind(|before| is_beside(before)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    };
    use alluvium_protocol::messages::metadata_response::{
        MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::*;

    /// Leaders of the partitions of topic `t`.
    fn told(leaders: &[i32]) -> MetadataResponse {
        let partitions = (0..).zip(leaders);
        let partition = |(index, leader): (i32, &i32)| MetadataResponsePartition {
            partition_index: index,
            leader_id: *leader,
            ..MetadataResponsePartition::default()
        };
        MetadataResponse {
            topics: vec![MetadataResponseTopic {
                name: Some("t".into()),
                partitions: partitions.map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    /// Dirs, each with the size and lag of the partition of topic `t`.
    fn dirs(partition: i32, dirs: &[(&str, i64, i64)]) -> DescribeLogDirsResponse {
        let dir = |(path, partition_size, offset_lag): &(&str, i64, i64)| DescribeLogDirsResult {
            log_dir: StrBytes::copy_of(path),
            topics: vec![DescribeLogDirsTopic {
                name: "t".into(),
                partitions: vec![DescribeLogDirsPartition {
                    partition_index: partition,
                    partition_size: *partition_size,
                    offset_lag: *offset_lag,
                    is_future_key: false,
                }],
            }],
            ..DescribeLogDirsResult::default()
        };
        DescribeLogDirsResponse {
            results: dirs.iter().map(dir).collect(),
            ..DescribeLogDirsResponse::default()
        }
    }

    fn of(tiers: &Tiers, partition: i32) -> PartitionTiers {
        tiers.topics["t"].partitions[&partition]
    }

    #[test]
    fn each_leader_is_asked_for_its_own_and_nobody_for_what_is_not_led() {
        let tiers = Tiers::led(&told(&[1, 2, -1, 1])).expect("a topic");
        assert_eq!(tiers.topics["t"].leaderless, [2]);
        let asked: Vec<_> = tiers
            .calls()
            .into_iter()
            .map(|(broker, call)| (broker, call.request.topics.expect("named")))
            .map(|(broker, topics)| (broker, topics[0].partitions.clone()))
            .collect();
        assert_eq!(asked, [(1, vec![0, 3]), (2, vec![1])]);
    }

    #[test]
    fn dirs_are_told_apart_whatever_their_names() {
        for (data, objects) in [
            ("/d", "s3://bucket/a"),
            ("/x/tables", "/x/tables"),
            ("/x/segments", "/o"),
        ] {
            let mut tiers = Tiers::led(&told(&[1])).expect("a topic");
            let (segments, tables) = (format!("{objects}/segments"), format!("{objects}/tables"));
            let response = dirs(0, &[(data, 1, 2), (&segments, 3, 0), (&tables, 5, 6)]);
            tiers.take(1, response).expect("three tiers");
            let found = PartitionTiers {
                disk_bytes: 1,
                segment_bytes: 3,
                table_bytes: 5,
                unuploaded: 2,
                unpublished: 6,
            };
            assert_eq!(of(&tiers, 0), found, "{data} and {objects}");
            assert_eq!(tiers.tables[&1], tables);
        }
    }

    #[test]
    fn other_servers_are_told_by_their_dirs() {
        for paths in [
            &["/kafka"][..],
            &["/kafka/tables"],
            &["/a/segments", "/b/tables"],
        ] {
            let mut tiers = Tiers::led(&told(&[1])).expect("a topic");
            let paths: Vec<_> = paths.iter().map(|path| (*path, 1, 0)).collect();
            let refused = tiers.take(1, dirs(0, &paths)).expect_err("no tiers");
            assert!(refused.to_string().contains("not Alluvium"), "{refused}");
        }
    }

    #[test]
    fn what_its_leader_does_not_show_is_asked_again() {
        let mut tiers = Tiers::led(&told(&[1, 2, -1])).expect("a topic");
        let here = |partition| {
            dirs(
                partition,
                &[("/d", 0, 0), ("/o/segments", 0, 0), ("/o/tables", 0, 0)],
            )
        };
        tiers.take(1, here(0)).expect("tiers");
        let missing = tiers.missing().expect("one is missing");
        assert!(missing.to_string().contains("t-1"), "{missing}");
        assert!(passes(&missing));
        tiers.take(2, here(1)).expect("tiers");
        assert!(tiers.missing().is_none());
    }

    #[test]
    fn who_agreed_is_not_asked_again() {
        let mut tiers = Tiers::led(&told(&[1, 2, 1])).expect("a topic");
        tiers.tables = BTreeMap::from([(1, "/o/tables".to_owned()), (2, "/p/tables".to_owned())]);
        let asked = |agreed: &[i32]| -> Vec<_> {
            let asked = tiers.to_ask("t", &agreed.iter().copied().collect());
            let one = |asked: Asked| (asked.broker, asked.tables, Vec::from_iter(asked.partitions));
            asked.into_iter().map(one).collect()
        };
        let of_two = (2, "/p/tables".to_owned(), vec![1]);
        assert_eq!(
            asked(&[]),
            [(1, "/o/tables".to_owned(), vec![0, 2]), of_two.clone()]
        );
        assert_eq!(asked(&[0, 2]), [of_two]);
    }

    #[test]
    fn an_unknown_topic_is_told() {
        let mut told = told(&[]);
        told.topics[0].error_code = ErrorCode::UnknownTopicOrPartition.code();
        let error = Tiers::led(&told).expect_err("unknown");
        assert!(error.to_string().contains("\"t\""), "{error}");
    }
}
