//! A start that cannot succeed, a disk that is full, a bucket that is ill.

use std::fs;
use std::net::TcpListener;

use alluvium_protocol::ErrorCode;
use alluvium_tests::broker::{BrokerOptions, until};
use alluvium_tests::client::{ALL, Client, Topic, batch, only, produce_request};
use alluvium_tests::disk::SmallDisk;
use alluvium_tests::s3::{S3Fault, S3Options, S3Server};

use crate::Bystander;

#[tokio::test]
async fn a_data_folder_in_use_is_left_alone() {
    let mut bystander = Bystander::start().await;
    let mut second = BrokerOptions::new()
        .folder(bystander.broker.folder())
        .prepare();
    let said = second.start_refused().await;
    assert!(
        said.contains("in use") && said.contains("--data-dir"),
        "{said}"
    );
    bystander.is_served().await;
}

#[tokio::test]
async fn a_data_folder_of_a_newer_version_is_left_alone() {
    let mut broker = BrokerOptions::new().start().await;
    assert!(broker.terminate().await.success());
    let file = broker.folder().join("folder.json");
    let good = fs::read_to_string(&file).expect("readable");
    let mut newer: serde_json::Value = serde_json::from_str(&good).expect("JSON");
    newer["layout_version"] = 99.into();
    fs::write(&file, newer.to_string()).expect("writable");
    let said = broker.start_refused().await;
    assert!(said.contains("99") && said.contains("newer"), "{said}");
    fs::write(&file, "{").expect("writable");
    let said = broker.start_refused().await;
    assert!(said.contains("folder.json"), "{said}");
    fs::write(&file, good).expect("writable");
    broker.restart().await;
}

