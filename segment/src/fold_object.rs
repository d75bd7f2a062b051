//! Fold objects: a run of one commit log in one object, commits and footers together.
//!
//! Opening a partition needs every footer of the commit logs that it names. Read one by one that is a request for
//! each segment there ever was; from a fold it is one request for thousands. The footers are kept as they were
//! committed, byte for byte, so that their checksums still hold.

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use bytes::Bytes;

use crate::error::FormatError;
use crate::footer::Footer;
use crate::object_key::ObjectKey;
use crate::parted::{self, EncodedObject, Format, PartEntry, Writer};
use crate::reader::Reader;
use crate::record_batch::varint::put_unsigned;

/// The newest version; all older ones are read.
pub const FOLD_VERSION: u16 = 1;

const FORMAT: Format = Format {
    what: "fold object",
    magic: *b"ALVF",
    trailer_magic: *b"ALVFOLDT",
    version: FOLD_VERSION,
};

/// One commit of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedCommit {
    /// Name of the segment.
    pub object_key: ObjectKey,
    /// Its size.
    pub size_bytes: u64,
    /// Checksum of its footer's sections, as committed.
    pub footer_crc: u32,
    /// Its footer: sections and trailer.
    pub footer: Bytes,
}

impl FoldedCommit {
    /// The footer decoded; that it is the committed one is checked.
    pub fn decode_footer(&self) -> Result<Footer, FormatError> {
        let footer = Footer::decode(&self.footer)?;
        let sections = self.footer.len() - crate::footer::TRAILER_BYTES;
        crate::reader::check_crc32c("folded footer", self.footer_crc, &self.footer[..sections])?;
        Ok(footer)
    }
}

/// Makes a fold object, commit by commit.
#[derive(Debug)]
pub struct FoldBuilder {
    writer: Writer,
    first_seq: u64,
}

impl FoldBuilder {
    /// Of the log of a session, from `first_seq` on.
    pub fn new(
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        first_seq: u64,
        created_ms: i64,
    ) -> Self {
        let mut about = [0; 20];
        about[..4].copy_from_slice(&broker_id.0.to_le_bytes());
        about[4..12].copy_from_slice(&broker_epoch.0.to_le_bytes());
        about[12..].copy_from_slice(&created_ms.to_le_bytes());
        Self {
            writer: Writer::new(FORMAT, about),
            first_seq,
        }
    }

    /// Adds the next commit.
    ///
    /// # Errors
    /// A footer beyond what a part may hold.
    pub fn push(&mut self, commit: &FoldedCommit) -> Result<(), FormatError> {
        self.writer.add(|out| {
            let name = commit.object_key.as_str();
            put_unsigned(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            put_unsigned(out, commit.size_bytes);
            out.extend_from_slice(&commit.footer_crc.to_le_bytes());
            put_unsigned(out, commit.footer.len() as u64);
            out.extend_from_slice(&commit.footer);
        })
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.writer.items()
    }

    /// The object.
    pub fn finish(self) -> Result<EncodedObject, FormatError> {
        let mut head = Vec::new();
        put_unsigned(&mut head, self.first_seq);
        self.writer.finish(&head)
    }
}

/// What a fold object holds, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldIndex {
    /// Sequence of its first commit.
    pub first_seq: u64,
    /// Its parts, in order.
    pub parts: Vec<PartEntry>,
    /// Checksum of the index, which the metadata store names.
    pub crc: u32,
}

impl FoldIndex {
    /// Reads the index from the last bytes of an object.
    ///
    /// # Errors
    /// [`FormatError::NeedMore`] says how many last bytes to read when `tail` is too short; any other error means that
    /// the object is damaged, foreign or of a newer version.
    pub fn decode(tail: &[u8]) -> Result<Self, FormatError> {
        let (mut reader, crc) = parted::index_of(&FORMAT, tail)?;
        let first_seq = reader.unsigned()?;
        let parts = parted::parts_of(reader)?;
        let items = parts.last().map_or(0, |last| last.first_item + last.items);
        match first_seq.checked_add(items) {
            Some(_) if items > 0 => Ok(Self {
                first_seq,
                parts,
                crc,
            }),
            _ => Err(FormatError::Malformed(FORMAT.what)),
        }
    }

    /// Sequence of its last commit.
    pub fn last_seq(&self) -> u64 {
        let items = self.parts.last();
        let items = items.map_or(0, |last| last.first_item + last.items);
        self.first_seq + items.saturating_sub(1)
    }

    /// First and last sequence of a part.
    pub fn sequences(&self, part: &PartEntry) -> (u64, u64) {
        let first = self.first_seq + part.first_item;
        (first, first + part.items - 1)
    }

    /// The commits of one part with their sequences, from the part's stored bytes.
    pub fn open_part(
        &self,
        part: &PartEntry,
        stored: Bytes,
    ) -> Result<Vec<(u64, FoldedCommit)>, FormatError> {
        let raw = part.open(&FORMAT, stored)?;
        let mut reader = Reader::new(&raw, FORMAT.what);
        let mut commits = Vec::new();
        let (first, last) = self.sequences(part);
        for seq in first..=last {
            commits.push((seq, decode_commit(&mut reader, &raw)?));
        }
        match reader.is_empty() {
            true => Ok(commits),
            false => Err(reader.malformed()),
        }
    }

    /// Every commit, from the bytes of the whole object.
    pub fn open_all(&self, object: &Bytes) -> Result<Vec<(u64, FoldedCommit)>, FormatError> {
        let mut commits = Vec::new();
        for part in &self.parts {
            let range = part.range();
            let stored = slice(object, range.start, range.end)?;
            commits.extend(self.open_part(part, stored)?);
        }
        Ok(commits)
    }
}

/// How many last bytes of the object index and trailer take, from its last 24 bytes or more.
pub fn index_length(tail: &[u8]) -> Result<u32, FormatError> {
    parted::index_length(&FORMAT, tail)
}

pub(crate) fn slice(object: &Bytes, start: u64, end: u64) -> Result<Bytes, FormatError> {
    let have = object.len();
    let needed = usize::try_from(end).unwrap_or(usize::MAX);
    match usize::try_from(start) {
        Ok(start) if start <= needed && needed <= have => Ok(object.slice(start..needed)),
        _ => Err(FormatError::NeedMore { needed, have }),
    }
}

fn decode_commit(reader: &mut Reader<'_>, raw: &Bytes) -> Result<FoldedCommit, FormatError> {
    let name_length = reader.count(1)?;
    let name = std::str::from_utf8(reader.take(name_length)?).map_err(|_| reader.malformed())?;
    let object_key = ObjectKey::parse(name).map_err(|_| reader.malformed())?;
    let size_bytes = reader.unsigned()?;
    let footer_crc = u32::from_le_bytes(reader.array()?);
    let footer_length = reader.count(1)?;
    let footer = raw.slice_ref(reader.take(footer_length)?);
    Ok(FoldedCommit {
        object_key,
        size_bytes,
        footer_crc,
        footer,
    })
}

#[cfg(test)]
mod tests;
