//! Hand-overs, and who is answered at all.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_metadata::model::RpcEndpoint;
use alluvium_segment::record_batch::{BatchBuilder, Codec};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::peers::Addresses;
use super::testing::{CLUSTER, World, tp, until};
use super::*;

const MEMORY: usize = 16 << 20;

/// Addresses that a test gives.
#[derive(Default)]
struct Known(Mutex<HashMap<BrokerId, (BrokerEpoch, RpcEndpoint)>>);

impl Addresses for Known {
    fn of(&self, broker_id: BrokerId) -> Option<(BrokerEpoch, RpcEndpoint)> {
        self.0.lock().get(&broker_id).cloned()
    }
}

fn no_gets() -> FaultRule {
    let refused = Fault::Refuse {
        status: 503,
        code: "SlowDown",
    };
    FaultRule::always(Operation::Get, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_move_reads_no_footer() {
    let world = World::new();
    let first = world.broker(1, "a", MEMORY).await;
    let second = world.broker(2, "a", MEMORY).await;
    world.create_topic(2, 1, "object").await;
    for partition in 0..2 {
        first.leads(tp(partition)).await;
        for number in 0..3 {
            assert_eq!(first.append(tp(partition), "x").await, number);
        }
    }
    world.faults.add(no_gets());
    for partition in 0..2 {
        world.move_to(tp(partition), 2).await;
    }
    for partition in 0..2 {
        second.leads(tp(partition)).await;
        assert_eq!(second.append(tp(partition), "y").await, 3);
    }
    // And back, with the logs of both.
    world.move_to(tp(0), 1).await;
    until("the first does not lead", || {
        first.pipeline.partition(&tp(0)).is_some()
    })
    .await;
    assert_eq!(first.append(tp(0), "z").await, 4);
    let record = world.record(tp(0)).await;
    assert_eq!(
        (record.leader_epoch, record.tail.len()),
        (LeaderEpoch(2), 3)
    );
    world.faults.heal();
}

/// I10: what a producer repeats after a move is found to be there already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_producers_are_handed_over_too() {
    let world = World::new();
    let first = world.broker(1, "a", MEMORY).await;
    let second = world.broker(2, "a", MEMORY).await;
    world.create_topic(1, 1, "object").await;
    first.leads(tp(0)).await;
    let batch = |sequence| {
        let sequence = Sequence::new(sequence).expect("not negative");
        BatchBuilder::new(Codec::None).producer(ProducerId(5), ProducerEpoch(0), sequence)
    };
    assert_eq!(first.append_batch(tp(0), batch(0), "x").await, 0);
    assert_eq!(first.append_batch(tp(0), batch(1), "y").await, 1);
    world.faults.add(no_gets());
    world.move_to(tp(0), 2).await;
    second.leads(tp(0)).await;
    assert_eq!(second.append_batch(tp(0), batch(1), "y").await, 1);
    assert_eq!(second.append_batch(tp(0), batch(2), "z").await, 2);
    world.faults.heal();
}

/// The record names the first only, which is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_wrote_nothing_hands_over_what_it_was_handed() {
    let world = World::new();
    let first = world.broker(1, "a", MEMORY).await;
    let second = world.broker(2, "a", MEMORY).await;
    let third = world.broker(3, "a", MEMORY).await;
    world.create_topic(1, 1, "object").await;
    first.leads(tp(0)).await;
    assert_eq!(first.append(tp(0), "x").await, 0);
    world.faults.add(no_gets());
    world.move_to(tp(0), 2).await;
    second.leads(tp(0)).await;
    first.stopping.cancel();
    until("the third has seen the second lead", || {
        let seen = third.led.seen();
        let placed = seen.partitions.get(tp(0));
        placed.is_some_and(|placed| placed.record.leader == BrokerId(2))
    })
    .await;
    world.move_to(tp(0), 3).await;
    third.leads(tp(0)).await;
    assert_eq!(third.append(tp(0), "y").await, 1);
    world.faults.heal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_former_leader_forgot_is_read_from_footers() {
    let world = World::new();
    let first = world.broker(1, "a", MEMORY).await;
    world.create_topic(1, 1, "object").await;
    first.leads(tp(0)).await;
    for number in 0..3 {
        assert_eq!(first.append(tp(0), "x").await, number);
    }
    world.move_to(tp(0), 2).await;
    until("it is handed over", || {
        first.pipeline.partition(&tp(0)).is_none()
    })
    .await;
    assert!(first.shelf.get(tp(0)).is_some());
    first.shelf.take_back(tp(0));
    let second = world.broker(2, "a", MEMORY).await;
    second.leads(tp(0)).await;
    assert_eq!(second.append(tp(0), "y").await, 3);
    // The same when the former leader does not answer at all.
    second.stopping.cancel();
    world.move_to(tp(0), 1).await;
    first.leads(tp(0)).await;
    assert_eq!(first.append(tp(0), "z").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_clusters_epochs_and_partitions_are_refused() {
    let world = World::new();
    let broker = world.broker(1, "a", MEMORY).await;
    world.create_topic(1, 1, "local").await;
    broker.leads(tp(0)).await;
    until("the picture shows it", || {
        broker.view.of(BrokerId(1)).is_some()
    })
    .await;
    let known = Arc::new(Known::default());
    let address = broker.view.of(BrokerId(1)).expect("there");
    known.0.lock().insert(BrokerId(1), address);
    let asked = [
        (tp(0), LeaderEpoch(0)),
        (tp(0), LeaderEpoch(1)),
        (tp(1), LeaderEpoch(0)),
    ];
    let own = Peers::new(Arc::clone(&known) as Arc<_>, CLUSTER, None);
    let told = own.offsets(BrokerId(1), &asked).await.expect("answered");
    let told: Vec<_> = told.iter().map(Option::is_some).collect();
    assert_eq!(told, [true, false, false]);
    for led in &asked[1..] {
        let refused = own.watch(BrokerId(1), *led, None).await;
        assert!(
            matches!(refused, Err(CallError::NotLeader(_))),
            "{refused:?}"
        );
    }
    let foreign = Peers::new(Arc::clone(&known) as Arc<_>, "another", None);
    let refused = foreign.offsets(BrokerId(1), &asked).await;
    let Err(CallError::Failed { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains(CLUSTER), "{reason}");
    // Gone: the connection is not used, nor kept.
    known.0.lock().clear();
    own.forget_gone();
    let gone = own.offsets(BrokerId(1), &asked).await;
    assert!(matches!(gone, Err(CallError::NoAddress(BrokerId(1)))));
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    async fn tls(&self) -> RpcTls {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("valid");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, content: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            path
        };
        let cert = file("cert.pem", cert.pem());
        let key = file("key.pem", key.serialize_pem());
        let ca = file("ca.pem", self.0.pem());
        RpcTls::read(&cert, &key, &ca).await.expect("reads")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_both_sides_are_checked() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let world = World::new();
    let tls = Some(ours.tls().await);
    let broker = world.broker_with_tls(1, "a", MEMORY, tls).await;
    world.create_topic(1, 1, "local").await;
    broker.leads(tp(0)).await;
    let asked = [(tp(0), LeaderEpoch(0))];
    let told = broker.peers.offsets(BrokerId(1), &asked).await;
    assert!(told.expect("answered")[0].is_some());
    let addresses = Arc::clone(&broker.view);
    for stranger in [None, Some(theirs.tls().await.client())] {
        let peers = Peers::new(Arc::clone(&addresses) as Arc<_>, CLUSTER, stranger);
        let refused = peers.offsets(BrokerId(1), &asked).await;
        assert!(
            matches!(refused, Err(CallError::Failed { .. })),
            "{refused:?}"
        );
    }
}