#[tokio::test]
async fn unknown_and_impossible_settings_are_errors() {
    let cases = [
        ("num.partition", "3", "num.partitions"),
        ("no.such.setting", "1", "no.such.setting"),
        ("listen", "nowhere", "listen"),
        ("message.max.bytes", "many", "message.max.bytes"),
        ("alluvium.durability", "eternal", "alluvium.durability"),
    ];
    for (key, value, told) in cases {
        let said = BrokerOptions::new()
            .set(key, value)
            .prepare()
            .start_refused()
            .await;
        assert!(said.contains(told), "{key}={value}: {said}");
    }
    let mut broker = BrokerOptions::new()
        .environment("ALLUVIUM_NO_SUCH_SETTING", "1")
        .prepare();
    let said = broker.start_refused().await;
    assert!(said.contains("ALLUVIUM_NO_SUCH_SETTING"), "{said}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alluvium.toml");
    for (text, told) in [
        ("no.such.setting = 1\n", "no.such.setting"),
        ("= nonsense\n", "TOML"),
    ] {
        fs::write(&file, text).expect("writable");
        let flags = ["--config", file.to_str().expect("a plain path")];
        let said = BrokerOptions::new()
            .flags(&flags)
            .prepare()
            .start_refused()
            .await;
        assert!(
            said.contains(told) && said.contains("alluvium.toml"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for flag in ["--listen", "--http"] {
        // The last of two equal settings counts.
        let key = flag.trim_start_matches('-');
        let said = BrokerOptions::new()
            .set(key, &address)
            .prepare()
            .start_refused()
            .await;
        assert!(said.contains(&address) && said.contains(flag), "{said}");
    }
}

#[tokio::test]
async fn an_unusable_bucket_is_told_at_the_start() {
    let server = S3Server::start(S3Options::default())
        .await
        .expect("a server");
    let options = BrokerOptions::new().s3(&server, "data");
    let mut broker = options
        .clone()
        .set("object.store", "s3://no-such-bucket/data")
        .prepare();
    let said = broker.start_refused().await;
    assert!(said.contains("no-such-bucket"), "{said}");
    let wrong_key = options
        .clone()
        .environment("AWS_SECRET_ACCESS_KEY", "wrong");
    let said = wrong_key.prepare().start_refused().await;
    assert!(!said.contains("wrong\n"), "a secret is told: {said}");
    let mut broker = options.set("object.store", "ftp://bucket").prepare();
    let said = broker.start_refused().await;
    assert!(said.contains("ftp"), "{said}");
}

/// Producers of class local go on while the bucket refuses everything; those of class object wait, in bounded
/// memory, and all is well when the bucket is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_answers_503_delays_and_loses_nothing() {
    a_bucket_away(S3Fault::SLOW_DOWN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_hangs_delays_and_loses_nothing() {
    a_bucket_away(S3Fault::Hang).await;
}

async fn a_bucket_away(fault: S3Fault) {
    let server = S3Server::start(S3Options::default())
        .await
        .expect("a server");
    let options = BrokerOptions::new()
        .s3(&server, "away")
        .quick_puts()
        .set("segment.upload.ms", 100)
        .set("request.memory.bytes", 8 << 20)
        .set("tail.memory.bytes", 8 << 20);
    let mut bystander = Bystander::with(options).await;
    bystander.broker.expect_log("object store");
    let endpoint = bystander.broker.endpoint();
    let mut client = Client::connect(&endpoint).await;
    let local = client.create_topic("local", 1, &[]).await;
    let object = client
        .create_topic("object", 1, &[("alluvium.durability", "object")])
        .await;
    server.faults().always("PutObject", fault.clone());
    server.faults().always("CreateMultipartUpload", fault);

    let waiting = tokio::spawn({
        let topic = object.clone();
        let endpoint = endpoint.clone();
        async move {
            let mut client = Client::connect(&endpoint).await;
            client.produce_values(&topic, 0, &["patient"]).await
        }
    });
    // Five times the request memory.
    let values: Vec<_> = (0..80)
        .map(|number| format!("{number:02}{}", "x".repeat(500_000)))
        .collect();
    for value in &values {
        client.produce_values(&local, 0, &[value]).await;
    }
    bystander.assert_grown_below_mib(150);
    assert!(!waiting.is_finished(), "acknowledged without a bucket");
    let read = client.read(&local, 0, 0).await;
    assert_eq!(
        read.len(),
        values.len(),
        "what is not uploaded yet can be read"
    );
    bystander.is_served().await;

    server.faults().heal();
    assert_eq!(waiting.await.expect("no panic"), 0);
    bystander.is_served().await;
    assert!(bystander.broker.terminate().await.success());
    bystander.broker.restart().await;
    let mut client = Client::connect(&endpoint).await;
    assert_eq!(client.values(&local, 0).await, values);
    assert_eq!(client.values(&object, 0).await, ["patient"]);
    bystander.assert_grown_below_mib(200);
}

/// The write-ahead log cannot grow: `local` is refused cleanly, `object` goes on, nothing acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 64) else {
        println!("skipped: a small disk cannot be mounted here");
        return;
    };
    let server = S3Server::start(S3Options::default())
        .await
        .expect("a server");
    let options = BrokerOptions::new()
        .folder(&disk.path().join("data"))
        .s3(&server, "full")
        .quick_puts()
        .set("wal.file.bytes", 2 << 20)
        .set("segment.upload.ms", 3_600_000);
    let mut bystander = Bystander::with(options).await;
    bystander.broker.expect_log("write-ahead log");
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    let local = client.create_topic("local", 1, &[]).await;
    let object = client
        .create_topic("object", 1, &[("alluvium.durability", "object")])
        .await;
    // Metadata still has room to breathe; the log has not.
    let filler = disk.fill(1 << 20);
    let mut acknowledged = Vec::new();
    let refused = loop {
        assert!(acknowledged.len() < 400, "64 MiB hold no 100 MiB");
        let value = format!("{:03}{}", acknowledged.len(), "x".repeat(250_000));
        let request = produce_request(12, ALL, &local, vec![(0, batch(&[&value]))]);
        let response = client.call_version(&request, 12).await;
        match ErrorCode::from(only(only(response.responses).partition_responses).error_code) {
            ErrorCode::None => acknowledged.push(value),
            code => break code,
        }
    };
    assert!(refused.is_retriable(), "{refused}");
    let at = client.produce_values(&object, 0, &["goes on"]).await;
    assert_eq!(at, 0);
    fs::remove_file(filler).expect("removed");
    until("local is accepted again", async || {
        let answer = client.produce(&local, 0, batch(&["after"])).await;
        answer.error_code == 0
    })
    .await;
    acknowledged.push("after".to_owned());
    has_in_order(&mut client, &local, &acknowledged).await;
    bystander.broker.kill();
    bystander.broker.restart().await;
    let mut client = Client::connect(&bystander.broker.endpoint()).await;
    has_in_order(&mut client, &local, &acknowledged).await;
    assert_eq!(client.values(&object, 0).await, ["goes on"]);
}

/// Refusals that left open what became of a batch may have left it in the log; everything else is there once.
async fn has_in_order(client: &mut Client, topic: &Topic, expected: &[String]) {
    let values = client.values(topic, 0).await;
    let mut rest = values.iter();
    for value in expected {
        assert!(rest.any(|found| found == value), "{} is lost", &value[..3]);
    }
}
