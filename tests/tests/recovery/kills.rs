//! Kills under acknowledged load.

use std::time::Duration;

use alluvium_common::rand::Random;
use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::IncrementalAlterConfigsRequest;
use alluvium_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use alluvium_tests::broker::BrokerOptions;
use alluvium_tests::client::{Client, only};
use alluvium_tests::s3::{Latency, S3Fault, S3Options, S3Server};
use tokio::time::sleep;

use crate::world::{World, rounds};

/// Uploads so often that kills meet them too: some lives replay a log, some find it uploaded, some half of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_survives_kills() {
    let options = BrokerOptions::new().set("segment.upload.ms", 20);
    let mut world = World::start_with("local", options).await;
    for round in 0..rounds() {
        world.some_load().await;
        if round % 3 == 2 {
            world.some_commits().await;
        }
        world.kill_and_restart().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_survives_kills() {
    let mut world = World::start("object", BrokerOptions::new().durability_object()).await;
    for _ in 0..rounds() {
        world.some_load().await;
        world.kill_and_restart().await;
    }
    world.finish().await;
}

/// The suite itself is put to the test: a broker that forgets its log is found out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_write_ahead_log_is_noticed() {
    let options = BrokerOptions::new().set("segment.upload.ms", 3_600_000);
    let mut world = World::start_with("forgetful", options).await;
    world.some_load().await;
    world.broker.kill();
    std::fs::remove_dir_all(world.broker.folder().join("wal")).expect("removed");
    world.broker.restart().await;
    let report = world.judge().await;
    assert!(report.lost > 0, "{report}");
    assert!(!report.violations.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_durability_survives_kills() {
    let mut world = World::start("switched", BrokerOptions::new().quick_puts()).await;
    // `local` batches in the log behind `object` ones that were lost with the memory: neither was acknowledged.
    world.broker.expect_log("do not continue the log");
    for round in 0..rounds() {
        world.some_load().await;
        set_durability(&world, if round % 2 == 0 { "object" } else { "local" }).await;
        world.some_load().await;
        world.kill_and_restart().await;
        set_durability(&world, if round % 3 == 0 { "local" } else { "object" }).await;
    }
    world.finish().await;
}

async fn set_durability(world: &World, class: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: StrBytes::copy_of(&world.topic.name),
            configs: vec![AlterableConfig {
                name: "alluvium.durability".into(),
                config_operation: 0,
                value: Some(StrBytes::copy_of(class)),
            }],
        }],
        validate_only: false,
    };
    let mut client = Client::connect(&world.broker.endpoint()).await;
    let answer = only(client.call(&request).await.responses);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_the_start_lose_nothing() {
    let mut world = World::start("killed while starting", BrokerOptions::new().quick_puts()).await;
    for _ in 0..rounds() {
        world.some_load().await;
        world.broker.kill();
        for _ in 0..3 {
            world.broker.spawn();
            // Not to wait for anything: the moment of the kill is what differs from round to round.
            sleep(Duration::from_millis(world.random.below(150))).await;
            world.broker.kill();
        }
        world.restart().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_under_load_lose_nothing() {
    let mut world = World::start("stopped", BrokerOptions::new().quick_puts()).await;
    for _ in 0..rounds() {
        world.some_load().await;
        let status = world.broker.terminate().await;
        assert!(status.success(), "{status}");
        world.restart().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_beside_a_failing_bucket_survives_kills() {
    beside_a_failing_bucket(
        "object, failing bucket",
        BrokerOptions::new().durability_object(),
    )
    .await;
}

/// What is acknowledged is in the log while its uploads fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_beside_a_failing_bucket_survives_kills() {
    beside_a_failing_bucket("local, failing bucket", BrokerOptions::new()).await;
}

async fn beside_a_failing_bucket(name: &'static str, options: BrokerOptions) {
    let server = S3Server::start(S3Options::default())
        .await
        .expect("a server");
    let mut world = World::start(name, options.s3(&server, "faults")).await;
    world.broker.expect_log("object store");
    for _ in 0..rounds() {
        server.faults().set_latency(Some(Latency::CLOUD));
        server.faults().sometimes(60, S3Fault::SLOW_DOWN);
        server.faults().sometimes(40, S3Fault::INTERNAL_ERROR);
        server.faults().sometimes(60, S3Fault::LoseReply);
        world.some_load().await;
        world.broker.kill();
        // A start asks the bucket whether it is usable, and says so when it is not; faults come back under load.
        server.faults().heal();
        server.faults().set_latency(Some(Latency::CLOUD));
        world.restart().await;
    }
    server.faults().heal();
    world.finish().await;
}
