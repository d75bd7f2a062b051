//! A compactor is killed in the middle of putting a table file in parts: its parts go, and nobody else's.

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_tests::broker::{Broker, BrokerOptions, texts, until};
use alluvium_tests::client::{Client, Topic};
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

/// A broker that has put all parts of a table file, and gets no answer to what would make them an object.
async fn about_to_complete(server: &S3Server, options: BrokerOptions) -> (Broker, Topic) {
    let options = options.durability_object().s3(server, "cluster");
    let options = options.set("log.segment.delete.delay.ms", 100);
    let broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    let random = SeededRandom::new(7);
    for _ in 0..RECORDS {
        let value = value(&*random);
        client.produce_values(&topic, 0, &[&value]).await;
    }
    let complete = "CompleteMultipartUpload";
    server.faults().always(complete, S3Fault::Hang);
    let publish = ["compaction", "run", "--topic", "orders"];
    broker.command_ok(&publish, "").await;
    until("the table file is to be completed", async || {
        server.count(complete) > 0
    })
    .await;
    assert_eq!(server.open_uploads(), 1);
    (broker, topic)
}

#[tokio::test]
async fn parts_of_a_dead_compactor_are_dropped_and_those_of_a_living_one_are_not() {
    let server = S3Server::start(S3Options::default()).await.expect("start");
    let options = BrokerOptions::new().set("reclaim.sweep.interval.ms", 100);
    let (mut broker, topic) = about_to_complete(&server, options).await;
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

#[tokio::test]
async fn a_repair_drops_them_too() {
    let server = S3Server::start(S3Options::default()).await.expect("start");
    let (mut broker, _) = about_to_complete(&server, BrokerOptions::new()).await;
    broker.kill();
    server.faults().heal();
    broker.restart().await;
    let publish = ["compaction", "run", "--topic", "orders", "--wait"];
    broker.command_ok(&publish, "").await;
    assert!(broker.terminate().await.success());
    assert_eq!(server.open_uploads(), 1, "no sweep was due");

    let (out, err) = texts(&broker.offline("verify", &["--repair", "--dry-run"]).await);
    assert!(out.contains("1 upload in parts of sessions"), "{out}{err}");
    assert_eq!(server.open_uploads(), 1);
    let (out, err) = texts(&broker.offline("verify", &["--repair"]).await);
    let aborted = "repaired: 1 upload in parts that nobody completes: aborted";
    assert!(out.contains(aborted), "{out}{err}");
    assert_eq!(server.open_uploads(), 0);
    let (out, err) = texts(&broker.offline("verify", &["--repair"]).await);
    assert!(out.contains("nothing to repair"), "{out}{err}");
}
