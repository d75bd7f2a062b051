//! Records in a few bytes, so that those of segments can be compared with those of table files though neither are in
//! memory at the same time.

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use alluvium_common::offset::Offset;
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::record_batch::{Record, TimestampType};

/// What consumers see of some records, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest {
    hasher: DefaultHasher,
    records: u64,
}

impl Digest {
    /// Adds a record.
    pub fn add(&mut self, record: &Record, kind: TimestampType) {
        self.records += 1;
        self.hasher.write_i64(record.offset.get());
        self.hasher.write_i64(record.timestamp);
        self.hasher
            .write_u8(u8::from(kind == TimestampType::LogAppendTime));
        self.field(record.key.as_deref());
        self.field(record.value.as_deref());
        self.hasher.write_usize(record.headers.len());
        for header in &record.headers {
            self.field(Some(&header.key));
            self.field(header.value.as_deref());
        }
    }

    fn field(&mut self, bytes: Option<&[u8]>) {
        // Null differs from empty, and no field runs into the next.
        match bytes {
            None => self.hasher.write_i64(-1),
            Some(bytes) => {
                self.hasher.write_i64(bytes.len() as i64);
                self.hasher.write(bytes);
            }
        }
    }

    /// How many records, and their digest.
    pub fn finish(&self) -> (u64, u64) {
        (self.records, self.hasher.finish())
    }
}

/// What a segment holds of offsets that a table file answers for: of one block, at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The offsets.
    pub offsets: Range<Offset>,
    /// How many records, and their digest.
    pub digest: (u64, u64),
    /// The segment.
    pub segment: ObjectKey,
}

/// Compares the rows of a span, which come in the order of their offsets, with pieces.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    /// Ascending, none overlapping another.
    pieces: std::iter::Peekable<std::slice::Iter<'a, Piece>>,
    open: Digest,
    /// Rows that were compared.
    pub compared: u64,
    /// What differs.
    pub findings: Vec<String>,
}

impl<'a> Comparison<'a> {
    /// With `pieces` that are ascending, of which those within `span` count.
    pub fn new(pieces: &'a [Piece], span: &Range<Offset>) -> Self {
        let first = pieces.partition_point(|piece| piece.offsets.start < span.start);
        let end = pieces.partition_point(|piece| piece.offsets.end <= span.end);
        Self {
            pieces: pieces[first..end.max(first)].iter().peekable(),
            open: Digest::default(),
            compared: 0,
            findings: Vec::new(),
        }
    }

    /// The next row. Rows that are in no piece are none of a segment that exists.
    pub fn row(&mut self, record: &Record, kind: TimestampType) {
        self.close_before(Some(record.offset));
        let piece = self.pieces.peek();
        if piece.is_some_and(|piece| piece.offsets.start <= record.offset) {
            self.open.add(record, kind);
            self.compared += 1;
        }
    }

    /// No row comes any more.
    pub fn finish(&mut self) {
        self.close_before(None);
    }

    /// Judges the pieces that end at `offset` or before; all for `None`.
    fn close_before(&mut self, offset: Option<Offset>) {
        let ended = |piece: &&Piece| offset.is_none_or(|offset| piece.offsets.end <= offset);
        while let Some(piece) = self.pieces.next_if(ended) {
            let found = std::mem::take(&mut self.open).finish();
            if found == piece.digest {
                continue;
            }
            let (base, next) = (piece.offsets.start, piece.offsets.end);
            let differs = match found.0 == piece.digest.0 {
                true => "their contents differ".to_owned(),
                false => format!("{} here, {} there", found.0, piece.digest.0),
            };
            self.findings.push(format!(
                "its records of offsets {base} to before {next} are not those of segment {}: {differs}",
                piece.segment
            ));
        }
    }
}
