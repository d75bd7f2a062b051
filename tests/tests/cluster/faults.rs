//! Schedules written by hand, each about one promise.

use std::time::Duration;

use alluvium_tests::cluster::{BucketTrouble, Cut, Fault, Link, SESSION};
use alluvium_tests::etcd::skipped;
use alluvium_tests::load::LoadOptions;
use alluvium_tests::schedule::{Event, Schedule};
use alluvium_tests::trial::Trial;

use super::{assert_clean, brokers, setup};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn event(at: Duration, lasting: Duration, fault: Fault) -> Event {
    Event { at, lasting, fault }
}

async fn survives(name: &'static str, class: &'static str, events: Vec<Event>) {
    if skipped() {
        return;
    }
    let trial = Trial {
        name,
        setup: setup(),
        load: LoadOptions::of(class, 1),
        schedule: Schedule::of(events),
    };
    assert_clean(&trial.run().await);
}

/// F1, F2, F3: the frozen broker wakes up in the middle of what it was doing, and its session is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_frozen_beyond_its_lease_acknowledges_nothing_more() {
    let frozen = event(ms(500), SESSION * 2, Fault::Freeze(1));
    survives("frozen", "object", vec![frozen]).await;
}

/// F4: commits happen and nobody says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_etcd_are_lost() {
    let lost = |at| {
        let fault = Fault::Cut(1, Link::Etcd, Cut::Answers);
        event(ms(at), ms(700), fault)
    };
    survives(
        "answers lost",
        "object",
        vec![lost(300), lost(1_800), lost(3_300)],
    )
    .await;
}

/// Uploads happen and nobody says so: names are never used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_the_bucket_are_lost() {
    let trouble = Fault::Bucket(BucketTrouble::LostReplies);
    survives("bucket", "object", vec![event(ms(300), ms(3_000), trouble)]).await;
}

/// A planned restart of every broker, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_restarted_in_turn() {
    let stops = (1..=brokers()).map(|number| {
        let at = ms(500) + ms(3_500) * u32::try_from(number - 1).expect("a few brokers");
        event(at, ms(1_500), Fault::Stop(number))
    });
    survives("in turn", "object", stops.collect()).await;
}

/// All die at once: nothing that was acknowledged is in memory only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_brokers_are_killed_at_once() {
    let kill = |number| event(ms(1_000), ms(400), Fault::Kill(number));
    survives("all at once", "local", (1..=brokers()).map(kill).collect()).await;
}
