//! What all parts of the script use: a connection, what was answered so far, and requests in short form.

use std::fmt::Write as _;

use alluvium_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use alluvium_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use alluvium_protocol::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, MetadataRequest,
    OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest, SyncGroupResponse,
};
use alluvium_protocol::{ErrorCode, Request, StrBytes};
use bytes::Bytes;
use uuid::Uuid;

use crate::connection::Connection;

/// The topic that members subscribe to, and one that they do not; three partitions each.
pub const SUBSCRIBED: &str = "subscribed";
pub const OTHER: &str = "other";

/// Attempts for what becomes true by itself: a Kafka that has just started loads its groups.
const ATTEMPTS_MAX: usize = 100_000;

pub struct Script {
    pub address: String,
    pub connection: Connection,
    pub answers: String,
    pub topic_id: Uuid,
}

impl Script {
    pub fn begin(address: &str) -> Self {
        let mut script = Self {
            address: address.to_owned(),
            connection: Connection::open(address),
            answers: String::new(),
            topic_id: Uuid::nil(),
        };
        script.create_topics();
        script.wait_for_coordinator();
        script
    }

    fn create_topics(&mut self) {
        let topic = |name| MetadataRequestTopic {
            name: Some(text(name)),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic(SUBSCRIBED), topic(OTHER)]),
            ..MetadataRequest::default()
        };
        for _ in 0..ATTEMPTS_MAX {
            let response = self.call(12, request.clone());
            if response.topics.iter().all(|topic| topic.error_code == 0) {
                self.topic_id = response.topics[0].topic_id;
                return;
            }
        }
        panic!("the topics are not created");
    }

    fn wait_for_coordinator(&mut self) {
        let find = FindCoordinatorRequest {
            key: text("g"),
            ..FindCoordinatorRequest::default()
        };
        let unknown = ErrorCode::UnknownMemberId.code();
        for _ in 0..ATTEMPTS_MAX {
            let found = self.call(3, find.clone()).error_code == 0;
            if found && self.heartbeat("g", "m", 1, None) == unknown {
                return;
            }
        }
        panic!("there is no coordinator");
    }

    pub fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        self.connection.call(version, request)
    }

    pub fn note(&mut self, what: &str, answer: impl std::fmt::Debug) {
        writeln!(self.answers, "{what}: {answer:?}").unwrap();
    }

    /// Joins, in two steps where the version wants it.
    pub fn join(&mut self, group: &str, instance: Option<&str>, version: i16) -> JoinGroupResponse {
        let first = self.call(version, join(group, "", instance, version));
        if first.error_code != ErrorCode::MemberIdRequired.code() {
            return first;
        }
        self.call(version, join(group, &first.member_id, instance, version))
    }

    /// A stable group of one member, whose id is returned.
    pub fn stable(&mut self, group: &str, instance: Option<&str>) -> String {
        let joined = self.join(group, instance, 9);
        let member = joined.member_id.to_string();
        let request = sync(group, &member, joined.generation_id, instance, 5);
        assert_eq!(self.call(5, request).error_code, 0);
        member
    }

    pub fn heartbeat(
        &mut self,
        group: &str,
        member: &str,
        generation_id: i32,
        instance: Option<&str>,
    ) -> i16 {
        let request = HeartbeatRequest {
            group_id: text(group),
            generation_id,
            member_id: text(member),
            group_instance_id: instance.map(text),
        };
        self.call(4, request).error_code
    }

    /// Partitions with their error codes, by partition.
    pub fn commit(&mut self, version: i16, request: OffsetCommitRequest) -> Vec<(i32, i16)> {
        let response: OffsetCommitResponse = self.call(version, request);
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let mut codes: Vec<_> = partitions
            .map(|p| (p.partition_index, p.error_code))
            .collect();
        codes.sort_unstable();
        codes
    }

    pub fn commit_request(
        &self,
        version: i16,
        group: &str,
        member: &str,
        generation: i32,
        partitions: &[i32],
    ) -> OffsetCommitRequest {
        let by_id = version >= 10;
        let partition = |index: &i32| OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: 7,
            committed_metadata: Some(text("note")),
            ..OffsetCommitRequestPartition::default()
        };
        OffsetCommitRequest {
            group_id: text(group),
            generation_id_or_member_epoch: generation,
            member_id: text(member),
            topics: vec![OffsetCommitRequestTopic {
                name: text(if by_id { "" } else { SUBSCRIBED }),
                topic_id: if by_id { self.topic_id } else { Uuid::nil() },
                partitions: partitions.iter().map(partition).collect(),
            }],
            ..OffsetCommitRequest::default()
        }
    }
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::copy_of(text)
}

pub fn join(group: &str, member: &str, instance: Option<&str>, version: i16) -> JoinGroupRequest {
    let protocol = |name| JoinGroupRequestProtocol {
        name: text(name),
        metadata: subscription(),
    };
    JoinGroupRequest {
        group_id: text(group),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: if version == 0 { -1 } else { 60_000 },
        member_id: text(member),
        group_instance_id: instance.map(text),
        protocol_type: text("consumer"),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        ..JoinGroupRequest::default()
    }
}

fn subscription() -> Bytes {
    let name = SUBSCRIBED.as_bytes();
    let length = u8::try_from(name.len()).unwrap();
    let mut subscription = vec![0, 0, 0, 0, 0, 1, 0, length];
    subscription.extend(name);
    subscription.extend([0; 4]);
    subscription.into()
}

pub fn sync(
    group: &str,
    member: &str,
    generation_id: i32,
    instance: Option<&str>,
    version: i16,
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: text(group),
        generation_id,
        member_id: text(member),
        group_instance_id: instance.map(text),
        protocol_type: (version >= 5).then(|| text("consumer")),
        protocol_name: (version >= 5).then(|| text("range")),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: text(member),
            assignment: "assigned".into(),
        }],
    }
}

/// Member ids are random; what matters is whose they are.
pub fn show_join(response: &JoinGroupResponse) -> String {
    let leader = match &response.leader {
        none if none.is_empty() => "nobody",
        own if *own == response.member_id => "itself",
        _ => "another",
    };
    format!(
        "code {} generation {} type {:?} protocol {:?} leader {leader} skip {} has id {} members {}",
        response.error_code,
        response.generation_id,
        response.protocol_type,
        response.protocol_name,
        response.skip_assignment,
        !response.member_id.is_empty(),
        response.members.len(),
    )
}

pub fn show_sync(response: &SyncGroupResponse) -> String {
    format!(
        "code {} type {:?} protocol {:?} assignment {:?}",
        response.error_code, response.protocol_type, response.protocol_name, response.assignment
    )
}
