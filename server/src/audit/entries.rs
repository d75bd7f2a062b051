//! The metadata, decoded.

use std::collections::BTreeMap;

use alluvium_metadata::commit_log::{LogEntry, drop_covered, missing_seq};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::{KeyRange, MetadataStore, MetadataStoreExt};
use alluvium_metadata::value::{self, StoredRecord};
use bytes::Bytes;

use super::{About, Report};

/// The records of a range. What cannot be decoded is a finding.
pub(super) async fn read_all<R: StoredRecord>(
    metadata: &dyn MetadataStore,
    range: KeyRange,
    report: &mut Report,
) -> anyhow::Result<Vec<(Bytes, R)>> {
    let (_, kvs) = metadata.list(range).await?;
    let mut records = Vec::with_capacity(kvs.len());
    for kv in kvs {
        match value::decode(&kv.value) {
            Ok(record) => records.push((kv.key, record)),
            Err(error) => {
                let key = String::from_utf8_lossy(&kv.key);
                report.wrong(About::Metadata, [format!("metadata key {key}: {error}")]);
            }
        }
    }
    Ok(records)
}

/// The entries of all commit logs, log by log. I24: one total order, no gap. A log may begin later than it once did.
pub(super) async fn read_entries(
    metadata: &dyn MetadataStore,
    keys: &Keys,
    report: &mut Report,
) -> anyhow::Result<Vec<(LogId, LogEntry)>> {
    let (_, kvs) = metadata.list(keys.all_commits()).await?;
    let mut logs: BTreeMap<LogId, Vec<LogEntry>> = BTreeMap::new();
    for kv in kvs {
        let name = String::from_utf8_lossy(&kv.key);
        let Some((broker_id, broker_epoch, seq)) = keys.parse_commit(&kv.key) else {
            report.wrong(
                About::Metadata,
                [format!("metadata key {name} is no commit")],
            );
            continue;
        };
        let log = LogId {
            broker_id,
            broker_epoch,
        };
        match LogEntry::decode(seq, &kv.value) {
            Ok(entry) => logs.entry(log).or_default().push(entry),
            Err(error) => report.wrong(About::Metadata, [format!("metadata key {name}: {error}")]),
        }
    }
    let mut all = Vec::new();
    for (log, entries) in logs {
        let entries = drop_covered(entries);
        if let Some(seq) = missing_seq(&entries) {
            let finding = format!(
                "commit log of broker {}, epoch {}: {seq} is missing or stands twice",
                log.broker_id, log.broker_epoch
            );
            report.wrong(About::CommitLog, [finding]);
        }
        if let Some(first) = entries.first().filter(|first| first.first_seq() > 0) {
            let finding = format!(
                "commit log of broker {}, epoch {}: what stands before {} is missing",
                log.broker_id,
                log.broker_epoch,
                first.first_seq()
            );
            report.wrong(About::CommitLog, [finding]);
        }
        // What was dropped stands for nothing.
        let there = entries.into_iter();
        let there = there.filter(|entry| !matches!(entry, LogEntry::Dropped(_)));
        all.extend(there.map(|entry| (log, entry)));
    }
    Ok(all)
}
