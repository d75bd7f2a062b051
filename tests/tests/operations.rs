//! What operators use: health, metrics, a clean stop, and the commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alluvium_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use alluvium_protocol::messages::{OffsetCommitRequest, ProduceRequest};
use alluvium_tests::broker::{Broker, BrokerOptions, alluvium, texts, until};
use alluvium_tests::client::{
    ALL, Client, RawConnection, batch, fetch_request, only, produce_request,
};
use alluvium_tests::s3::{S3Fault, S3Options, S3Server};
use tokio::time::Instant;

#[tokio::test]
async fn health_readiness_and_metrics_are_told() {
    let broker = BrokerOptions::new().start().await;
    let healthy = broker.http_get("/healthz").await.expect("an answer");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "ok\n"));
    let ready = broker.http_get("/readyz").await.expect("an answer");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    let missing = broker.http_get("/nothing").await.expect("an answer");
    assert_eq!(missing.status, 404);

    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    let before = broker.metrics().await;
    client.produce_values(&topic, 0, &["a", "b", "c"]).await;
    client.produce_values(&topic, 0, &["d"]).await;
    let after = broker.metrics().await;
    let grown = |name: &str| after.sum(name) - before.sum(name);
    let names: Vec<_> = after.names().collect();
    assert_eq!(grown("alluvium_ingest_records_total"), 4.0, "{names:#?}");
    assert_eq!(grown("alluvium_ingest_batches_total"), 2.0);
    let requests = "alluvium_kafka_requests_total{api=\"Produce\"}";
    let counted = after.get(requests).unwrap_or(0.0) - before.get(requests).unwrap_or(0.0);
    assert_eq!(counted, 2.0, "{names:#?}");
    assert_eq!(after.sum("alluvium_kafka_connections"), 1.0);
}

#[tokio::test]
async fn a_clean_stop_answers_what_was_read_and_is_quick() {
    let mut broker = BrokerOptions::new().durability_object().start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    client.produce_values(&topic, 0, &["first"]).await;
    // Idle clients and waiting readers do not hold it up.
    let _idle = RawConnection::open(broker.address()).await;
    let mut reader = Client::connect(&broker.endpoint()).await;
    let waiting = fetch_request(12, &topic, 0, 1, 80_000);
    reader.send(&waiting, 12).await.expect("sent");
    let request = produce_request(12, ALL, &topic, vec![(0, batch(&["second"]))]);
    let id = client.send(&request, 12).await.expect("sent");
    // Read by the broker before it is told to stop: its end offset has moved or will without us.
    until("the request was read", async || {
        broker.metrics().await.sum("alluvium_ingest_batches_total") >= 2.0
    })
    .await;
    let began = Instant::now();
    let status = broker.terminate().await;
    let took = began.elapsed();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "stopping took {took:?}");
    let response = client
        .receive::<ProduceRequest>(id, 12)
        .await
        .expect("an answer");
    let answer = only(only(response.responses).partition_responses);
    assert_eq!((answer.error_code, answer.base_offset), (0, 1));
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&topic, 0).await, ["first", "second"]);
}

/// A bucket that is away must not keep a broker from ending: the rest is in the write-ahead log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_beside_a_dead_bucket_ends_in_time() {
    let server = S3Server::start(S3Options::default())
        .await
        .expect("a server");
    let options = BrokerOptions::new()
        .s3(&server, "dead")
        .set("shutdown.timeout.ms", 1_500);
    let mut broker = options.start().await;
    broker.expect_log("upload");
    broker.expect_log("object store");
    broker.expect_log("stopping took too long");
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    client.produce_values(&topic, 0, &["kept"]).await;
    server.faults().always("PutObject", S3Fault::SLOW_DOWN);
    let began = Instant::now();
    broker.terminate().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "stopping took {took:?}");
    server.faults().heal();
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&topic, 0).await, ["kept"]);
}

