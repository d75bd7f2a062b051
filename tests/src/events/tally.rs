//! How many records there are, of which offsets, and their digest.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Row};

/// The records of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How many.
    pub records: u64,
    /// Lowest offset.
    pub first: i64,
    /// Highest offset.
    pub last: i64,
}

/// What was counted somewhere. As JSON it is what the scripts in `tests/history` print.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many records.
    pub records: u64,
    /// Of all of them.
    pub digest: Digest,
    /// By partition; those without records are not in it.
    pub partitions: BTreeMap<i32, Span>,
}

impl Tally {
    /// Counts a record, whose digest it returns. `buffer` is for its encoding, so that it need not be allocated each time.
    pub fn add(&mut self, row: &Row<'_>, buffer: &mut Vec<u8>) -> Digest {
        buffer.clear();
        row.encode(buffer);
        let digest = Digest::of(buffer);
        self.add_digest(row.partition, row.offset, digest);
        digest
    }

    /// Counts a record of that digest.
    pub fn add_digest(&mut self, partition: i32, offset: i64, digest: Digest) {
        let span = Span {
            records: 1,
            first: offset,
            last: offset,
        };
        self.records += 1;
        self.digest = self.digest.plus(digest);
        self.extend(partition, span);
    }

    /// Counts the records of `other` too.
    pub fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.digest = self.digest.plus(other.digest);
        for (partition, span) in &other.partitions {
            self.extend(*partition, *span);
        }
    }

    fn extend(&mut self, partition: i32, more: Span) {
        self.partitions
            .entry(partition)
            .and_modify(|span| {
                span.records += more.records;
                span.first = span.first.min(more.first);
                span.last = span.last.max(more.last);
            })
            .or_insert(more);
    }

    /// What `other` counted differently, for people.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.records != other.records {
            found.push(format!("{} records, not {}", other.records, self.records));
        }
        let none = Span {
            records: 0,
            first: -1,
            last: -1,
        };
        let partitions: BTreeMap<_, _> = self.partitions.iter().chain(&other.partitions).collect();
        for partition in partitions.keys() {
            let of = |tally: &Self| tally.partitions.get(partition).copied().unwrap_or(none);
            let (wanted, found_there) = (of(self), of(other));
            if wanted != found_there {
                found.push(format!(
                    "partition {partition}: {found_there}, not {wanted}"
                ));
            }
        }
        if self.digest != other.digest {
            found.push(format!("digest {}, not {}", other.digest, self.digest));
        }
        found
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records of offsets {} to {}",
            self.records, self.first, self.last
        )
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// The vectors that the Python side is held to as well.
    #[derive(Deserialize)]
    struct Vectors {
        rows: Vec<VectorRow>,
        tally: Tally,
    }

    /// Keys and values are hexadecimal.
    #[derive(Deserialize)]
    struct VectorRow {
        partition: i32,
        offset: i64,
        timestamp: i64,
        timestamp_type: i8,
        key: Option<String>,
        value: Option<String>,
        headers: Vec<(String, Option<String>)>,
        digest: Digest,
    }

    fn bytes(hex: Option<&str>) -> Option<Vec<u8>> {
        let byte = |at| u8::from_str_radix(&hex.unwrap_or_default()[at..at + 2], 16);
        hex.map(|hex| {
            (0..hex.len())
                .step_by(2)
                .map(|at| byte(at).expect("hex"))
                .collect()
        })
    }

    fn count(row: &VectorRow) -> Tally {
        let (key, value) = (bytes(row.key.as_deref()), bytes(row.value.as_deref()));
        let headers: Vec<_> = row
            .headers
            .iter()
            .map(|(key, value)| (key.as_bytes(), bytes(value.as_deref())))
            .collect();
        let headers: Vec<_> = headers
            .iter()
            .map(|(key, value)| (*key, value.as_deref()))
            .collect();
        let mut tally = Tally::default();
        let row = Row {
            partition: row.partition,
            offset: row.offset,
            timestamp_ms: row.timestamp,
            timestamp_type: row.timestamp_type,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
        };
        tally.add(&row, &mut Vec::new());
        tally
    }

    fn vectors() -> Vectors {
        let text = include_str!("../../history/vectors.json");
        serde_json::from_str(text).expect("vectors")
    }

    #[test]
    fn the_digest_is_that_of_the_vectors() {
        let mut sum = Tally::default();
        for (number, row) in vectors().rows.iter().enumerate() {
            let one = count(row);
            assert_eq!(one.digest, row.digest, "row {number}");
            sum.merge(&one);
        }
        assert_eq!(sum, vectors().tally);
    }

    #[test]
    fn order_does_not_matter_and_number_does() {
        let rows: Vec<_> = vectors().rows.iter().map(count).collect();
        let sum = |rows: &mut dyn Iterator<Item = &Tally>| {
            let mut sum = Tally::default();
            rows.for_each(|row| sum.merge(row));
            sum
        };
        let all = sum(&mut rows.iter());
        assert_eq!(all, sum(&mut rows.iter().rev()));
        assert!(all.differences(&all).is_empty());
        let twice = sum(&mut rows.iter().chain(&rows[..1]));
        assert_ne!(all.digest, twice.digest);
        assert_eq!(
            all.differences(&twice).len(),
            3,
            "records, partition, digest"
        );
        assert_ne!(all, sum(&mut rows.iter().skip(1)));
    }
}
