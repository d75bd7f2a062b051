//! Something that is wrong, and what a person can do about it.

use std::fmt;
use std::ops::Deref;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// A record of the metadata.
    Metadata,
    /// What is between records of a commit log.
    CommitLog,
    /// A fold object, or a footer.
    Commits,
    /// A manifest.
    Manifest,
    /// A segment.
    Segment,
    /// A table file.
    Table,
    /// The offsets of a partition.
    Partition,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub about: About,
    /// What is wrong, with the place.
    pub what: String,
}

impl About {
    /// Why it is not repaired, and what a person can do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Metadata | Self::CommitLog => {
                "nothing else has what it said. With the brokers stopped, alluvium restore rebuilds the metadata from the \
                 bucket, into an empty store; keep this one until that has been looked at"
            }
            Self::Commits | Self::Segment | Self::Table => {
                "it may be the only copy of records, so it is neither changed nor given up. If the bucket keeps versions or \
                 has a copy, put the object back as it was. Until then consumers get an error at these offsets, and nothing \
                 else; deleting records beyond them (kafka-delete-records) gives them up"
            }
            Self::Manifest => {
                "it is what names the table files of its topic. If the bucket keeps versions or has a copy, put the object \
                 back as it was; else, with the brokers stopped, alluvium restore finds the newest manifest that is whole, \
                 in an empty metadata store"
            }
            Self::Partition => {
                "records are missing or stand twice, and no copy says which it should be. Look for another finding that tells \
                 why; a snapshot of the metadata may know better (alluvium restore, into an empty store)"
            }
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata keys",
            Self::CommitLog => "commit logs",
            Self::Commits => "folds and footers",
            Self::Manifest => "manifests",
            Self::Segment => "segments",
            Self::Table => "table files",
            Self::Partition => "partitions",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Deref for Finding {
    type Target = str;

    fn deref(&self) -> &str {
        &self.what
    }
}
