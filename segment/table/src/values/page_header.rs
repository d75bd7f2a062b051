//! The header of a data page: a Thrift structure in the compact protocol
//! (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>, `PageHeader`).

use alluvium_segment::record_batch::varint::put_signed;

use crate::error::TableError;

/// More than a header takes.
pub(super) const BYTES_MAX: usize = 32;

/// Thrift's `i32`, of the field behind the last one.
const NEXT_I32: u8 = 0x15;
/// A structure, of the third field behind the last one: from `compressed_page_size` to `data_page_header`.
const DATA_PAGE_HEADER: u8 = 0x2C;
const END: u8 = 0;

/// `PageType.DATA_PAGE`
const DATA_PAGE: i32 = 0;
/// `Encoding.PLAIN`
const PLAIN: i32 = 0;
/// `Encoding.RLE`
const RLE: i32 = 3;

/// A size as Parquet has it.
pub(super) fn size(bytes: usize) -> Result<i32, TableError> {
    let limit = i32::MAX as usize;
    i32::try_from(bytes).map_err(|_| TableError::TooLarge { size: bytes, limit })
}

/// Appends the header of a page of plain values with definition levels.
pub(super) fn encode(
    out: &mut Vec<u8>,
    uncompressed: usize,
    compressed: usize,
    rows: usize,
) -> Result<(), TableError> {
    put_i32(out, DATA_PAGE);
    put_i32(out, size(uncompressed)?);
    put_i32(out, size(compressed)?);
    out.push(DATA_PAGE_HEADER);
    put_i32(out, size(rows)?);
    put_i32(out, PLAIN);
    // Of definition and of repetition levels, of which there are none.
    put_i32(out, RLE);
    put_i32(out, RLE);
    out.extend([END, END]);
    Ok(())
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.push(NEXT_I32);
    // Zigzag is the same for 32 bits.
    put_signed(out, i64::from(value));
}
