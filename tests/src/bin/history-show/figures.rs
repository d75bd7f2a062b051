//! What publishing and reading history cost, from the broker's own counters and the processor time that Linux counts.

use std::fs;

use alluvium_tests::broker::{Broker, Metrics};
use alluvium_tests::events::Loaded;

/// Linux counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// The name of the threads that open batches and write table files.
const COMPACTOR: &str = "compactor";

/// What a broker has used and done since its start.
pub struct Usage {
    /// Processor seconds of all threads.
    cpu_seconds: f64,
    /// Of those that write table files.
    compactor_seconds: f64,
    /// The most memory it ever had.
    peak_bytes: f64,
    metrics: Metrics,
}

impl Usage {
    /// Of now.
    pub async fn of(broker: &Broker) -> Self {
        let process = format!("/proc/{}", broker.process_id());
        let threads = fs::read_dir(format!("{process}/task"))
            .into_iter()
            .flatten();
        let threads = threads.flatten().map(|thread| thread.path());
        let compactors = threads.filter(|thread| {
            let name = fs::read_to_string(thread.join("comm"));
            name.is_ok_and(|name| name.trim() == COMPACTOR)
        });
        Self {
            cpu_seconds: cpu_seconds(&format!("{process}/stat")),
            compactor_seconds: compactors
                .map(|thread| cpu_seconds(&thread.join("stat").display().to_string()))
                .sum(),
            peak_bytes: peak_memory_bytes(broker),
            metrics: broker.metrics().await,
        }
    }

    fn counted(&self, before: &Self, name: &str) -> f64 {
        self.metrics.sum(name) - before.metrics.sum(name)
    }
}

/// Field 14 and 15 of the file, counted behind the name, which may hold anything.
fn cpu_seconds(path: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let fields = behind_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// The most memory that a process ever had, in bytes.
fn peak_memory_bytes(broker: &Broker) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.process_id()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or(0.0) * 1024.0
}

/// Bytes of a part of a table file, as it is put.
const PART_BYTES: f64 = (8 << 20) as f64;

/// What three processes have used: one took the events, the next published them, the last gave them to a consumer.
pub struct Usages {
    /// When all was taken.
    pub produced: Usage,
    /// When the second had started, and when all was published.
    pub publishing: [Usage; 2],
    /// When the third had started, and when all was read.
    pub reading: [Usage; 2],
}

/// Prints what publishing took, and what reading took.
pub fn print_figures(loaded: &Loaded, usages: &Usages) {
    let Usages {
        produced,
        publishing: [start, published],
        reading: [restarted, read],
    } = usages;
    let of_publishing = |what: &str| published.counted(start, &format!("alluvium_{what}_total"));
    let compactor_seconds = published.compactor_seconds - start.compactor_seconds;
    let history_bytes = read.counted(restarted, "alluvium_read_bytes_total");
    let read_seconds = read.cpu_seconds - restarted.cpu_seconds;
    let seals = |of: &Usage| of.metrics.sum("alluvium_ingest_seals_total");
    let (get_gib, table_gib) = (
        gibibytes(of_publishing("publish_get_bytes")),
        gibibytes(of_publishing("publish_table_bytes")),
    );
    let requests = "alluvium_object_store_requests_total";
    let parts = published.metrics.sum_with(requests, "operation=\"upload\"");
    println!("\n| figure | | at least |");
    println!("|---|---:|---:|");
    let row = |what: &str, value: String, least: String| println!("| {what} | {value} | {least} |");
    // Key compaction is in it, where there is any.
    let per_second = |bytes: f64, seconds: f64| format!("{:.0}", bytes / 1e6 / seconds.max(0.01));
    row(
        "published, MB of keys, values and headers per CPU-second of the threads that write tables",
        per_second(loaded.payload_bytes as f64, compactor_seconds),
        String::new(),
    );
    row(
        "published, MB of record batches as they were sent",
        per_second(of_publishing("publish_record_bytes"), compactor_seconds),
        String::new(),
    );
    row(
        "GETs per GiB of segments that were read: one for each segment, if all of it is wanted at once",
        format!("{:.1}", of_publishing("publish_gets") / get_gib),
        format!("{:.1}", (seals(produced) + seals(published)) / get_gib),
    );
    row(
        "requests per GiB of table files to put them in parts of 8 MiB: each is begun and ended, too",
        format!("{:.1}", parts / table_gib),
        format!("{:.1}", f64::from(1 << 30) / PART_BYTES),
    );
    // Of a compacted topic only a part is left to read.
    if loaded.latest.records == 0 {
        row(
            "history fetched, MB of keys, values and headers per CPU-second of the broker",
            per_second(loaded.payload_bytes as f64, read_seconds),
            String::new(),
        );
    }
    row(
        "history fetched, MB of record batches as they were rebuilt",
        per_second(history_bytes, read_seconds),
        String::new(),
    );
    for (what, usage) in [
        (
            "most memory of the broker that took the events, MiB",
            produced,
        ),
        ("of the one that published them, at its start", start),
        ("of that, until they were published", published),
        ("of the one that gave them to the consumer", read),
    ] {
        let mebibytes = usage.peak_bytes / f64::from(1 << 20);
        row(what, format!("{mebibytes:.0}"), String::new());
    }
}

fn gibibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 30)
}
