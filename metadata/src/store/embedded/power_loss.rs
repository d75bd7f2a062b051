//! Power loss at any moment: what was acknowledged is there afterwards, what was in doubt is there as a
//! whole or not at all, and nothing else is.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::error::Outcome;
use alluvium_common::rand::{Random, SeededRandom};
use bytes::Bytes;

use super::crash_disk::CrashDisk;
use super::{CommitBy, EmbeddedOptions, EmbeddedStore};
use crate::store::MetadataStore;
use crate::store::{KeyRange, MetadataStoreExt, Op, Revision, Txn, WatchRequest};

type Content = BTreeMap<Bytes, Bytes>;

/// A state the store may be in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    revision: Revision,
    content: Content,
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        commit_by: CommitBy::Caller,
        history_events_max: 20,
        ..EmbeddedOptions::new("test")
    }
}

/// One life of a disk: writes until the power goes, recovers (the power may go again), compares.
/// Says what was found wrong.
async fn life(seed: u64, lie_every: u64) -> Result<(), String> {
    let random = SeededRandom::new(seed);
    let disk = CrashDisk::new(Vec::new(), Some(1 + random.below(400)), lie_every);
    let mut model = Model {
        revision: Revision::FIRST,
        content: Content::new(),
    };
    let mut doubt = None;
    match EmbeddedStore::open_with_backend(disk.clone(), &options()) {
        Ok(store) => doubt = write_until_dead(&store, &random, &mut model).await,
        Err(error) if !disk.is_dead() => return Err(format!("a new store does not open: {error}")),
        Err(_) => {}
    }
    let store = recover(disk.after_power_loss(&random), &random)?;
    let (revision, kvs) = store
        .list(KeyRange::all())
        .await
        .map_err(|error| error.to_string())?;
    let content = kvs.into_iter().map(|kv| (kv.key, kv.value)).collect();
    let found = Model { revision, content };
    if found != model && Some(&found) != doubt.as_ref() {
        return Err(format!(
            "found {found:?}, acknowledged {model:?}, in doubt {doubt:?}"
        ));
    }
    replay_newest(&store, found.revision).await
}

/// Applies random transactions; returns the state in doubt, if the last one left one.
async fn write_until_dead(
    store: &EmbeddedStore,
    random: &Arc<SeededRandom>,
    model: &mut Model,
) -> Option<Model> {
    for step in 0..60_u64 {
        let mut next = model.clone();
        let mut txn = Txn::new();
        for _ in 0..=random.below(3) {
            let key = Bytes::from(format!("k{:02}-{}", random.below(20), txn.then_ops.len()));
            let value = Bytes::from(vec![step as u8; random.below(3000) as usize]);
            next.content.insert(key.clone(), value.clone());
            txn = txn.then(Op::put(key, value));
        }
        if random.below(4) == 0 {
            let gone = format!("k{:02}-9", random.below(20));
            txn = txn.then(Op::delete(gone));
        }
        next.revision = next.revision.next();
        match store.txn(txn).await {
            Ok(response) => {
                assert_eq!(response.revision, next.revision);
                *model = next;
            }
            Err(error) => return (error.outcome() == Outcome::Unknown).then_some(next),
        }
    }
    None
}

/// Opens what the crash left, with up to two more crashes while it does.
fn recover(mut image: Vec<u8>, random: &SeededRandom) -> Result<EmbeddedStore, String> {
    for _ in 0..random.below(3) {
        let disk = CrashDisk::new(image, Some(1 + random.below(12)), 0);
        let opened = EmbeddedStore::open_with_backend(disk.clone(), &options());
        if let Err(error) = opened
            && !disk.is_dead()
        {
            return Err(format!("does not open: {error}"));
        }
        image = disk.after_power_loss(random);
    }
    let disk = CrashDisk::new(image, None, 0);
    EmbeddedStore::open_with_backend(disk, &options())
        .map_err(|error| format!("does not open: {error}"))
}

/// History agrees with the state: the newest revision can be watched, and the store goes on from it.
async fn replay_newest(store: &EmbeddedStore, newest: Revision) -> Result<(), String> {
    let next = store
        .put("after", "x")
        .await
        .map_err(|error| error.to_string())?;
    if next != newest.next() {
        return Err(format!("revision {next} after {newest}"));
    }
    let from = if newest > Revision::FIRST {
        newest
    } else {
        next
    };
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()).from(from))
        .await
        .expect("watch");
    let batch = watch.next().await.map_err(|error| error.to_string())?;
    if batch.revision == from {
        Ok(())
    } else {
        Err(format!("replayed {} from {from}", batch.revision))
    }
}

const FIRST_SEED: u64 = 0x5eed;

#[tokio::test]
async fn power_loss_keeps_what_was_acknowledged() {
    for seed in FIRST_SEED..FIRST_SEED + 40 {
        let result = life(seed, 0).await;
        assert_eq!(result, Ok(()), "seed {seed:#x}");
    }
}

/// The test above must be able to fail: a disk whose syncs lie now and then is found out.
#[tokio::test]
async fn a_lying_disk_is_found_out() {
    let mut found_out = 0;
    for seed in FIRST_SEED..FIRST_SEED + 40 {
        found_out += u32::from(life(seed, 3).await.is_err());
    }
    assert!(found_out > 0, "lost writes went unnoticed");
}
