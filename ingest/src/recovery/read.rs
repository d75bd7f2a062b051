//! Reads of committed footers: one by one, or many from a fold. What is damaged is read once more.

use std::ops::Range;
use std::sync::Arc;

use alluvium_common::object_store::{CheckedReadError, read_checked};
use alluvium_metadata::commit_log::LogEntry;
use alluvium_metadata::model::{CommitRecord, FoldRecord};
use alluvium_segment::FormatError;
use alluvium_segment::fold_object::{FoldIndex, FoldedCommit};
use alluvium_segment::footer::{Footer, TRAILER_BYTES};
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::parted::PartEntry;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

use super::RecoveryError;
use super::wanted::SeqRanges;

/// A fold object up to this size is read with one GET. A larger one part by part, after its index.
const WHOLE_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of neighbouring parts that are read together.
const GROUP_BYTES_MAX: u64 = 1024 * 1024;

/// A committed segment.
pub(super) struct Committed {
    /// Its place in the commit log.
    pub(super) seq: u64,
    pub(super) object_key: ObjectKey,
    pub(super) size_bytes: u64,
    pub(super) footer: Footer,
}

/// What one GET reads.
pub(super) enum Unit {
    Footer(u64, CommitRecord),
    WholeFold(FoldRecord),
    /// Neighbouring parts of a fold.
    Parts(ObjectKey, Arc<FoldIndex>, Range<usize>),
}

pub(super) struct Reader<'a> {
    pub(super) objects: &'a Arc<dyn ObjectStore>,
}

impl Reader<'_> {
    /// What to read of an entry.
    pub(super) async fn units(
        &self,
        entry: LogEntry,
        ranges: &SeqRanges,
    ) -> Result<Vec<Unit>, RecoveryError> {
        let fold = match entry {
            LogEntry::Commit { seq, record } => return Ok(vec![Unit::Footer(seq, record)]),
            LogEntry::Fold(fold) if fold.size_bytes <= WHOLE_BYTES_MAX => {
                return Ok(vec![Unit::WholeFold(fold)]);
            }
            LogEntry::Fold(fold) => fold,
            LogEntry::Dropped(_) => return Ok(Vec::new()),
        };
        let start = fold.size_bytes.saturating_sub(fold.index_length.into());
        let index = self
            .checked(&fold.object_key, start..fold.size_bytes, |tail| {
                index_of(&fold, &tail)
            })
            .await?;
        let index = Arc::new(index);
        let wanted: Vec<usize> = (0..index.parts.len())
            .filter(|at| {
                let (first, last) = index.sequences(&index.parts[*at]);
                ranges.touches(first, last)
            })
            .collect();
        let groups = grouped(&index.parts, &wanted).into_iter();
        let unit = |group| Unit::Parts(fold.object_key.clone(), Arc::clone(&index), group);
        Ok(groups.map(unit).collect())
    }

    /// The wanted segments of a unit, in order.
    pub(super) async fn read(
        &self,
        unit: Unit,
        ranges: &SeqRanges,
    ) -> Result<Vec<Committed>, RecoveryError> {
        match unit {
            Unit::Footer(seq, record) => {
                let start = record
                    .size_bytes
                    .saturating_sub(record.footer_length.into());
                let footer = self
                    .checked(&record.object_key, start..record.size_bytes, |tail| {
                        footer_of(&record, &tail)
                    })
                    .await?;
                Ok(vec![Committed {
                    seq,
                    object_key: record.object_key,
                    size_bytes: record.size_bytes,
                    footer,
                }])
            }
            Unit::WholeFold(fold) => {
                let open = |object: Bytes| {
                    let index = index_of(&fold, &object)?;
                    decode(index.open_all(&object)?, ranges)
                };
                self.checked(&fold.object_key, 0..fold.size_bytes, open)
                    .await
            }
            Unit::Parts(key, index, group) => {
                let parts = &index.parts[group];
                let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
                    return Ok(Vec::new());
                };
                let start = first.range().start;
                let open = |mut stored: Bytes| {
                    let mut commits = Vec::new();
                    for part in parts {
                        let length = stored.len().min(part.stored_length as usize);
                        commits.extend(index.open_part(part, stored.split_to(length))?);
                    }
                    decode(commits, ranges)
                };
                self.checked(&key, start..last.range().end, open).await
            }
        }
    }

    /// Reads bytes and makes something of them.
    async fn checked<T>(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        open: impl Fn(Bytes) -> Result<T, FormatError>,
    ) -> Result<T, RecoveryError> {
        let path = Path::from(key.as_str());
        let read = read_checked(&**self.objects, &path, range, open).await;
        read.map_err(|error| match error {
            CheckedReadError::Store(source) => RecoveryError::Object {
                key: key.clone(),
                source,
            },
            CheckedReadError::Damaged(error) => RecoveryError::Footer {
                key: key.clone(),
                what: error.to_string(),
            },
        })
    }
}

/// The parts at `wanted`, ascending, as runs of neighbours of about [`GROUP_BYTES_MAX`].
fn grouped(parts: &[PartEntry], wanted: &[usize]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for at in wanted.iter().copied() {
        let fits = |group: &&mut Range<usize>| {
            let bytes = parts[at].range().end - parts[group.start].range().start;
            group.end == at && bytes <= GROUP_BYTES_MAX
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.end = at + 1,
            None => groups.push(at..at + 1),
        }
    }
    groups
}

fn index_of(fold: &FoldRecord, tail: &[u8]) -> Result<FoldIndex, FormatError> {
    let index = FoldIndex::decode(tail)?;
    let found = (index.crc, index.first_seq, index.last_seq());
    match found == (fold.index_crc, fold.first_seq, fold.last_seq) {
        true => Ok(index),
        false => Err(FormatError::Malformed(
            "fold object: it is not the one that was committed",
        )),
    }
}

fn footer_of(record: &CommitRecord, tail: &[u8]) -> Result<Footer, FormatError> {
    let footer = Footer::decode(tail)?;
    let sections = tail.len().saturating_sub(TRAILER_BYTES);
    match crc32c::crc32c(&tail[..sections]) == record.footer_crc {
        true => Ok(footer),
        false => Err(FormatError::Malformed(
            "segment footer: it is not the one that was committed",
        )),
    }
}

fn decode(
    commits: Vec<(u64, FoldedCommit)>,
    ranges: &SeqRanges,
) -> Result<Vec<Committed>, FormatError> {
    let wanted = commits
        .into_iter()
        .filter(|(seq, _)| ranges.touches(*seq, *seq));
    let decoded = wanted.map(|(seq, commit)| {
        Ok(Committed {
            seq,
            footer: commit.decode_footer()?,
            object_key: commit.object_key,
            size_bytes: commit.size_bytes,
        })
    });
    decoded.collect()
}
