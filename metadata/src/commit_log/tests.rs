use super::*;
use crate::model::BrokerRecord;
use crate::store::fault::{Fault, Faults, FaultyStore};
use crate::store::{Cas, MemoryStore};
use alluvium_common::rand::SeededRandom;
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use uuid::Uuid;

const TTL: Duration = Duration::from_secs(9);

struct Broker {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    log: CommitLog,
}

async fn broker(store: Arc<dyn MetadataStore>) -> Broker {
    let keys = Keys::new("test");
    let record = BrokerRecord {
        broker_id: BrokerId(1),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        instance_id: Uuid::from_u128(1),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: crate::model::Roles::broker(),
    };
    let session = Session::open(Arc::clone(&store), &keys, &record, TTL)
        .await
        .expect("session");
    Broker {
        store: Arc::clone(&store),
        keys: keys.clone(),
        log: CommitLog::new(store, keys, Arc::new(session)),
    }
}

fn record(number: u128) -> CommitRecord {
    CommitRecord {
        object_key: ObjectKey::segment(&SegmentName {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(2),
            id: Uuid::from_u128(number),
        }),
        size_bytes: 10,
        footer_length: 5,
        footer_crc: 3,
    }
}

fn entries(records: impl IntoIterator<Item = CommitRecord>) -> Vec<LogEntry> {
    let numbered = (0..).zip(records);
    numbered
        .map(|(seq, record)| LogEntry::Commit { seq, record })
        .collect()
}

async fn stands(broker: &Broker) -> Vec<LogEntry> {
    let session = broker.log.session();
    read_commit_log(
        &*broker.store,
        &broker.keys,
        session.broker_id(),
        session.broker_epoch(),
        0,
    )
    .await
    .expect("log")
}

#[tokio::test(start_paused = true)]
async fn commits_stand_in_order_and_may_be_repeated() {
    let broker = broker(Arc::new(MemoryStore::new())).await;
    broker
        .log
        .commit(0, &[record(1), record(2)])
        .await
        .expect("commit");
    broker.log.commit(2, &[record(3)]).await.expect("commit");
    broker
        .log
        .commit(0, &[record(1), record(2)])
        .await
        .expect("the same again (F4)");
    let expected = entries([record(1), record(2), record(3)]);
    assert_eq!(*broker.log.acknowledged().borrow(), 3);
    assert_eq!(stands(&broker).await, expected);
}

#[tokio::test(start_paused = true)]
async fn one_sequence_holds_one_segment() {
    let broker = broker(Arc::new(MemoryStore::new())).await;
    broker.log.commit(0, &[record(1)]).await.expect("commit");
    let error = broker.log.commit(0, &[record(2)]).await.expect_err("taken");
    assert!(matches!(error, CommitError::Conflict { seq: 0 }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_commits_nothing() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let old = broker(Arc::clone(&store)).await;
    let _new = broker(store).await;
    let error = old.log.commit(0, &[record(1)]).await.expect_err("fenced");
    assert!(matches!(error, CommitError::Fenced), "{error}");
    assert!(!old.log.session().is_alive());
    assert_eq!(stands(&old).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_a_log_is_reported() {
    let broker = broker(Arc::new(MemoryStore::new())).await;
    broker.log.commit(0, &[record(1)]).await.expect("commit");
    broker.log.commit(2, &[record(2)]).await.expect("commit");
    let session = broker.log.session();
    let error = read_commit_log(
        &*broker.store,
        &broker.keys,
        session.broker_id(),
        session.broker_epoch(),
        0,
    )
    .await
    .expect_err("gap");
    assert!(
        matches!(error, ReadCommitsError::Gap { seq: 1, .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_entry_is_reported_not_skipped() {
    let broker = broker(Arc::new(MemoryStore::new())).await;
    let session = broker.log.session();
    let key = broker
        .keys
        .commit(session.broker_id(), session.broker_epoch(), 0);
    let put = broker
        .store
        .put_if_absent(key, "garbage", None)
        .await
        .expect("put");
    assert!(matches!(put, Cas::Done(_)));
    let error = read_commit_log(
        &*broker.store,
        &broker.keys,
        session.broker_id(),
        session.broker_epoch(),
        0,
    )
    .await
    .expect_err("damaged");
    assert!(
        matches!(error, ReadCommitsError::Unreadable { seq: 0, .. }),
        "{error}"
    );
}

/// F4: whichever attempts fail in whatever way, the entries stand once and the commit is a success.
#[tokio::test(start_paused = true)]
async fn lost_replies_are_looked_up() {
    let lost = [Fault::ReplyLost, Fault::RequestLost, Fault::Refused];
    for faults_met in [
        &lost[..1],
        &lost[1..2],
        &lost[..],
        &[Fault::ReplyLost, Fault::ReplyLost],
    ] {
        let faults = Faults::new(SeededRandom::new(1));
        let store: Arc<dyn MetadataStore> = Arc::new(FaultyStore::new(
            Arc::new(MemoryStore::new()),
            Arc::clone(&faults),
        ));
        let broker = broker(store).await;
        faults.next(faults_met.iter().copied());
        broker
            .log
            .commit(0, &[record(1), record(2)])
            .await
            .expect("commit");
        let expected = entries([record(1), record(2)]);
        assert_eq!(stands(&broker).await, expected, "{faults_met:?}");
    }
}

/// A reply lost in the moment in which the session ends: the commit stands, and says so.
#[tokio::test(start_paused = true)]
async fn a_commit_that_was_applied_before_its_session_ended_is_a_success() {
    let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let faults = Faults::new(SeededRandom::new(1));
    let store: Arc<dyn MetadataStore> =
        Arc::new(FaultyStore::new(Arc::clone(&memory), Arc::clone(&faults)));
    let old = broker(Arc::clone(&store)).await;
    old.log.commit(0, &[record(1)]).await.expect("commit");
    let _new = broker(memory).await;
    old.log.commit(0, &[record(1)]).await.expect("it stands");
    let error = old.log.commit(1, &[record(2)]).await.expect_err("fenced");
    assert_eq!(error.outcome(), Outcome::NotDone);
}

/// A store that is away for longer than the session can be proved alive: nothing is claimed.
#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_session_leaves_the_outcome_unknown() {
    let faults = Faults::new(SeededRandom::new(1));
    let store: Arc<dyn MetadataStore> = Arc::new(FaultyStore::new(
        Arc::new(MemoryStore::new()),
        Arc::clone(&faults),
    ));
    let broker = broker(store).await;
    faults.away_for(TTL * 10);
    let error = broker.log.commit(0, &[record(1)]).await.expect_err("away");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(!broker.log.session().is_alive());
}