fn assert_row(table: &str, cells: &[&str]) {
    let found = table
        .lines()
        .any(|line| line.split_whitespace().eq(cells.iter().copied()));
    assert!(found, "no row {cells:?} in\n{table}");
}

async fn refused(broker: &Broker, arguments: &[&str]) -> String {
    let output = broker.command(arguments, "").await;
    let (_, said) = texts(&output);
    assert!(!output.status.success(), "alluvium {arguments:?} succeeded");
    assert!(said.starts_with("error:"), "{said}");
    said
}

#[tokio::test]
async fn topic_commands() {
    let broker = BrokerOptions::new().start().await;
    let created = broker
        .command_ok(
            &[
                "topic",
                "create",
                "orders",
                "-p",
                "3",
                "--set",
                "retention.ms=1000",
            ],
            "",
        )
        .await;
    assert_eq!(created, "created orders with 3 partitions\n");
    assert!(
        refused(&broker, &["topic", "create", "orders"])
            .await
            .contains("TOPIC_ALREADY_EXISTS")
    );
    assert!(
        refused(&broker, &["topic", "create", "a/b"])
            .await
            .contains("INVALID_TOPIC")
    );
    let bad = ["topic", "create", "other", "--set", "no.such=1"];
    assert!(refused(&broker, &bad).await.contains("no.such"));
    let list = broker.command_ok(&["topic", "list"], "").await;
    assert!(
        list.lines().any(|line| line.starts_with("orders  3 ")),
        "{list}"
    );

    broker
        .command_ok(&["produce", "orders", "-p", "1"], "one\ntwo\n")
        .await;
    let described = broker
        .command_ok(&["topic", "describe", "orders"], "")
        .await;
    assert_row(&described, &["1", "1", "0", "0", "2"]);
    assert_row(&described, &["retention.ms", "1000"]);
    let alter = [
        "topic",
        "alter",
        "orders",
        "-p",
        "4",
        "--set",
        "alluvium.durability=object",
        "--unset",
        "retention.ms",
    ];
    broker.command_ok(&alter, "").await;
    let described = broker
        .command_ok(&["topic", "describe", "orders"], "")
        .await;
    assert_row(&described, &["alluvium.durability", "object"]);
    assert!(!described.contains("retention.ms"), "{described}");
    assert_row(&described, &["3", "1", "0", "0", "0"]);

    broker.command_ok(&["topic", "delete", "orders"], "").await;
    assert!(
        refused(&broker, &["topic", "describe", "orders"])
            .await
            .contains("UNKNOWN_TOPIC")
    );
}

#[tokio::test]
async fn produce_and_consume_commands() {
    let broker = BrokerOptions::new().start().await;
    broker
        .command_ok(&["topic", "create", "orders", "-p", "2"], "")
        .await;
    let sent = broker
        .command(
            &["produce", "orders", "-K", ":", "--compression", "zstd"],
            "k1:a\nk2:b\nk1:c\n",
        )
        .await;
    assert!(sent.status.success());
    assert_eq!(texts(&sent).1, "3 records acknowledged\n");
    let all = ["consume", "orders", "--from-beginning", "--exit-at-end"];
    let read = broker.command_ok(&all, "").await;
    let mut lines: Vec<_> = read.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b", "c"]);
    // Records of one key stay in one partition and in order.
    assert!(read.find('a') < read.find('c'));
    let json = broker
        .command_ok(&[&all[..], &["--json"]].concat(), "")
        .await;
    let first: serde_json::Value = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .find(|record: &serde_json::Value| record["value"] == "a")
        .expect("the first record");
    assert_eq!(first["key"], "k1");
    let partition = first["partition"].to_string();
    let from = ["consume", "orders", "-p", &partition, "-o", "0", "-n", "1"];
    assert_eq!(broker.command_ok(&from, "").await.lines().count(), 1);
    assert!(
        refused(&broker, &["consume", "missing"])
            .await
            .contains("UNKNOWN_TOPIC")
    );
    assert!(
        refused(&broker, &["produce", "orders", "-p", "9"])
            .await
            .contains("partitions 0 to 1")
    );
    let elsewhere = ["topic", "--bootstrap", "127.0.0.1:1", "list"];
    assert!(refused(&broker, &elsewhere).await.contains("127.0.0.1:1"));
}

