//! What the tests of the group handlers have in common: a coordinator over a store in memory, two topics, and
//! messages that go over the wire in the version under test.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::coordinator::{
    CommitRequest, CoordinatorOptions, GroupConfig, GroupCoordinator, GroupShard, JoinRequest,
    MemberId, OffsetToCommit, Protocol, SoleOwner, SyncRequest,
};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::store::{MemoryStore, MetadataStoreExt};
use alluvium_metadata::value;
use alluvium_metadata::view::{ClusterView, Topics};
use alluvium_protocol::{Message, Reader, Request, Writer};
use bytes::Bytes;
use uuid::Uuid;

use crate::broker::Identity;
use crate::config::Endpoint;

pub fn identity() -> Identity {
    Identity {
        cluster_id: "cluster".into(),
        broker_id: BrokerId(7),
        endpoint: Endpoint {
            host: "broker.test".to_owned(),
            port: 9092,
        },
        rack: None,
    }
}

/// Sends the request through the codec of `version`, and the answer back.
pub fn over_the_wire<R: Request>(
    version: i16,
    request: R,
    answer: impl FnOnce(R) -> R::Response,
) -> R::Response {
    recode(&answer(recode(&request, version)), version)
}

/// The same for handlers that wait.
pub async fn over_the_wire_async<R: Request>(
    version: i16,
    request: R,
    answer: impl AsyncFnOnce(R) -> R::Response,
) -> R::Response {
    recode(&answer(recode(&request, version)).await, version)
}

fn recode<M: Message>(message: &M, version: i16) -> M {
    let mut writer = Writer::new();
    message
        .encode(&mut writer, version)
        .unwrap_or_else(|error| panic!("{} version {version}: {error}", M::NAME));
    let chunks = writer.into_frame().expect("frames");
    let mut frame = Bytes::from(chunks.concat());
    let _length = frame.split_to(4);
    let mut reader = Reader::new(frame);
    M::decode(&mut reader, version)
        .unwrap_or_else(|error| panic!("{} version {version}: {error}", M::NAME))
}

/// Topics `t` and `u`, of ten partitions each, and a coordinator.
pub struct Scene {
    pub groups: Arc<GroupCoordinator>,
    pub topics: Arc<Topics>,
}

impl Scene {
    pub async fn new() -> Self {
        let options = CoordinatorOptions {
            keys: Keys::new("test"),
            config: GroupConfig::default(),
            clock: ManualClock::at(1_000),
            random: SeededRandom::new(7),
        };
        let groups = GroupCoordinator::new(Arc::new(MemoryStore::new()), options);
        for shard in GroupShard::all() {
            let opened = groups.open_shard(shard, Arc::new(SoleOwner)).await;
            opened.expect("opens");
        }
        Self {
            groups: Arc::new(groups),
            topics: topics(&["t", "u"]).await,
        }
    }

    /// The same groups, after a topic was deleted.
    pub async fn without_topic(&self, name: &str) -> Self {
        let left: Vec<_> = ["t", "u"].into_iter().filter(|n| *n != name).collect();
        Self {
            groups: Arc::clone(&self.groups),
            topics: topics(&left).await,
        }
    }

    pub fn topic_id(&self, name: &str) -> Uuid {
        self.topics.named(name).expect("exists").topic_id.0
    }

    fn partition(&self, name: &str, index: i32) -> TopicPartition {
        TopicPartition::new(TopicId(self.topic_id(name)), PartitionIndex(index))
    }

    pub async fn committed(&self, group: &str, topic: &str, index: i32) -> Option<i64> {
        let asked = [self.partition(topic, index)];
        let group = group.into();
        let fetched = self.groups.fetch_offsets(&group, Some(&asked)).await;
        let offset = fetched.expect("served").partitions.remove(0).1;
        offset.and_then(|record| record.offset).map(Offset::get)
    }

    pub async fn commit(&self, group: &str, topic: &str, index: i32, offset: i64) {
        let request = CommitRequest {
            group_id: group.into(),
            generation: None,
            member_id: MemberId::default(),
            instance_id: None,
            retention: None,
            offsets: vec![OffsetToCommit {
                topic: TopicName::new(topic).expect("valid"),
                partition: self.partition(topic, index),
                offset: Offset::new(offset),
                leader_epoch: Some(LeaderEpoch(5)),
                metadata: "note".to_owned(),
            }],
        };
        let result = self.groups.commit_offsets(request).await;
        assert_eq!(result, Ok(vec![Ok(())]));
    }

    /// A consumer of topic `t` in generation 1 of its group, which has not synced.
    pub async fn join(&self, group: &str) -> String {
        let request = JoinRequest {
            group_id: group.into(),
            member_id: MemberId::default(),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(60),
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't']),
            }],
            require_known_member_id: false,
            supports_skip_assignment: false,
            reason: None,
        };
        let joined = self.groups.join(request).await.expect("joins");
        joined.member_id.to_string()
    }

    pub async fn sync(&self, group: &str, member: &str, generation: i32) {
        let request = SyncRequest {
            group_id: group.into(),
            generation,
            member_id: member.into(),
            instance_id: None,
            protocol_type: None,
            protocol: None,
            assignments: vec![(member.into(), Bytes::from_static(b"all"))],
        };
        self.groups.sync(request).await.expect("syncs");
    }

    /// A stable group of one such member.
    pub async fn stable(&self, group: &str) -> String {
        let member = self.join(group).await;
        self.sync(group, &member, 1).await;
        member
    }
}

async fn topics(names: &[&str]) -> Arc<Topics> {
    let store = Arc::new(MemoryStore::new());
    let keys = Keys::new("test");
    for name in names {
        let name = TopicName::new(name).expect("valid");
        let id = u128::from(name.as_str().as_bytes()[0]);
        let record = TopicRecord {
            name: name.clone(),
            topic_id: TopicId(Uuid::from_u128(id)),
            partition_count: 10,
            replication_factor: 1,
            configs: Default::default(),
            created_ms: 0,
        };
        let value = value::encode(&record);
        store.put(keys.topic(&name), value).await.expect("puts");
    }
    let view = ClusterView::open(store, keys).await.expect("opens");
    view.topics()
}
