//! Bytes on disk that are not what was written.

use std::fs;
use std::path::{Path, PathBuf};

use alluvium_segment::wal_frame::{self, FILE_HEADER_BYTES, WalFileHeader, frame_bytes};
use alluvium_tests::broker::{Broker, BrokerOptions, texts};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::published::files;

/// Longer than any test: what is written stays in the write-ahead log.
const NEVER_MS: u64 = 3_600_000;

/// A broker whose records are in the write-ahead log only, killed.
async fn killed_with_log(values: &[&str]) -> (Broker, Topic) {
    let options = BrokerOptions::new()
        .set("segment.upload.ms", NEVER_MS)
        .set("wal.file.bytes", 1 << 20);
    let mut broker = options.start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    for value in values {
        client.produce_values(&topic, 0, &[value]).await;
    }
    broker.kill();
    (broker, topic)
}

/// The one file of the log that has frames, and where each begins and ends.
fn frames(broker: &Broker) -> (PathBuf, Vec<(usize, usize)>) {
    for path in files(&broker.folder().join("wal"), "log") {
        let bytes = fs::read(&path).expect("readable");
        let Ok(file) = WalFileHeader::decode(&bytes) else {
            continue;
        };
        let mut found = Vec::new();
        let mut at = FILE_HEADER_BYTES;
        while let Ok(frame) = wal_frame::decode(file.salt, &bytes[at..]) {
            let end = at + frame_bytes(frame.batch_bytes as usize);
            found.push((at, end));
            at = end;
        }
        if !found.is_empty() {
            return (path, found);
        }
    }
    panic!("no frames in the write-ahead log");
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    change(&mut bytes);
    fs::write(path, bytes).expect("writable");
}

#[tokio::test]
async fn a_torn_tail_is_cut() {
    let (mut broker, topic) = killed_with_log(&["a", "b", "c"]).await;
    let (file, frames) = frames(&broker);
    let (first, last) = (frames[0], frames[frames.len() - 1]);
    // The power went while the next group was being written: its beginning is there, the rest is not.
    change(&file, |bytes| {
        let torn: Vec<_> = bytes[first.0..first.1 - 8].to_vec();
        bytes[last.1..last.1 + torn.len()].copy_from_slice(&torn);
    });
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&topic, 0).await, ["a", "b", "c"]);
    assert_eq!(client.produce_values(&topic, 0, &["d"]).await, 3);
}

#[tokio::test]
async fn corruption_in_the_middle_of_the_log_is_not_started_over() {
    let (mut broker, topic) = killed_with_log(&["a", "b", "c", "d"]).await;
    let (file, frames) = frames(&broker);
    let damaged = frames[1];
    let flip = |bytes: &mut Vec<u8>| bytes[damaged.1 - 9] ^= 1;
    change(&file, flip);
    for _ in 0..2 {
        let said = broker.start_refused().await;
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        assert!(said.contains(name), "the file is not named:\n{said}");
        let position = format!("position {}", damaged.0);
        assert!(said.contains(&position), "not {position}:\n{said}");
    }
    // Refusing changed nothing: a restored file starts with everything in it.
    change(&file, flip);
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.values(&topic, 0).await, ["a", "b", "c", "d"]);
}

/// A broker with one uploaded segment and nothing in its write-ahead log, stopped.
async fn stopped_with_segment() -> (Broker, Topic, PathBuf) {
    let mut broker = BrokerOptions::new().durability_object().start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    // Hard to compress, so that most of the object is record bytes.
    let value: String = (0..40_000u64)
        .map(|at| char::from(b'!' + (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as u8))
        .collect();
    client.produce_values(&topic, 0, &[&value]).await;
    assert!(broker.terminate().await.success());
    let mut segments = files(&broker.folder().join("objects"), "seg");
    assert_eq!(segments.len(), 1);
    (broker, topic, segments.remove(0))
}

#[tokio::test]
async fn a_flipped_bit_in_a_segment_is_an_error_for_its_readers() {
    let (mut broker, topic, segment) = stopped_with_segment().await;
    change(&segment, |bytes| {
        let middle = bytes.len() / 3;
        bytes[middle] ^= 4;
    });
    broker.restart().await;
    broker.expect_log("segment");
    let mut client = Client::connect(&broker.endpoint()).await;
    for _ in 0..2 {
        let answer = client.fetch(&topic, 0, 0).await;
        assert!(
            answer.code.is_error(),
            "{} records without an error",
            answer.records.len()
        );
        assert!(answer.bytes.is_empty());
    }
    // Nobody else is disturbed: what is written now can be read.
    assert_eq!(client.produce_values(&topic, 0, &["after"]).await, 1);
    let records = client.read(&topic, 0, 1).await;
    assert_eq!(records.len(), 1);
    assert!(broker.terminate().await.success());
    let audit = broker.verify().await;
    let (out, err) = texts(&audit);
    assert!(
        !audit.status.success() && out.contains("WRONG"),
        "{out}{err}"
    );
}

#[tokio::test]
async fn a_damaged_footer_is_named_at_the_start() {
    let (mut broker, _, segment) = stopped_with_segment().await;
    change(&segment, |bytes| {
        let near_end = bytes.len() - 40;
        bytes[near_end] ^= 1;
    });
    let said = broker.start_refused().await;
    let name = segment
        .file_stem()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(said.contains(name), "the segment is not named:\n{said}");
}

#[tokio::test]
async fn a_missing_segment_is_named_at_the_start() {
    let (mut broker, _, segment) = stopped_with_segment().await;
    fs::remove_file(&segment).expect("removed");
    let said = broker.start_refused().await;
    let name = segment
        .file_stem()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(said.contains(name), "the segment is not named:\n{said}");
}

#[tokio::test]
async fn damaged_metadata_is_told_and_not_started_over() {
    let (mut broker, topic, _) = stopped_with_segment().await;
    let file = broker.folder().join("metadata").join("metadata.redb");
    let good = fs::read(&file).expect("readable");
    let damages: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes[..512].fill(0xa5),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(0),
    ];
    for damage in damages {
        change(&file, damage);
        let said = broker.start_refused().await;
        assert!(
            said.contains("metadata"),
            "what is damaged is not named:\n{said}"
        );
        fs::write(&file, &good).expect("writable");
    }
    broker.restart().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    assert_eq!(client.read(&topic, 0, 0).await.len(), 1);
}
