//! Names of objects in the bucket: the only place that builds or parses one.
//!
//! ```text
//! cluster                                                         whose object store it is
//! segments/<broker id>/<broker epoch>/<random id, 32 hex digits>.seg
//! folds/<broker id>/<broker epoch>/<random id, 32 hex digits>.fold
//! metadata/<cluster id, 32 hex digits>/<number, 20 digits>-<random id, 32 hex digits>.snap
//! tables/<topic id, 32 hex digits>/<broker id>/<broker epoch>/<random id, 32 hex digits>.parquet
//! manifests/<topic id, 32 hex digits>/<version, 20 digits>/<broker id>/<broker epoch>/<random id, 32 hex digits>.manifest
//! manifests/<topic id, 32 hex digits>/leaves/<broker id>/<broker epoch>/<random id, 32 hex digits>.leaf
//! ```
//!
//! A fold that no commit log names any more is garbage, and so is a segment; a table file that its topic's manifest does
//! not name, itself or in a leaf, is garbage once the session that wrote it is over, and so is a leaf. The number of a snapshot, and the version of a manifest,
//! is larger than those of all before it, so that the last name is the newest.
//!
//! The broker epoch tells garbage collection which session wrote an object; the random id makes
//! every PUT, also a retried one, a name of its own. A topic's name never occurs: topics are
//! renamed, deleted and may be confidential.

use std::fmt;
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicId;
use uuid::Uuid;

/// Says whose object store it is.
pub const CLUSTER_MARKER: &str = "cluster";

/// Folder of all segments: what garbage collection lists.
pub const SEGMENTS_PREFIX: &str = "segments/";

/// Folder of all fold objects.
pub const FOLDS_PREFIX: &str = "folds/";

/// Folder of all metadata snapshots, of whichever cluster.
pub const SNAPSHOTS_PREFIX: &str = "metadata/";

/// Folder of all table files, by topic.
pub const TABLES_PREFIX: &str = "tables/";

/// Folder of all manifests and their leaves, by topic.
pub const MANIFESTS_PREFIX: &str = "manifests/";

const SEGMENT_SUFFIX: &str = ".seg";
const FOLD_SUFFIX: &str = ".fold";
const SNAPSHOT_SUFFIX: &str = ".snap";
const TABLE_SUFFIX: &str = ".parquet";
const MANIFEST_SUFFIX: &str = ".manifest";
const LEAF_SUFFIX: &str = ".leaf";

/// Where the leaves of a topic are in the folder of its manifests.
const LEAVES_FOLDER: &str = "leaves/";

/// A valid object name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

/// What the name of a segment, or of a fold object, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentName {
    /// The broker that wrote it.
    pub broker_id: BrokerId,
    /// The session in which it was written.
    pub broker_epoch: BrokerEpoch,
    /// Random; unique per PUT.
    pub id: Uuid,
}

/// What the name of a metadata snapshot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// Of which cluster.
    pub cluster_id: Uuid,
    /// Larger than that of every snapshot of the cluster before it.
    pub number: u64,
    /// Random; unique per PUT.
    pub id: Uuid,
}

/// What the name of a table file, or of a leaf, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Of which topic.
    pub topic_id: TopicId,
    /// Who wrote it, in which session, and what makes the name unique.
    pub written: SegmentName,
}

/// What the name of a manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ManifestName {
    /// Of which topic.
    pub topic_id: TopicId,
    /// One more than that of the manifest it follows. Of several with one version, the metadata names one at most.
    pub version: u64,
    /// Who wrote it, in which session, and what makes the name unique.
    pub written: SegmentName,
}

/// The string is no object name of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an object")]
pub struct InvalidObjectKey(String);

impl ObjectKey {
    /// The key of a segment.
    pub fn segment(name: &SegmentName) -> Self {
        Self::of_session(SEGMENTS_PREFIX, name, SEGMENT_SUFFIX)
    }

    /// The key of a fold object: of whose commit log.
    pub fn fold(name: &SegmentName) -> Self {
        Self::of_session(FOLDS_PREFIX, name, FOLD_SUFFIX)
    }

    /// The key of a metadata snapshot.
    pub fn snapshot(name: &SnapshotName) -> Self {
        let (cluster_id, number, id) = (name.cluster_id.simple(), name.number, name.id.simple());
        Self(format!("{SNAPSHOTS_PREFIX}{cluster_id}/{number:020}-{id}{SNAPSHOT_SUFFIX}").into())
    }

    /// The folder of the snapshots of one cluster.
    pub fn snapshots_of(cluster_id: Uuid) -> String {
        format!("{SNAPSHOTS_PREFIX}{}/", cluster_id.simple())
    }

    /// The key of a table file.
    pub fn table(name: &TableName) -> Self {
        let folder = Self::tables_of(name.topic_id);
        Self::of_session(&folder, &name.written, TABLE_SUFFIX)
    }

    /// The folder of the table files of one topic.
    pub fn tables_of(topic_id: TopicId) -> String {
        format!("{TABLES_PREFIX}{}/", topic_id.0.simple())
    }

