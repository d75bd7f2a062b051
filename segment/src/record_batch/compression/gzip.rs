//! gzip, one or several members as `java.util.zip.GZIPInputStream` reads them.

use std::io::{self, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Failure, first_capacity, read_bounded};

pub(super) fn compress(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(payload)?;
    encoder.finish()
}

pub(super) fn decompress(payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let capacity = first_capacity(payload, max_bytes);
    read_bounded(MultiGzDecoder::new(payload), capacity, max_bytes)
}
