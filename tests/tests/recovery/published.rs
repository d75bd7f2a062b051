//! What is published and damaged: the audit names it.

use std::fs;
use std::path::{Path, PathBuf};

use alluvium_segment::record_batch::{BatchBuilder, Codec};
use alluvium_tests::broker::{Broker, BrokerOptions, texts};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::published::{files, newest_manifest};
use bytes::Bytes;

const PARTITIONS: i32 = 3;
/// Each time of two. Few enough commits that a broker does not look meanwhile at what can be dropped from its log (32 of
/// them): the audit compares what is still there twice.
const BATCHES: i64 = 4;
const RECORDS: i64 = 40;

/// Hard to compress, so that a table file has several blocks; with keys, headers and nulls.
fn batch(number: i64, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for record in 0..RECORDS {
        let seed = (number * RECORDS + record) as u64;
        let value: Vec<u8> = (seed..seed + 400)
            .flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let key = record.to_string();
        let key = (record % 3 != 0).then_some(key.as_bytes());
        let value = (record % 7 != 0).then_some(&value[..]);
        let headers: &[(&[u8], Option<&[u8]>)] = match record % 5 {
            0 => &[(b"a", None), (b"a", Some(b""))],
            _ => &[],
        };
        builder.push(1_700_000_000_000 + record, key, value, headers);
    }
    builder.build().expect("a batch")
}

async fn load(client: &mut Client, topic: &Topic) {
    for number in 0..BATCHES {
        for partition in 0..PARTITIONS {
            let codec = [Codec::None, Codec::Lz4, Codec::Zstd][(number % 3) as usize];
            let answer = client.produce(topic, partition, batch(number, codec)).await;
            assert_eq!(answer.error_code, 0);
        }
    }
}

/// A broker that has published everything, in two table files, stopped; and its topic.
async fn stopped_and_published() -> (Broker, Topic) {
    let mut broker = BrokerOptions::new().durability_object().start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", PARTITIONS, &[]).await;
    for _ in 0..2 {
        load(&mut client, &topic).await;
        let publish = ["compaction", "run", "--topic", "orders", "--wait"];
        broker.command_ok(&publish, "").await;
    }
    assert!(broker.terminate().await.success());
    (broker, topic)
}

/// What the audit says, which must be bad news about `object`.
async fn assert_named(broker: &mut Broker, what: &str, object: &Path) -> String {
    let audit = broker.verify().await;
    let (out, err) = texts(&audit);
    assert!(!audit.status.success(), "{what} is in order:\n{out}{err}");
    let name = object.file_name().expect("a name").to_string_lossy();
    let found: Vec<_> = out
        .lines()
        .filter(|line| line.starts_with("WRONG"))
        .collect();
    assert!(
        found.len() == 1 && found[0].contains(&*name),
        "{what} of {name}:\n{out}{err}"
    );
    println!("{what}: {}", found[0]);
    out
}

type Damage = fn(&Path);

fn flip(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = fs::read(path).expect("readable");
    let at = at(bytes.len());
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("writable");
}

#[tokio::test]
async fn what_is_published_and_damaged_is_named() {
    let (mut broker, topic) = stopped_and_published().await;
    let clean = broker.verify().await;
    let (out, err) = texts(&clean);
    let records = 2 * BATCHES * RECORDS * i64::from(PARTITIONS);
    let expected = format!("{records} records, {records} of them compared");
    assert!(
        clean.status.success() && out.contains("1 topics published") && out.contains(&expected),
        "{out}{err}"
    );

    let table = files(&broker.folder().join("objects/tables"), "parquet").remove(0);
    let (manifest, _) = newest_manifest(&broker, &topic).expect("a manifest");
    let damages: [(&str, &PathBuf, Damage); 8] = [
        ("a byte of the data", &table, |file| {
            flip(file, |size| size / 3)
        }),
        ("the first byte", &table, |file| flip(file, |_| 0)),
        ("a byte of the tail", &table, |file| {
            flip(file, |size| size - 100)
        }),
        ("the last byte", &table, |file| flip(file, |size| size - 1)),
        ("a truncated file", &table, |file| {
            let size = fs::metadata(file).expect("there").len();
            let file = fs::OpenOptions::new().write(true).open(file);
            file.and_then(|file| file.set_len(size - 1)).expect("cut");
        }),
        ("a missing file", &table, |file| {
            fs::remove_file(file).expect("removed");
        }),
        ("a byte of the manifest", &manifest, |file| {
            flip(file, |size| size / 2);
        }),
        ("a missing manifest", &manifest, |file| {
            fs::remove_file(file).expect("removed");
        }),
    ];
    for (what, file, damage) in damages {
        let good = fs::read(file).expect("readable");
        damage(file);
        assert_named(&mut broker, what, file).await;
        fs::write(file, good).expect("writable");
    }
    // A table of the same size that is another: whole, and yet not the one that was published.
    let tables = files(&broker.folder().join("objects/tables"), "parquet");
    let good = fs::read(&tables[0]).expect("readable");
    fs::copy(&tables[1], &tables[0]).expect("copied");
    assert_named(&mut broker, "another table", &tables[0]).await;
    fs::write(&tables[0], good).expect("writable");
    broker.verify_ok().await;
}