    /// The key of a manifest.
    pub fn manifest(name: &ManifestName) -> Self {
        let folder = format!("{}{:020}/", Self::manifests_of(name.topic_id), name.version);
        Self::of_session(&folder, &name.written, MANIFEST_SUFFIX)
    }

    /// The key of a leaf.
    pub fn leaf(name: &TableName) -> Self {
        let folder = format!("{}{LEAVES_FOLDER}", Self::manifests_of(name.topic_id));
        Self::of_session(&folder, &name.written, LEAF_SUFFIX)
    }

    /// The folder of the manifests of one topic, and of their leaves.
    pub fn manifests_of(topic_id: TopicId) -> String {
        format!("{MANIFESTS_PREFIX}{}/", topic_id.0.simple())
    }

    fn of_session(folder: &str, name: &SegmentName, suffix: &str) -> Self {
        let SegmentName {
            broker_id,
            broker_epoch,
            id,
        } = name;
        let id = id.simple();
        Self(format!("{folder}{broker_id}/{broker_epoch}/{id}{suffix}").into())
    }

    /// Accepts exactly the strings that the constructors build.
    pub fn parse(key: &str) -> Result<Self, InvalidObjectKey> {
        let segment = parse_segment(key).map(|name| Self::segment(&name));
        let fold = || parse_fold(key).map(|name| Self::fold(&name));
        let snapshot = || parse_snapshot(key).map(|name| Self::snapshot(&name));
        let table = || parse_table(key).map(|name| Self::table(&name));
        let manifest = || parse_manifest(key).map(|name| Self::manifest(&name));
        let leaf = || parse_leaf(key).map(|name| Self::leaf(&name));
        segment
            .or_else(fold)
            .or_else(snapshot)
            .or_else(table)
            .or_else(manifest)
            .or_else(leaf)
            .filter(|canonical| canonical.as_str() == key)
            .ok_or_else(|| InvalidObjectKey(key.chars().take(200).collect()))
    }

    /// What a segment's name says; `None` if it is the name of something else.
    pub fn segment_name(&self) -> Option<SegmentName> {
        parse_segment(&self.0)
    }

    /// What a fold object's name says; `None` if it is the name of something else.
    pub fn fold_name(&self) -> Option<SegmentName> {
        parse_fold(&self.0)
    }

    /// What a snapshot's name says; `None` if it is the name of something else.
    pub fn snapshot_name(&self) -> Option<SnapshotName> {
        parse_snapshot(&self.0)
    }

    /// What a table file's name says; `None` if it is the name of something else.
    pub fn table_name(&self) -> Option<TableName> {
        parse_table(&self.0)
    }

    /// What a manifest's name says; `None` if it is the name of something else.
    pub fn manifest_name(&self) -> Option<ManifestName> {
        parse_manifest(&self.0)
    }

    /// What a leaf's name says; `None` if it is the name of something else.
    pub fn leaf_name(&self) -> Option<TableName> {
        parse_leaf(&self.0)
    }

    /// The name, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_segment(key: &str) -> Option<SegmentName> {
    parse_of_session(SEGMENTS_PREFIX, key, SEGMENT_SUFFIX)
}

fn parse_fold(key: &str) -> Option<SegmentName> {
    parse_of_session(FOLDS_PREFIX, key, FOLD_SUFFIX)
}

fn parse_snapshot(key: &str) -> Option<SnapshotName> {
    let path = key.strip_prefix(SNAPSHOTS_PREFIX)?;
    let path = path.strip_suffix(SNAPSHOT_SUFFIX)?;
    let (cluster_id, path) = path.split_once('/')?;
    let (number, id) = path.split_once('-')?;
    Some(SnapshotName {
        cluster_id: Uuid::try_parse(cluster_id).ok()?,
        number: number.parse().ok()?,
        id: Uuid::try_parse(id).ok()?,
    })
}

fn parse_table(key: &str) -> Option<TableName> {
    let (topic_id, path) = key.strip_prefix(TABLES_PREFIX)?.split_once('/')?;
    Some(TableName {
        topic_id: TopicId(Uuid::try_parse(topic_id).ok()?),
        written: parse_of_session("", path, TABLE_SUFFIX)?,
    })
}

fn parse_manifest(key: &str) -> Option<ManifestName> {
    let (topic_id, path) = key.strip_prefix(MANIFESTS_PREFIX)?.split_once('/')?;
    let (version, path) = path.split_once('/')?;
    Some(ManifestName {
        topic_id: TopicId(Uuid::try_parse(topic_id).ok()?),
        version: version.parse().ok()?,
        written: parse_of_session("", path, MANIFEST_SUFFIX)?,
    })
}

fn parse_leaf(key: &str) -> Option<TableName> {
    let (topic_id, path) = key.strip_prefix(MANIFESTS_PREFIX)?.split_once('/')?;
    Some(TableName {
        topic_id: TopicId(Uuid::try_parse(topic_id).ok()?),
        written: parse_of_session(LEAVES_FOLDER, path, LEAF_SUFFIX)?,
    })
}

