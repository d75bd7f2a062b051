//! Reads everything that the bucket tells: the newest readable snapshot, and the footers of segments.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicId;
use alluvium_compactor::fold::commits_of;
use alluvium_metadata::commit_log::{LogEntry, drop_covered};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::ObjectStoreRecord;
use alluvium_metadata::value;
use alluvium_segment::fold_object::FoldedCommit;
use alluvium_segment::footer::{Footer, TAIL_READ_BYTES, TRAILER_BYTES, footer_length};
use alluvium_segment::object_key::{
    CLUSTER_MARKER, ManifestName, ObjectKey, SEGMENTS_PREFIX, SNAPSHOTS_PREFIX, SnapshotName,
};
use alluvium_segment::snapshot_object::Snapshot;
use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use super::manifests::{self, FoundManifest};

/// Footers read at the same time.
const READS_PARALLEL: usize = 32;

/// A segment and what is known of it.
#[derive(Debug, Clone)]
pub struct Segment {
    /// As a commit would name it, with its footer.
    pub commit: FoldedCommit,
    /// Its footer.
    pub footer: Footer,
    /// Where the snapshot has it; `None`: a candidate.
    pub place: Option<(LogId, u64)>,
    /// Whether the object is in the bucket.
    pub exists: bool,
}

/// What the bucket tells.
#[derive(Debug, Default)]
pub struct Found {
    /// The snapshot to begin with.
    pub snapshot: Option<Snapshot>,
    /// Which cluster it is of, if anything says so.
    pub cluster_id: Option<Uuid>,
    /// The snapshot's segments, then the candidates.
    pub segments: Vec<Segment>,
    /// The manifest of each topic that has one.
    pub manifests: BTreeMap<TopicId, FoundManifest>,
    /// What could not be read.
    pub unreadable: Vec<String>,
}

/// Reads it. `progress` is told of each footer read, and of how many there are.
pub async fn scan(
    objects: &dyn ObjectStore,
    keys: &Keys,
    cluster_id: Option<Uuid>,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let cluster_id = match cluster_id {
        Some(given) => Some(given),
        None => marked(objects).await?,
    };
    let names = snapshots(objects, cluster_id).await?;
    found.cluster_id = cluster_id.or(names.last().map(|name| name.cluster_id));
    for name in names.iter().rev() {
        let key = ObjectKey::snapshot(name);
        match read_snapshot(objects, &key).await {
            Ok(snapshot) => {
                found.snapshot = Some(snapshot);
                break;
            }
            Err(error) => found.unreadable.push(format!(
                "snapshot {key}: {error:#}; the one before it is tried"
            )),
        }
    }
    let listed = segments(objects).await?;
    let all_known = match found.snapshot.take() {
        Some(snapshot) => {
            let all = read_committed(objects, keys, &snapshot, &listed, &mut found).await;
            found.snapshot = Some(snapshot);
            all
        }
        None => false,
    };
    let is_younger = |name: &ManifestName| {
        let written = &name.written;
        is_younger(
            (written.broker_id, written.broker_epoch),
            found.snapshot.as_ref(),
        )
    };
    let manifests = manifests::find(
        objects,
        keys,
        found.snapshot.as_ref(),
        is_younger,
        &mut found.unreadable,
    );
    found.manifests = manifests.await?;
    let known: BTreeSet<_> = found
        .segments
        .iter()
        .map(|s| s.commit.object_key.clone())
        .collect();
    let candidates: Vec<_> = listed
        .into_iter()
        .filter(|(key, _)| !known.contains(key))
        .filter(|(key, _)| !all_known || may_be_younger(key, found.snapshot.as_ref()))
        .collect();
    let total = candidates.len() as u64;
    let mut read = stream::iter(candidates)
        .map(|(key, size_bytes)| async move { read_segment(objects, &key, size_bytes).await })
        .buffered(READS_PARALLEL);
    let mut done = 0;
    while let Some(outcome) = read.next().await {
        done += 1;
        progress(done, total);
        match outcome {
            Ok(segment) => found.segments.push(segment),
            Err(error) => found.unreadable.push(format!("{error:#}")),
        }
    }
    drop(read);
    drop_copies(&mut found.segments);
    Ok(found)
}

