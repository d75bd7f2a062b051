//! Names of objects in the bucket: the only place that builds or parses one.
//!
//! ```text
//! cluster                                                         whose object store it is
//! segments/<broker id>/<broker epoch>/<random id, 32 hex digits>.seg
//! ```
//!
//! The broker epoch tells garbage collection which session wrote an object; the random id makes
//! every PUT, also a retried one, a name of its own. A topic's name never occurs: topics are
//! renamed, deleted and may be confidential.

use std::fmt;
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use uuid::Uuid;

/// Says whose object store it is.
pub const CLUSTER_MARKER: &str = "cluster";

/// Folder of all segments: what garbage collection lists.
pub const SEGMENTS_PREFIX: &str = "segments/";

const SEGMENT_SUFFIX: &str = ".seg";

/// A valid object name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

/// What the name of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentName {
    /// The broker that wrote it.
    pub broker_id: BrokerId,
    /// The session in which it was written.
    pub broker_epoch: BrokerEpoch,
    /// Random; unique per PUT.
    pub id: Uuid,
}

/// The string is no object name of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an object")]
pub struct InvalidObjectKey(String);

impl ObjectKey {
    /// The key of a segment.
    pub fn segment(name: &SegmentName) -> Self {
        let SegmentName {
            broker_id,
            broker_epoch,
            id,
        } = name;
        let id = id.simple();
        Self(format!("{SEGMENTS_PREFIX}{broker_id}/{broker_epoch}/{id}{SEGMENT_SUFFIX}").into())
    }

    /// Accepts exactly the strings that the constructors build.
    pub fn parse(key: &str) -> Result<Self, InvalidObjectKey> {
        parse_segment(key)
            .map(|name| Self::segment(&name))
            .filter(|canonical| canonical.as_str() == key)
            .ok_or_else(|| InvalidObjectKey(key.chars().take(200).collect()))
    }

    /// What a segment's name says.
    pub fn segment_name(&self) -> SegmentName {
        parse_segment(&self.0).expect("constructors make segment names only")
    }

    /// The name, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_segment(key: &str) -> Option<SegmentName> {
    let path = key.strip_prefix(SEGMENTS_PREFIX)?;
    let path = path.strip_suffix(SEGMENT_SUFFIX)?;
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
        assert_eq!(key.segment_name(), name);
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
        ] {
            assert!(ObjectKey::parse(bad).is_err(), "{bad}");
        }
    }
}