fn parse_of_session(folder: &str, key: &str, suffix: &str) -> Option<SegmentName> {
    let path = key.strip_prefix(folder)?;
    let path = path.strip_suffix(suffix)?;
    let (broker_id, path) = path.split_once('/')?;
    let (broker_epoch, id) = path.split_once('/')?;
    Some(SegmentName {
        broker_id: BrokerId(broker_id.parse().ok()?),
        broker_epoch: BrokerEpoch(broker_epoch.parse().ok()?),
        id: Uuid::try_parse(id).ok()?,
    })
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = InvalidObjectKey;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Self::parse(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed_as_built() {
        let name = SegmentName {
            broker_id: BrokerId(3),
            broker_epoch: BrokerEpoch(170),
            id: Uuid::from_u128(0xabc),
        };
        let key = ObjectKey::segment(&name);
        let text = "segments/3/170/00000000000000000000000000000abc.seg";
        assert_eq!(key.as_str(), text);
        assert_eq!(ObjectKey::parse(text), Ok(key.clone()));
        assert_eq!(key.segment_name(), Some(name));
        let fold = ObjectKey::fold(&name);
        let text = "folds/3/170/00000000000000000000000000000abc.fold";
        assert_eq!(fold.as_str(), text);
        assert_eq!(ObjectKey::parse(text), Ok(fold.clone()));
        assert_eq!((fold.segment_name(), fold.fold_name()), (None, Some(name)));
        let name = SnapshotName {
            cluster_id: Uuid::from_u128(7),
            number: 42,
            id: Uuid::from_u128(0xabc),
        };
        let snapshot = ObjectKey::snapshot(&name);
        let text = "metadata/00000000000000000000000000000007/00000000000000000042-00000000000000000000000000000abc.snap";
        assert_eq!(snapshot.as_str(), text);
        assert!(text.starts_with(&ObjectKey::snapshots_of(name.cluster_id)));
        assert_eq!(ObjectKey::parse(text), Ok(snapshot.clone()));
        assert_eq!(snapshot.snapshot_name(), Some(name));
    }

    #[test]
    fn names_below_a_topic_are_parsed_as_built() {
        let topic_id = TopicId(Uuid::from_u128(7));
        let written = SegmentName {
            broker_id: BrokerId(3),
            broker_epoch: BrokerEpoch(170),
            id: Uuid::from_u128(0xabc),
        };
        let name = TableName { topic_id, written };
        let table = ObjectKey::table(&name);
        let text = "tables/00000000000000000000000000000007/3/170/00000000000000000000000000000abc.parquet";
        assert_eq!(table.as_str(), text);
        assert!(text.starts_with(&ObjectKey::tables_of(topic_id)));
        assert_eq!(ObjectKey::parse(text), Ok(table.clone()));
        assert_eq!(table.table_name(), Some(name));
        let name = ManifestName {
            topic_id,
            version: 42,
            written,
        };
        let manifest = ObjectKey::manifest(&name);
        let text = "manifests/00000000000000000000000000000007/00000000000000000042/3/170/00000000000000000000000000000abc.manifest";
        assert_eq!(manifest.as_str(), text);
        assert!(text.starts_with(&ObjectKey::manifests_of(topic_id)));
        assert_eq!(ObjectKey::parse(text), Ok(manifest.clone()));
        assert_eq!(manifest.manifest_name(), Some(name));
        assert_eq!((manifest.table_name(), table.manifest_name()), (None, None));
        let name = TableName { topic_id, written };
        let leaf = ObjectKey::leaf(&name);
        let text = "manifests/00000000000000000000000000000007/leaves/3/170/00000000000000000000000000000abc.leaf";
        assert_eq!(leaf.as_str(), text);
        assert!(text.starts_with(&ObjectKey::manifests_of(topic_id)));
        assert_eq!(ObjectKey::parse(text), Ok(leaf.clone()));
        assert_eq!(leaf.leaf_name(), Some(name));
        let others = (leaf.manifest_name(), leaf.table_name(), table.leaf_name());
        assert_eq!((others, manifest.leaf_name()), ((None, None, None), None));
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "segments/3/170/abc.seg",
            "segments/03/170/00000000000000000000000000000abc.seg",
            "segments/3/170/00000000000000000000000000000ABC.seg",
            "segments/3/170/00000000-0000-0000-0000-000000000abc.seg",
            "/segments/3/170/00000000000000000000000000000abc.seg",
            "segments/3/../00000000000000000000000000000abc.seg",
            "segments/3/170/00000000000000000000000000000abc.seg/x",
            "folds/3/170/00000000000000000000000000000abc.seg",
            "metadata/00000000000000000000000000000007/42-00000000000000000000000000000abc.snap",
            "tables/7/3/170/00000000000000000000000000000abc.parquet",
            "manifests/00000000000000000000000000000007/42/3/170/00000000000000000000000000000abc.manifest",
            "manifests/00000000000000000000000000000007/leaves/3/170/00000000000000000000000000000abc.manifest",
            "manifests/00000000000000000000000000000007/3/170/00000000000000000000000000000abc.leaf",
        ] {
            assert!(ObjectKey::parse(bad).is_err(), "{bad}");
        }
    }
}