/// The cluster whose marker the bucket has; buckets of early builds have none.
async fn marked(objects: &dyn ObjectStore) -> anyhow::Result<Option<Uuid>> {
    let bytes = match objects.get(&Path::from(CLUSTER_MARKER)).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let marker: ObjectStoreRecord = value::decode(&bytes)
        .context("the bucket's marker is damaged; say with --cluster-id whose it is")?;
    Ok(Some(marker.cluster_id))
}

async fn snapshots(
    objects: &dyn ObjectStore,
    cluster_id: Option<Uuid>,
) -> anyhow::Result<Vec<SnapshotName>> {
    let folder = Path::from(SNAPSHOTS_PREFIX);
    let listed: Vec<_> = objects.list(Some(&folder)).try_collect().await?;
    let mut names: Vec<SnapshotName> = listed
        .iter()
        .filter_map(|object| {
            ObjectKey::parse(object.location.as_ref())
                .ok()?
                .snapshot_name()
        })
        .filter(|name| cluster_id.is_none_or(|id| name.cluster_id == id))
        .collect();
    names.sort_unstable();
    let clusters: BTreeSet<_> = names
        .iter()
        .map(|name| name.cluster_id.to_string())
        .collect();
    anyhow::ensure!(
        clusters.len() <= 1,
        "the bucket has snapshots of several clusters; say which with --cluster-id: {}",
        clusters.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(names)
}

async fn read_snapshot(objects: &dyn ObjectStore, key: &ObjectKey) -> anyhow::Result<Snapshot> {
    let object = objects.get(&Path::from(key.as_str())).await?;
    Ok(Snapshot::decode(&object.bytes().await?)?)
}

async fn segments(objects: &dyn ObjectStore) -> anyhow::Result<BTreeMap<ObjectKey, u64>> {
    let folder = Path::from(SEGMENTS_PREFIX);
    let mut listed = BTreeMap::new();
    let mut listing = objects.list(Some(&folder));
    while let Some(object) = listing.try_next().await? {
        if let Ok(key) = ObjectKey::parse(object.location.as_ref()) {
            listed.insert(key, object.size);
        }
    }
    Ok(listed)
}

/// The segments that the snapshot's commit logs name; whether all of those logs could be read.
async fn read_committed(
    objects: &dyn ObjectStore,
    keys: &Keys,
    snapshot: &Snapshot,
    listed: &BTreeMap<ObjectKey, u64>,
    found: &mut Found,
) -> bool {
    let mut logs: BTreeMap<LogId, Vec<LogEntry>> = BTreeMap::new();
    let mut whole = true;
    for (key, value) in &snapshot.keys {
        let Some((broker_id, broker_epoch, seq)) = keys.parse_commit(&keys.absolute(key)) else {
            continue;
        };
        let log = LogId {
            broker_id,
            broker_epoch,
        };
        match LogEntry::decode(seq, value) {
            Ok(entry) => logs.entry(log).or_default().push(entry),
            Err(error) => {
                whole = false;
                let key = String::from_utf8_lossy(key);
                found
                    .unreadable
                    .push(format!("{key} in the snapshot: {error}"));
            }
        }
    }
    let entries = logs
        .into_iter()
        .flat_map(|(log, entries)| drop_covered(entries).into_iter().map(move |e| (log, e)));
    let mut read = stream::iter(entries)
        .map(|(log, entry)| async move {
            let commits = commits_of(objects, &entry).await;
            (log, entry, commits)
        })
        .buffered(READS_PARALLEL);
    let mut missing = 0;
    while let Some((log, entry, commits)) = read.next().await {
        let decoded = commits.map_err(anyhow::Error::from).and_then(|commits| {
            (entry.first_seq()..)
                .zip(commits)
                .map(|(seq, commit)| {
                    Ok(Segment {
                        footer: commit.decode_footer()?,
                        exists: listed.contains_key(&commit.object_key),
                        place: Some((log, seq)),
                        commit,
                    })
                })
                .collect::<anyhow::Result<Vec<_>>>()
        });
        match decoded {
            Ok(segments) => found.segments.extend(segments),
            // The log is known all the same. Where it is not as it should be the chains of its partitions have a gap.
            Err(_) if is_gone(&entry, listed) => missing += 1,
            Err(error) => {
                whole = false;
                found.unreadable.push(format!(
                    "commits {} to {} of broker {}, epoch {}: {error:#}; their segments are looked for one by one",
                    entry.first_seq(),
                    entry.last_seq(),
                    log.broker_id,
                    log.broker_epoch
                ));
            }
        }
    }
    drop(read);
    if missing > 0 {
        found.unreadable.push(format!(
            "{missing} segments that the snapshot names are not in the bucket: published and deleted since, or lost"
        ));
    }
    whole
}

/// Whether an entry names a single segment, and the bucket does not have it.
fn is_gone(entry: &LogEntry, listed: &BTreeMap<ObjectKey, u64>) -> bool {
    match entry {
        LogEntry::Commit { record, .. } => !listed.contains_key(&record.object_key),
        LogEntry::Fold(_) | LogEntry::Dropped(_) => false,
    }
}

/// F2: only sessions that were open at the snapshot, or began after it, can have committed anything after it.
fn may_be_younger(key: &ObjectKey, snapshot: Option<&Snapshot>) -> bool {
    let name = key.segment_name();
    name.is_none_or(|name| is_younger((name.broker_id, name.broker_epoch), snapshot))
}

/// The same of a session.
fn is_younger(session: (BrokerId, BrokerEpoch), snapshot: Option<&Snapshot>) -> bool {
    snapshot.is_none_or(|snapshot| {
        session.1.0.unsigned_abs() > snapshot.head.revision
            || snapshot.head.sessions.contains(&session)
    })
}

async fn read_segment(
    objects: &dyn ObjectStore,
    key: &ObjectKey,
    size_bytes: u64,
) -> anyhow::Result<Segment> {
    let read = async {
        let path = Path::from(key.as_str());
        let tail =
            |length: u64| objects.get_range(&path, size_bytes.saturating_sub(length)..size_bytes);
        let mut bytes: Bytes = tail(TAIL_READ_BYTES as u64).await?;
        let length = footer_length(&bytes)?;
        if bytes.len() < length as usize {
            bytes = tail(u64::from(length)).await?;
        }
        let start = bytes
            .len()
            .checked_sub(length as usize)
            .context("it is shorter than its footer")?;
        let footer_bytes = bytes.slice(start..);
        let footer = Footer::decode(&footer_bytes)?;
        let sections = footer_bytes.len() - TRAILER_BYTES;
        let commit = FoldedCommit {
            object_key: key.clone(),
            size_bytes,
            footer_crc: crc32c::crc32c(&footer_bytes[..sections]),
            footer: footer_bytes,
        };
        Ok::<_, anyhow::Error>((commit, footer))
    };
    let (commit, footer) = read.await.with_context(|| format!("segment {key}"))?;
    Ok(Segment {
        commit,
        footer,
        place: None,
        exists: true,
    })
}

/// A PUT that was repeated has left several objects with the same content; one of them is enough.
fn drop_copies(segments: &mut Vec<Segment>) {
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    // Those that the snapshot names come first and stay.
    segments.retain(|segment| {
        let mut of_any_time = segment.footer.clone();
        of_any_time.header.created_ms = 0;
        match of_any_time.encode() {
            Ok((bytes, _)) => seen.insert(bytes) || segment.place.is_some(),
            Err(_) => true,
        }
    });
}