#[tokio::test]
async fn compaction_commands() {
    let broker = BrokerOptions::new().durability_object().start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 2, &[]).await;
    client.create_topic("empty", 1, &[]).await;
    client.produce_values(&topic, 0, &["a", "b", "c"]).await;
    let status = broker.command_ok(&["compaction", "status"], "").await;
    let rows: Vec<Vec<_>> = status
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let header = "TOPIC PARTITIONS IN TABLES IN SEGMENTS ON DISK UNPUBLISHED";
    assert_eq!(rows[0].join(" "), header);
    assert_eq!(rows[1].join(" "), "empty 1 0 B 0 B 0 B 0");
    assert_eq!(rows[2][..4].join(" "), "orders 2 0 B", "{status}");
    assert_ne!(rows[2][4], "0", "in segments: {status}");
    assert_eq!(rows[2].last(), Some(&"3"), "{status}");
    let one = ["compaction", "status", "--topic", "empty"];
    assert_eq!(broker.command_ok(&one, "").await.lines().count(), 2);
    let run = ["compaction", "run", "--topic", "orders"];
    let said = broker.command_ok(&run, "").await;
    assert!(
        said.contains("3 records of orders not in table files yet"),
        "{said}"
    );
    assert!(said.contains("its 2 partitions of orders to "), "{said}");
    let nothing = ["compaction", "run", "--topic", "empty", "--wait"];
    let said = broker.command_ok(&nothing, "").await;
    assert!(said.contains("in table files already"), "{said}");
    for action in ["status", "run"] {
        let missing = ["compaction", action, "--topic", "missing"];
        assert!(refused(&broker, &missing).await.contains("UNKNOWN_TOPIC"));
    }
}

/// The bill of `cost --json`, with more arguments.
async fn cost(broker: &Broker, arguments: &[&str]) -> serde_json::Value {
    let arguments = [&["cost", "--json"], arguments].concat();
    let told = broker.command_ok(&arguments, "").await;
    serde_json::from_str(&told).expect("one JSON object")
}

