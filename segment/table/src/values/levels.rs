//! Definition levels of a page of an optional column: for each row, whether it has a value.
//!
//! ```text
//! length: u32 LE | runs       run: varint (rows << 1) | level: u8            the same for so many rows
//!                                  varint (groups << 1 | 1) | bits, LSB first  eight rows each
//! ```
//!
//! Parquet's hybrid of run lengths and packed bits, of one bit
//! (<https://parquet.apache.org/docs/file-format/data-pages/encodings/>).

use alluvium_segment::record_batch::varint::put_unsigned;

/// A run length takes about so many bytes.
const RUN_BYTES: usize = 4;

/// The levels of the rows so far.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Alternately rows with a value and without; the first may be none.
    runs: Vec<u32>,
    rows: usize,
}

impl Levels {
    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Adds a row.
    pub fn push(&mut self, has_value: bool) {
        self.rows += 1;
        // The number of runs tells which the last one is of: odd for rows with a value.
        let is_same = self.runs.len() % 2 == usize::from(has_value);
        match self.runs.last_mut() {
            Some(last) if is_same => *last += 1,
            None if !has_value => self.runs.extend([0, 1]),
            _ => self.runs.push(1),
        }
    }

    /// The levels as a page begins with them; no rows are left.
    pub fn take(&mut self) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self.runs.len() * RUN_BYTES <= self.rows.div_ceil(8) + RUN_BYTES {
            true => self.put_runs(&mut out),
            false => self.put_bits(&mut out),
        }
        // Far fewer bytes than rows, which are below 2^31.
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_le_bytes());
        self.runs.clear();
        self.rows = 0;
        out
    }

    /// For each run, whether its rows have a value, and how many they are.
    fn each(&self) -> impl Iterator<Item = (bool, u32)> {
        let runs = self.runs.iter().enumerate();
        runs.map(|(number, rows)| (number % 2 == 0, *rows))
    }

    fn put_runs(&self, out: &mut Vec<u8>) {
        for (has_value, rows) in self.each().filter(|(_, rows)| *rows > 0) {
            put_unsigned(out, u64::from(rows) << 1);
            out.push(u8::from(has_value));
        }
    }

    fn put_bits(&self, out: &mut Vec<u8>) {
        let groups = self.rows.div_ceil(8);
        put_unsigned(out, (groups as u64) << 1 | 1);
        let bits = out.len();
        out.resize(bits + groups, 0);
        let mut row = 0;
        for (has_value, rows) in self.each() {
            let end = row + rows as usize;
            if has_value {
                (row..end).for_each(|row| out[bits + row / 8] |= 1 << (row % 8));
            }
            row = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(rows: impl IntoIterator<Item = bool>) -> Vec<u8> {
        let mut levels = Levels::default();
        rows.into_iter().for_each(|row| levels.push(row));
        let out = levels.take();
        assert_eq!(levels.len(), 0);
        out
    }

    #[test]
    fn a_page_without_nulls_is_one_run() {
        assert_eq!(encoded([true; 300]), [3, 0, 0, 0, 0xD8, 0x04, 1]);
    }

    #[test]
    fn a_page_of_nulls_is_one_run() {
        assert_eq!(encoded([false; 300]), [3, 0, 0, 0, 0xD8, 0x04, 0]);
    }

    #[test]
    fn rows_that_alternate_are_packed_bits() {
        let rows = (0..20).map(|row| row % 2 == 0);
        let bits = [0b0101_0101, 0b0101_0101, 0b0101];
        assert_eq!(encoded(rows), [&[4, 0, 0, 0, 7], &bits[..]].concat());
    }
}
