//! A compactor is killed in the middle of putting a table file in parts: its parts go, and nobody else's.

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_tests::broker::{BrokerOptions, until};
use alluvium_tests::client::Client;
use alluvium_tests::s3::{S3Fault, S3Options, S3Server};

/// So many of these that the table file is larger than a part (8 MiB), as six bits of each byte cannot be compressed.
const RECORDS: usize = 16;
const RECORD_BYTES: usize = 900_000;

/// Looks of the sweep, each after the grace is over, that an upload has to live through.
const LOOKS: u64 = 5;

fn value(random: &dyn Random) -> String {
    let letters = std::iter::from_fn(|| Some(random.next_u64())).flat_map(|number| {
        // Ten times six bits.
        (0..10).map(move |at| char::from(b'0' + (number >> (at * 6) & 63) as u8))
    });
    letters.take(RECORD_BYTES).collect()
}

#[tokio::test]
async fn parts_of_a_dead_compactor_are_dropped_and_those_of_a_living_one_are_not() {
    let server = S3Server::start(S3Options::default()).await.expect("start");
    let options = BrokerOptions::new()
        .durability_object()
        .s3(&server, "cluster");
    let mut broker = options
        .set("reclaim.sweep.interval.ms", 100)
        .set("log.segment.delete.delay.ms", 100)
        .start()
        .await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    let random = SeededRandom::new(7);
    for _ in 0..RECORDS {
        let value = value(&*random);
        client.produce_values(&topic, 0, &[&value]).await;
    }

    // Parts are there, and no answer to what would make them an object.
    server
        .faults()
        .always("CompleteMultipartUpload", S3Fault::Hang);
    let publish = ["compaction", "run", "--topic", "orders"];
    broker.command_ok(&publish, "").await;
    until("the table file is to be completed", async || {
        server.count("CompleteMultipartUpload") > 0
    })
    .await;
    let looks = server.count("ListMultipartUploads");
    until("the bucket was swept again and again", async || {
        server.count("ListMultipartUploads") >= looks + LOOKS
    })
    .await;
    assert_eq!(
        server.open_uploads(),
        1,
        "who lives may complete what it began"
    );
    assert_eq!(server.count("AbortMultipartUpload"), 0);

    broker.kill();
    server.faults().heal();
    broker.restart().await;
    until("the upload is aborted", async || {
        server.count("AbortMultipartUpload") > 0 && server.open_uploads() == 0
    })
    .await;
    let publish = ["compaction", "run", "--topic", "orders", "--wait"];
    broker.command_ok(&publish, "").await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&topic, 0).await.len(), RECORDS);
    let metrics = broker.metrics().await;
    assert_eq!(metrics.sum("alluvium_reclaim_aborted_uploads_total"), 1.0);
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
}
