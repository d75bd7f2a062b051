use alluvium_common::rand::SeededRandom;

use super::*;
use crate::store::conformance::{Harness, run};
use crate::store::{
    FAULT_ATTEMPTS_MAX, FAULT_PATIENCE, KeyRange, MemoryStore, MetadataStoreExt, Op,
};

struct Faultless;

#[async_trait]
impl Harness for Faultless {
    async fn store(&self) -> Arc<dyn MetadataStore> {
        Arc::new(faulty().0)
    }
}

fn faulty() -> (FaultyStore, Arc<Faults>) {
    let faults = Faults::new(SeededRandom::new(7));
    (
        FaultyStore::new(Arc::new(MemoryStore::new()), faults.clone()),
        faults,
    )
}

#[tokio::test(start_paused = true)]
async fn conforms_without_faults() {
    run(&Faultless).await;
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_what_they_say() {
    let (store, faults) = faulty();
    faults.next([Fault::Refused, Fault::RequestLost, Fault::ReplyLost]);
    let outcome = async |key| store.put(key, "x").await.unwrap_err().outcome();
    assert_eq!(outcome("refused").await, Outcome::NotDone);
    assert_eq!(outcome("request lost").await, Outcome::Unknown);
    assert_eq!(outcome("reply lost").await, Outcome::Unknown);
    store.put("fine", "x").await.unwrap();
    let (_, kvs) = store.list(KeyRange::all()).await.unwrap();
    let keys: Vec<_> = kvs.iter().map(|kv| &kv.key[..]).collect();
    assert_eq!(keys, [&b"fine"[..], b"reply lost"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_watches_and_passes() {
    let (store, faults) = faulty();
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    faults.away_for(Duration::from_secs(5));
    assert!(matches!(
        watch.next().await,
        Err(WatchError::Ended(StoreError::Unavailable { .. }))
    ));
    assert_eq!(
        store.put("k", "x").await.unwrap_err().outcome(),
        Outcome::NotDone
    );
    // Retrying outlasts it: the pauses of a retry add up to more.
    let put = super::super::Txn::new().then(super::super::Op::put("k", "x"));
    faults.away_for(Duration::from_secs(1));
    store.txn_retrying(put).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn chance_repeats_with_its_seed() {
    let drawn = || {
        let faults = Faults::new(SeededRandom::new(3));
        let delay_max = Duration::from_millis(9);
        faults.set_rates(FaultRates {
            refused: 200,
            reply_lost: 200,
            request_lost: 200,
            delayed: 200,
            delay_max,
        });
        (0..100).map(|_| faults.by_chance()).collect::<Vec<_>>()
    };
    let faults = drawn();
    assert_eq!(faults, drawn());
    for fault in [
        Fault::None,
        Fault::Refused,
        Fault::ReplyLost,
        Fault::RequestLost,
    ] {
        assert!(faults.contains(&fault), "{fault:?}");
    }
    assert!(
        faults
            .iter()
            .any(|fault| matches!(fault, Fault::Delayed(_)))
    );
}

/// Each attempt takes as long as a store over a network does, so that time, not their number, must end them.
#[tokio::test(start_paused = true)]
async fn patience_with_a_slow_store_ends_in_time() {
    let (refusing, refusals) = faulty();
    let delays = Faults::new(SeededRandom::new(8));
    let store = FaultyStore::new(Arc::new(refusing), delays.clone());
    let repeats = FAULT_ATTEMPTS_MAX as usize;
    let slow = Duration::from_secs(1);
    let put = || Txn::new().then(Op::put("k", "v"));
    delays.next(std::iter::repeat_n(Fault::Delayed(slow), 2 * repeats));
    refusals.next(std::iter::repeat_n(Fault::Refused, 2 * repeats));
    let began = Instant::now();
    store.txn_retrying(put()).await.unwrap_err();
    let limit = FAULT_PATIENCE + 2 * slow;
    assert!((FAULT_PATIENCE..limit).contains(&began.elapsed()));
    let began = Instant::now();
    store.txn_repeatable(put()).await.unwrap_err();
    assert!((FAULT_PATIENCE..limit).contains(&began.elapsed()));
}
