//! Every bug and what gives it away.

use std::collections::BTreeSet;

use alluvium_common::seeded_bug::ALL;

use super::plans::Plan::{
    self, CutOff, CutPeers, LateEtcd, LocalKills, LocalWithoutBucket, LongKills,
    LostAnswersAndKills, LostCommits, ObjectKills, PublishingAndLongKills,
    PublishingAndLostAnswers, RetriesWithoutBucket, SlowEtcdAndKills, Stops, UnevenBucket,
};
use super::{caught, caught_in_compacted_topic, clean};

/// One test for each bug, and the list of them all.
macro_rules! bugs {
    ($($test:ident: $name:literal under $plan:ident breaks $($invariant:literal)+;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            caught($name, $plan, &[$($invariant),+]).await;
        })+

        const TRIED: &[&str] = &[$($name),+];
    };
}

/// The same of bugs that only a compacted topic can show: I21.
macro_rules! bugs_of_key_compaction {
    ($($test:ident: $name:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            caught_in_compacted_topic($name).await;
        })+

        const TRIED_COMPACTED: &[&str] = &[$($name),+];
    };
}

bugs! {
    ack_before_durable: "ack-before-durable" under ObjectKills breaks "I2";
    batch_not_uploaded: "batch-not-uploaded" under ObjectKills breaks "I2" "I8" "I24";
    commits_out_of_order: "commits-out-of-order" under UnevenBucket breaks "I24" "I2";
    deadline_not_checked: "deadline-not-checked" under CutOff breaks "I12";
    dropped_before_published: "dropped-before-published" under PublishingAndLongKills breaks "I2" "I24";
    duplicate_acked_early: "duplicate-acked-early" under RetriesWithoutBucket breaks "I2";
    duplicate_at_log_end: "duplicate-at-log-end" under LostAnswersAndKills breaks "I11";
    epoch_not_raised: "epoch-not-raised" under ObjectKills breaks "I15";
    fence_dropped: "fence-dropped" under LateEtcd breaks "I24" "I1" "I2";
    first_commits_not_read: "first-commits-not-read" under ObjectKills breaks "I1" "I2" "I22" "I24";
    follower_tells_end: "follower-tells-end" under CutPeers breaks "I12";
    frozen_not_checked: "frozen-not-checked" under Stops breaks "I2" "I24";
    group_offsets_forgotten: "group-offsets-forgotten" under ObjectKills breaks "I14";
    last_commit_not_read: "last-commit-not-read" under ObjectKills breaks "I1" "I2" "I24";
    latest_is_log_end: "latest-is-log-end" under ObjectKills breaks "I13";
    moved_though_wal_set: "moved-though-wal-set" under LongKills breaks "I2";
    null_published_as_empty: "null-published-as-empty" under PublishingAndLongKills breaks "I18" "I1";
    object_name_reused: "object-name-reused" under ObjectKills breaks "I24";
    offsets_answered_early: "offsets-answered-early" under SlowEtcdAndKills breaks "I14";
    producer_state_lost: "producer-state-lost" under LostAnswersAndKills breaks "I10";
    producers_not_published: "producers-not-published" under PublishingAndLostAnswers breaks "I10";
    published_too_far: "published-too-far" under PublishingAndLongKills breaks "I2" "I8";
    reader_skips_batch: "reader-skips-batch" under ObjectKills breaks "I8";
    record_not_published: "record-not-published" under PublishingAndLongKills breaks "I2" "I8";
    replay_drops_last: "replay-drops-last" under LocalKills breaks "I2" "I1";
    serve_above_watermark: "serve-above-watermark" under ObjectKills breaks "I13";
    stale_generation_accepted: "stale-generation-accepted" under ObjectKills breaks "I14";
    synced_before_written: "synced-before-written" under LocalKills breaks "I2";
    tail_closed_too_early: "tail-closed-too-early" under Stops breaks "I2" "I24";
    topic_id_reused: "topic-id-reused" under LocalKills breaks "I23";
    two_coordinators: "two-coordinators" under Stops breaks "I14";
    unknown_commit_assumed: "unknown-commit-assumed" under LostCommits breaks "I2" "I24";
    wal_given_back_early: "wal-given-back-early" under LocalWithoutBucket breaks "I2";
    watermark_over_not_durable: "watermark-over-not-durable" under ObjectKills breaks "I2" "I1";
}

bugs_of_key_compaction! {
    cleaning_loses_latest: "cleaning-loses-latest";
    tombstone_removed_early: "tombstone-removed-early";
}

#[test]
fn every_bug_is_tried() {
    let all: BTreeSet<_> = ALL.iter().map(|(name, _)| *name).collect();
    let tried: BTreeSet<_> = TRIED.iter().chain(TRIED_COMPACTED).copied().collect();
    assert_eq!(all, tried);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bug_all_plans_are_clean() {
    for plan in Plan::ALL {
        println!("{plan:?}");
        clean(plan).await;
    }
}
