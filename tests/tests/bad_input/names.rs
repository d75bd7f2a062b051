//! Names that are none, offsets that are not there, members that are already there.

use alluvium_protocol::messages::create_topics_request::CreatableTopic;
use alluvium_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::{
    CreateTopicsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, MetadataRequest,
};
use alluvium_protocol::{ErrorCode, StrBytes};
use alluvium_tests::broker::BrokerOptions;
use alluvium_tests::client::{Client, Topic, only};
use uuid::Uuid;

use crate::Bystander;

#[tokio::test]
async fn invalid_topic_names_are_refused_everywhere() {
    let mut bystander = Bystander::start().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let long = "x".repeat(250);
    let names = [
        "..",
        ".",
        "",
        "a/b",
        "../../etc/passwd",
        &long,
        "f\u{fc}r",
        "a b",
        "a\0b",
        "\u{1f980}",
        "a:b",
    ];
    for name in names {
        let code = create(&mut client, name).await;
        assert_eq!(
            code,
            ErrorCode::InvalidTopicException,
            "CreateTopics {name:?}"
        );
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(StrBytes::copy_of(name)),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let topic = only(client.call(&request).await.topics);
        let code = ErrorCode::from(topic.error_code);
        assert_eq!(code, ErrorCode::InvalidTopicException, "Metadata {name:?}");
    }
    assert_eq!(create(&mut client, &"x".repeat(249)).await, ErrorCode::None);
    assert_eq!(create(&mut client, "one.two").await, ErrorCode::None);
    // Metric names write both as one_two.
    assert_eq!(
        create(&mut client, "one_two").await,
        ErrorCode::InvalidTopicException
    );
    bystander.is_served().await;
}

async fn create(client: &mut Client, name: &str) -> ErrorCode {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: StrBytes::copy_of(name),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        validate_only: false,
    };
    only(client.call(&request).await.topics).error_code.into()
}

#[tokio::test]
async fn offsets_and_partitions_that_are_not_there() {
    let mut bystander = Bystander::start().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let topic = bystander.topic.clone();
    for offset in [2, 1_000, i64::MAX, -1, i64::MIN] {
        let answer = client.fetch(&topic, 0, offset).await;
        assert_eq!(answer.code, ErrorCode::OffsetOutOfRange, "offset {offset}");
    }
    for partition in [1, -1, i32::MAX, i32::MIN] {
        let answer = client.fetch(&topic, partition, 0).await;
        assert_eq!(
            answer.code,
            ErrorCode::UnknownTopicOrPartition,
            "partition {partition}"
        );
        let answer = client
            .produce(&topic, partition, alluvium_tests::client::batch(&["x"]))
            .await;
        assert_eq!(
            ErrorCode::from(answer.error_code),
            ErrorCode::UnknownTopicOrPartition
        );
        let answer = client.list_offsets(7, &topic, partition, -1).await;
        assert_eq!(
            ErrorCode::from(answer.error_code),
            ErrorCode::UnknownTopicOrPartition
        );
    }
    let stranger = Topic {
        name: "stranger".to_owned(),
        id: Uuid::from_u128(17),
    };
    let answer = client.fetch(&stranger, 0, 0).await;
    assert_eq!(answer.code, ErrorCode::UnknownTopicId);
    bystander.is_served().await;
}

fn join(group: &str, member: &str, instance: Option<&'static str>) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: StrBytes::copy_of(group),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: StrBytes::copy_of(member),
        group_instance_id: instance.map(Into::into),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: b"\0\0\0\0\0\0\0\0\0\0".as_slice().into(),
        }],
        ..JoinGroupRequest::default()
    }
}

#[tokio::test]
async fn duplicate_and_unknown_group_members() {
    let options = BrokerOptions::new().set("group.initial.rebalance.delay.ms", 0);
    let mut bystander = Bystander::with(options).await;
    let mut first = Client::connect(&bystander.broker.endpoint()).await;
    let mut second = Client::connect(&bystander.broker.endpoint()).await;
    let answer = first.call(&join("workers", "nobody", None)).await;
    assert_eq!(
        ErrorCode::from(answer.error_code),
        ErrorCode::UnknownMemberId
    );

    let joined: JoinGroupResponse = first.call(&join("fixed", "", Some("worker-1"))).await;
    assert_eq!(joined.error_code, 0);
    let replaced = second.call(&join("fixed", "", Some("worker-1"))).await;
    assert_eq!(replaced.error_code, 0);
    assert_ne!(replaced.member_id, joined.member_id);
    let heartbeat = HeartbeatRequest {
        group_id: "fixed".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: Some("worker-1".into()),
    };
    let answer = first.call(&heartbeat).await;
    assert_eq!(
        ErrorCode::from(answer.error_code),
        ErrorCode::FencedInstanceId
    );
    let heartbeat = HeartbeatRequest {
        member_id: "nobody".into(),
        group_instance_id: None,
        ..heartbeat
    };
    let answer = first.call(&heartbeat).await;
    assert_eq!(
        ErrorCode::from(answer.error_code),
        ErrorCode::UnknownMemberId
    );
    bystander.is_served().await;
}
