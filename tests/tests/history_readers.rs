//! The Python programs that read published history, against files whose records are known: what they count must be what was
//! written, and nothing that is wrong may go unnoticed.
//!
//! ```text
//! ALLUVIUM_TEST_EVENTS=5000000 cargo test --release -p alluvium-tests --test history_readers all_readers -- --nocapture
//! ```
//!
//! tells how long they take.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use alluvium_tests::events::{Events, Python, Reader, Row, Tally};
use tempfile::TempDir;
use tokio::time::Instant;

/// How many events are written, if not the default.
const EVENTS_VARIABLE: &str = "ALLUVIUM_TEST_EVENTS";
const EVENTS: u64 = 6_000;
const PARTITIONS: i32 = 3;
/// Nothing may be downloaded.
const QUICK_VARIABLE: &str = "ALLUVIUM_TEST_QUICK";

#[tokio::test]
async fn the_digest_is_the_same_in_python() {
    let Some(python) = python().await else { return };
    let said = python.run("test_digest.py", &[], "").await;
    assert!(said.expect("the vectors hold").starts_with("ok "));
}

#[tokio::test]
async fn all_readers_count_what_was_written() {
    let Some(python) = python().await else { return };
    let events =
        std::env::var(EVENTS_VARIABLE).map_or(EVENTS, |text| text.parse().expect("a number"));
    let mut dump = Dump::new();
    let began = Instant::now();
    dump.events(events);
    println!(
        "{events} events generated, counted and dumped in {:?}",
        began.elapsed()
    );
    let written = dump.write(&python).await;
    for reader in Reader::ALL {
        let began = Instant::now();
        let read = python
            .tally(reader, &written.files)
            .await
            .expect("it reads");
        println!(
            "{reader} read {} records in {:?}",
            read.records,
            began.elapsed()
        );
        assert_eq!(read, written.tally, "{reader}");
    }
}

/// What a type that is nearly the right one would lose.
#[tokio::test]
async fn all_readers_count_what_is_extreme() {
    let Some(python) = python().await else { return };
    let headers: [(&[u8], Option<&[u8]>); 4] = [
        (b"hop", Some(b"edge")),
        (b"hop", Some(b"")),
        (b"", None),
        (b"hop", Some(&[0xff, 0])),
    ];
    let plain = Row {
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        timestamp_type: 0,
        key: None,
        value: None,
        headers: &[],
    };
    let mut dump = Dump::new();
    // Before 1970, none, and after the year 9999.
    for (offset, timestamp_ms) in (0..).zip([-62_135_596_800_001, -1, 0, 253_402_300_800_001]) {
        dump.push(&Row {
            offset,
            timestamp_ms,
            ..plain
        });
    }
    dump.push(&Row {
        partition: i32::MAX,
        offset: i64::MAX,
        timestamp_type: 1,
        headers: &headers,
        ..plain
    });
    dump.push(&Row {
        offset: 4,
        key: Some(b""),
        ..plain
    });
    dump.push(&Row {
        offset: 5,
        value: Some(b""),
        ..plain
    });
    dump.push(&Row {
        offset: 6,
        key: Some(&[0, 0xff]),
        value: Some(&[b'x'; 100_000]),
        ..plain
    });
    let written = dump.write(&python).await;
    for reader in Reader::ALL {
        let read = python
            .tally(reader, &written.files)
            .await
            .expect("it reads");
        assert_eq!(read, written.tally, "{reader}");
    }
}

/// A wrong file beside the tally of the right one.
#[tokio::test]
async fn all_readers_notice_what_is_wrong() {
    let Some(python) = python().await else { return };
    let mut right = Dump::new();
    right.events(300);
    type Wrong = fn(&mut Dump);
    let wrongs: [(&str, Wrong); 4] = [
        ("a changed byte", |dump| {
            *dump.rows[7].last_mut().expect("bytes") ^= 1
        }),
        ("a missing record", |dump| drop(dump.rows.remove(8))),
        ("a doubled record", |dump| {
            dump.rows.push(dump.rows[9].clone())
        }),
        // The offset stands behind the partition: two records have changed places.
        ("two offsets exchanged", |dump| {
            let (one, other) = (dump.rows[10][4..12].to_vec(), dump.rows[11][4..12].to_vec());
            dump.rows[10][4..12].copy_from_slice(&other);
            dump.rows[11][4..12].copy_from_slice(&one);
        }),
    ];
    for (what, wrong) in wrongs {
        let mut dump = right.clone();
        wrong(&mut dump);
        let written = dump.write(&python).await;
        for reader in Reader::ALL {
            let read = python
                .tally(reader, &written.files)
                .await
                .expect("it reads");
            assert_ne!(read.digest, right.tally.digest, "{reader}: {what}");
            assert!(!right.tally.differences(&read).is_empty());
        }
    }
}

async fn python() -> Option<Python> {
    if std::env::var_os(QUICK_VARIABLE).is_some() {
        println!("skipped: readers of Parquet are not installed in a quick run");
        return None;
    }
    Some(Python::install().await.expect("pyarrow and duckdb"))
}

/// Encoded records and their tally.
#[derive(Debug, Clone)]
struct Dump {
    rows: Vec<Vec<u8>>,
    tally: Tally,
}

/// Parquet files of them.
struct Written {
    files: Vec<PathBuf>,
    tally: Tally,
    _folder: TempDir,
}

impl Dump {
    fn new() -> Self {
        Self {
            rows: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn push(&mut self, row: &Row<'_>) {
        let mut encoded = Vec::new();
        self.tally.add(row, &mut encoded);
        self.rows.push(encoded);
    }

    /// Adds so many events, over some partitions.
    fn events(&mut self, count: u64) {
        let events = Events::new(1);
        for partition in 0..PARTITIONS {
            for index in 0..count / u64::from(PARTITIONS.unsigned_abs()) {
                let event = events.event(partition, index);
                self.push(&Row {
                    partition,
                    offset: index as i64,
                    timestamp_ms: event.timestamp_ms,
                    timestamp_type: 0,
                    key: event.key.as_deref(),
                    value: event.value.as_deref(),
                    headers: &event.header_refs(),
                });
            }
        }
    }

    /// So that there are several files and not thousands.
    fn rows_of_file(&self) -> usize {
        (self.rows.len() / 24).max(2_000)
    }

    /// Writes them with pyarrow, into several files if they are many.
    async fn write(&self, python: &Python) -> Written {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("dump");
        let mut dump = BufWriter::new(File::create(&path).expect("a file"));
        for row in &self.rows {
            let length = u32::try_from(row.len()).expect("a short record");
            dump.write_all(&length.to_le_bytes()).expect("written");
            dump.write_all(row).expect("written");
        }
        dump.into_inner().expect("written");
        let (files, rows) = (folder.path().join("files"), self.rows_of_file().to_string());
        let arguments = [
            path.as_os_str(),
            files.as_os_str(),
            OsStr::new("--rows"),
            OsStr::new(&rows),
        ];
        let printed = python.run("write_parquet.py", &arguments, "").await;
        let files = printed.expect("files are written");
        Written {
            files: files.lines().map(PathBuf::from).collect(),
            tally: self.tally.clone(),
            _folder: folder,
        }
    }
}