fn number(value: &serde_json::Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn cost_command() {
    let broker = BrokerOptions::new()
        .durability_object()
        .set("price.currency", "EUR")
        .set("price.storage.gib.month", 1_073_741.824)
        .start()
        .await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 2, &[]).await;
    client.create_topic("empty", 1, &[]).await;
    client.produce_values(&topic, 0, &["a", "b", "c"]).await;
    let run = ["compaction", "run", "--topic", "orders", "--wait"];
    broker.command_ok(&run, "").await;

    let told = cost(&broker, &[]).await;
    assert_eq!(told["currency"], "EUR");
    assert_eq!(told["missing"].as_array().map(Vec::len), Some(0), "{told}");
    let seconds = number(&told["measured"][0]["seconds"]);
    let (orders, empty, total) = (
        &told["topics"]["orders"],
        &told["topics"]["empty"],
        &told["total"],
    );
    let stored = number(&orders["segment_bytes"]) + number(&orders["table_bytes"]);
    assert!(number(&orders["table_bytes"]) > 0.0, "{told}");
    // 1,000 for a million bytes.
    let expected = stored / 1_000.0;
    assert!((number(&orders["storage_per_month"]) - expected).abs() < 1e-6 * expected);
    let month_seconds = 730.0 * 3_600.0;
    let times = month_seconds / seconds;
    let in_that_time = |line: &serde_json::Value, of: &str| number(&line[of]) / times;
    // A segment of its own, a table file and a manifest; the publisher read the segment.
    let puts = in_that_time(orders, "puts_per_month");
    assert!((3.0 - 1e-6..6.0).contains(&puts), "{puts} PUTs: {told}");
    let gets = in_that_time(orders, "gets_per_month");
    assert!(gets > 1.0 - 1e-6, "{gets} GETs: {told}");
    assert_eq!(number(&empty["puts_per_month"]), 0.0, "{told}");
    for what in ["puts_per_month", "gets_per_month", "sum_per_month"] {
        let lines = [orders, empty, &told["no_topic"]];
        let sum: f64 = lines.iter().map(|line| number(&line[what])).sum();
        let all = number(&total[what]);
        assert!((sum - all).abs() <= 1e-6 * all, "{what}: {told}");
    }

    let shown = broker.command_ok(&["cost"], "").await;
    let header = shown.lines().next().unwrap_or_default();
    let header: Vec<_> = header.split_whitespace().collect();
    let columns = "TOPIC ON DISK IN SEGMENTS IN TABLES PUTS GETS STORAGE REQUESTS SUM";
    assert_eq!(header.join(" "), columns);
    for words in [
        "orders",
        "(total)",
        "EUR for a month",
        "by broker 1 in",
        "Estimated:",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let one = broker.command_ok(&["cost", "--topic", "empty"], "").await;
    assert!(!one.contains("orders") && !one.contains("(total)"), "{one}");

    // Bytes and storage do not need metrics.
    let elsewhere = cost(&broker, &["--metrics", "127.0.0.1:1"]).await;
    assert_eq!(
        elsewhere["topics"]["orders"]["puts_per_month"],
        serde_json::Value::Null
    );
    assert!(number(&elsewhere["topics"]["orders"]["storage_per_month"]) > 0.0);
    assert_eq!(
        elsewhere["missing"].as_array().map(Vec::len),
        Some(2),
        "{elsewhere}"
    );
    let shown = broker
        .command_ok(&["cost", "--metrics", "127.0.0.1:1"], "")
        .await;
    assert!(
        shown.contains("SUM is storage only") && shown.contains("127.0.0.1:1"),
        "{shown}"
    );
    let missing = ["cost", "--topic", "missing"];
    assert!(refused(&broker, &missing).await.contains("UNKNOWN_TOPIC"));

    let of_orders = "alluvium_topic_requests_total{topic=\"orders\",billed_as=\"put\"}";
    assert!(broker.metrics().await.get(of_orders).is_some());
    broker.command_ok(&["topic", "delete", "orders"], "").await;
    until("the deleted topic is not counted", async || {
        broker.metrics().await.get(of_orders).is_none()
    })
    .await;
}

#[tokio::test]
async fn group_commands() {
    let broker = BrokerOptions::new().start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    client.produce_values(&topic, 0, &["a", "b", "c"]).await;
    let commit = OffsetCommitRequest {
        group_id: "billing".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.clone().into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 1,
                committed_leader_epoch: -1,
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let response = client.call_version(&commit, 8).await;
    assert_eq!(only(only(response.topics).partitions).error_code, 0);
    let list = broker.command_ok(&["group", "list"], "").await;
    assert!(
        list.lines().any(|line| line.starts_with("billing")),
        "{list}"
    );
    let described = broker
        .command_ok(&["group", "describe", "billing"], "")
        .await;
    assert_row(&described, &["orders", "0", "1", "3", "2"]);
    broker.command_ok(&["group", "delete", "billing"], "").await;
    let list = broker.command_ok(&["group", "list"], "").await;
    assert!(!list.contains("billing"), "{list}");
}

#[tokio::test]
async fn verify_needs_a_stopped_broker_and_counts_what_is_there() {
    let mut broker = BrokerOptions::new().start().await;
    broker
        .command_ok(&["topic", "create", "orders", "-p", "2"], "")
        .await;
    broker
        .command_ok(&["produce", "orders"], "one\ntwo\nthree\n")
        .await;
    let folder = broker.folder().display().to_string();
    let running = alluvium(&["verify", "--data-dir", &folder]).await;
    let (_, said) = texts(&running);
    assert!(
        !running.status.success() && said.contains("in use"),
        "{said}"
    );
    assert!(broker.terminate().await.success());
    let (out, _) = texts(&broker.verify().await);
    assert!(out.contains("1 topics, 2 partitions, 1 segments"), "{out}");
    assert!(
        out.contains("3 records") && out.contains("everything is in order"),
        "{out}"
    );
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut all: Vec<_> = paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn verify_repairs_what_nobody_needs_and_leaves_the_rest() {
    let mut broker = BrokerOptions::new()
        .durability_object()
        .set("log.segment.delete.delay.ms", 300)
        .start()
        .await;
    broker.command_ok(&["topic", "create", "orders"], "").await;
    broker
        .command_ok(&["produce", "orders"], "one\ntwo\nthree\n")
        .await;
    assert!(broker.terminate().await.success());
    let segments = broker.folder().join("objects/segments");
    let committed = files(&segments);
    let orphan = segments.join("1/1/0123456789abcdef0123456789abcdef.seg");
    fs::create_dir_all(orphan.parent().expect("a folder")).expect("made");
    fs::write(&orphan, "left by an upload").expect("written");

    let (out, err) = texts(&broker.offline("verify", &["--repair", "--dry-run"]).await);
    assert!(
        out.contains("would repair: 1 object and 0 uploads"),
        "{out}{err}"
    );
    assert!(orphan.exists());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let elsewhere = elsewhere.path().display().to_string();
    let wrong = ["--repair", "--object-store", &elsewhere];
    let (out, err) = texts(&broker.offline("verify", &wrong).await);
    assert!(
        err.contains("not the object store of these metadata"),
        "{out}{err}"
    );
    assert!(orphan.exists());

    let repaired = broker.offline("verify", &["--repair"]).await;
    let (out, err) = texts(&repaired);
    assert!(repaired.status.success(), "{out}{err}");
    assert!(
        out.contains("repaired: 1 object that nothing named: deleted"),
        "{out}{err}"
    );
    assert_eq!(files(&segments), committed);
    let (out, err) = texts(&broker.verify().await);
    assert!(out.contains("0 objects of 0 bytes"), "{out}{err}");
    assert!(out.contains("everything is in order"), "{out}{err}");

    // Of what cannot be read it is not known what it names.
    fs::write(&orphan, "left by an upload").expect("written");
    let damaged = committed.first().expect("a segment");
    fs::write(damaged, "damaged").expect("written");
    let left = broker.offline("verify", &["--repair"]).await;
    let (out, err) = texts(&left);
    assert!(!left.status.success(), "{out}{err}");
    for words in [
        "WRONG: ",
        "not repaired (",
        "put the object back",
        "left alone: objects",
    ] {
        assert!(out.contains(words), "{words}: {out}{err}");
    }
    assert!(orphan.exists());
    assert_eq!(fs::read(damaged).expect("there"), b"damaged");
}

#[tokio::test]
async fn config_prints_every_setting_and_reads_its_own_output() {
    let printed = alluvium(&["config"]).await;
    let (text, _) = texts(&printed);
    assert!(printed.status.success());
    for key in [
        "data.dir",
        "socket.request.max.bytes",
        "put.budget.per.second",
    ] {
        assert!(text.contains(key), "{key} is missing in\n{text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alluvium.toml");
    std::fs::write(&file, text).expect("written");
    let flags = ["--config", file.to_str().expect("a plain path")];
    let broker = BrokerOptions::new().flags(&flags).start().await;
    drop(broker);
    let (topics, _) = texts(&alluvium(&["config", "--topic"]).await);
    assert!(
        topics.contains("cleanup.policy") && topics.contains("alluvium.durability"),
        "{topics}"
    );
}
