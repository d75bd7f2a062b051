//! Golden records: every version of every kind as it stands in stores. They never change; a new version is added
//! beside them.

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicName};
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use uuid::Uuid;

use super::*;
use crate::value::{StoredRecord, decode, encode};

/// What this build writes.
fn golden<R: StoredRecord + PartialEq + std::fmt::Debug>(
    record: &R,
    kind: u8,
    crc: u32,
    json: &str,
) {
    let encoded = encode(record);
    assert_eq!(
        encoded.escape_ascii().to_string(),
        stored(kind, R::VERSION, crc, json)
            .escape_ascii()
            .to_string()
    );
    read(record, kind, R::VERSION, crc, json);
}

/// What any build before it wrote is read for ever.
fn read<R: StoredRecord + PartialEq + std::fmt::Debug>(
    record: &R,
    kind: u8,
    version: u8,
    crc: u32,
    json: &str,
) {
    let decoded = decode::<R>(&stored(kind, version, crc, json));
    assert_eq!(&decoded.expect("readable"), record);
}

fn stored(kind: u8, version: u8, crc: u32, json: &str) -> Vec<u8> {
    [
        b"AM",
        &[kind, version][..],
        &crc.to_be_bytes(),
        json.as_bytes(),
    ]
    .concat()
}

#[test]
fn clusters() {
    let record = ClusterRecord {
        cluster_id: Uuid::from_u128(7),
        created_ms: 1000,
    };
    let json = r#"{"cluster_id":"00000000-0000-0000-0000-000000000007","created_ms":1000}"#;
    golden(&record, 1, 0xb84c_d0d2, json);
}

#[test]
fn object_stores() {
    let record = ObjectStoreRecord {
        cluster_id: Uuid::from_u128(7),
        store_id: Uuid::from_u128(8),
    };
    let json = r#"{"cluster_id":"00000000-0000-0000-0000-000000000007","store_id":"00000000-0000-0000-0000-000000000008"}"#;
    golden(&record, 11, 0x07f5_9654, json);
}

#[test]
fn brokers() {
    let record = BrokerRecord {
        broker_id: BrokerId(1),
        host: "localhost".to_owned(),
        port: 9092,
        rack: Some("a".to_owned()),
        instance_id: Uuid::from_u128(7),
        version: "0.1.0".to_owned(),
        started_ms: 1000,
        rpc: Some(RpcEndpoint {
            host: "inside".to_owned(),
            port: 9093,
        }),
        draining: true,
        roles: Roles([Role::Broker, Role::Compactor].into()),
    };
    let json = r#"{"broker_id":1,"host":"localhost","port":9092,"rack":"a","instance_id":"00000000-0000-0000-0000-000000000007","version":"0.1.0","started_ms":1000,"rpc":{"host":"inside","port":9093},"draining":true,"roles":["broker","compactor"]}"#;
    golden(&record, 2, 0xecc1_bccc, json);
    // Without roles it is a broker.
    let record = BrokerRecord {
        roles: Roles::broker(),
        ..record
    };
    let json = r#"{"broker_id":1,"host":"localhost","port":9092,"rack":"a","instance_id":"00000000-0000-0000-0000-000000000007","version":"0.1.0","started_ms":1000,"rpc":{"host":"inside","port":9093},"draining":true}"#;
    read(&record, 2, 2, 0x4d06_dbb2, json);
    let record = BrokerRecord {
        rpc: None,
        draining: false,
        ..record
    };
    let json = r#"{"broker_id":1,"host":"localhost","port":9092,"rack":"a","instance_id":"00000000-0000-0000-0000-000000000007","version":"0.1.0","started_ms":1000}"#;
    read(&record, 2, 1, 0xb417_ec2f, json);
}

#[test]
fn commits() {
    let name = SegmentName {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(2),
        id: Uuid::from_u128(3),
    };
    let record = CommitRecord {
        object_key: ObjectKey::segment(&name),
        size_bytes: 100,
        footer_length: 10,
        footer_crc: 7,
    };
    let json = r#"{"object_key":"segments/1/2/00000000000000000000000000000003.seg","size_bytes":100,"footer_length":10,"footer_crc":7}"#;
    golden(&record, 3, 0xcf5c_bb84, json);
}

#[test]
fn topics() {
    let record = TopicRecord {
        name: TopicName::new("t").expect("name"),
        topic_id: TopicId(Uuid::from_u128(7)),
        partition_count: 3,
        replication_factor: 1,
        configs: [("retention.ms".to_owned(), "-1".to_owned())].into(),
        created_ms: 1000,
    };
    let json = r#"{"name":"t","topic_id":"00000000-0000-0000-0000-000000000007","partition_count":3,"replication_factor":1,"configs":{"retention.ms":"-1"},"created_ms":1000}"#;
    golden(&record, 4, 0xa269_b0b7, json);
}

#[test]
fn partitions() {
    let by = |broker_epoch| Opener {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(broker_epoch),
        first_seq: 3,
        wal: Some(WalHolder(Uuid::from_u128(7))),
    };
    let first = PartitionRecord::new(BrokerId(1)).opened(&by(2), Offset::ZERO, |_| None);
    let end = Offset::new(9).expect("offset");
    let opened = first.opened(&by(5), end, |_| Some((3, 4)));
    assert_eq!(opened.leader_epoch, LeaderEpoch(1));
    let record = PartitionRecord {
        moving_to: Some(BrokerId(2)),
        ..opened
    };
    let json = r#"{"leader":1,"leader_epoch":1,"epochs":[[0,0],[1,9]],"log_start":0,"tail":[[1,2,3,4],[1,5,3,null]],"moving_to":2,"wal":"00000000-0000-0000-0000-000000000007"}"#;
    golden(&record, 5, 0xb8d1_a132, json);
    // The nil folder: whoever led may have it.
    let json = r#"{"leader":1,"leader_epoch":1,"epochs":[[0,0],[1,9]],"log_start":0,"tail":[[1,2,3,4],[1,5,0,null]]}"#;
    let mut old = PartitionRecord {
        moving_to: None,
        wal: Some(WalHolder(Uuid::nil())),
        ..record
    };
    old.tail[1].first_seq = 0;
    read(&old, 5, 1, 0x1423_249a, json);
}

#[test]
fn controllers_and_drains() {
    let record = ControllerRecord {
        broker_id: BrokerId(3),
    };
    golden(&record, 7, 0xb2cb_c395, r#"{"broker_id":3}"#);
    let record = DrainRecord { since_ms: 1000 };
    golden(&record, 8, 0x665c_4599, r#"{"since_ms":1000}"#);
}

#[test]
fn coordinators() {
    let record = CoordinatorRecord {
        broker: BrokerId(1),
    };
    golden(&record, 9, 0xa074_7821, r#"{"broker":1}"#);
}

#[test]
fn folds() {
    let name = SegmentName {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(2),
        id: Uuid::from_u128(3),
    };
    let record = FoldRecord {
        object_key: ObjectKey::fold(&name),
        size_bytes: 100,
        index_length: 10,
        index_crc: 7,
        first_seq: 4,
        last_seq: 67,
    };
    let json = r#"{"object_key":"folds/1/2/00000000000000000000000000000003.fold","size_bytes":100,"index_length":10,"index_crc":7,"first_seq":4,"last_seq":67}"#;
    golden(&record, 10, 0xa804_bfc9, json);
}
