//! Zstandard for pages of values.

use std::fmt;

use parquet::basic::ZstdLevel;
use zstd::zstd_safe::{CCtx, CParameter, Strategy, compress_bound, get_error_name};

use crate::error::TableError;

/// Levels below this one are with parameters of our own.
const LEVEL_OF_ZSTD_MIN: i32 = 3;

/// What the lowest levels look for, as powers of two and bytes. One table finds long matches, one short ones, as from level
/// 3 on; both fit into the cache nearest to the core, which those of level 3 do not. On pages of a MiB of JSON, source
/// code, programs, CSV and binary records that made 1 to 10 % less bytes than level 1 at 7 to 21 % less speed; and about as
/// many bytes as level 3 at 13 to 25 % more.
mod fast {
    use super::Strategy;

    pub const STRATEGY: Strategy = Strategy::ZSTD_dfast;
    pub const WINDOW_LOG: u32 = 20;
    pub const HASH_LOG: u32 = 15;
    pub const CHAIN_LOG: u32 = 14;
    pub const MATCH_BYTES: u32 = 6;
}

/// A context and room for its output, kept from page to page.
pub(super) struct Compressor {
    context: CCtx<'static>,
    out: Vec<u8>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// Of that level.
    pub fn new(level: ZstdLevel) -> Result<Self, TableError> {
        let level = level.compression_level();
        let mut context = CCtx::create();
        let mut parameters = vec![CParameter::CompressionLevel(level)];
        if level < LEVEL_OF_ZSTD_MIN {
            parameters.extend([
                CParameter::Strategy(fast::STRATEGY),
                CParameter::WindowLog(fast::WINDOW_LOG),
                CParameter::HashLog(fast::HASH_LOG),
                CParameter::ChainLog(fast::CHAIN_LOG),
                CParameter::MinMatch(fast::MATCH_BYTES),
            ]);
        }
        for parameter in parameters {
            context.set_parameter(parameter).map_err(failed)?;
        }
        let out = Vec::new();
        Ok(Self { context, out })
    }

    /// A frame of `content`.
    pub fn compress(&mut self, content: &[u8]) -> Result<&[u8], TableError> {
        self.out.clear();
        self.out.reserve(compress_bound(content.len()));
        let compressed = self.context.compress2(&mut self.out, content);
        compressed.map_err(failed)?;
        Ok(&self.out)
    }

    /// Gives memory above so many bytes back.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.out.clear();
        self.out.shrink_to(bytes);
    }
}

fn failed(code: usize) -> TableError {
    TableError::Parquet(format!("zstd: {}", get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the parameters of our own are for: text of many short repetitions in less than the library's level needs.
    #[test]
    fn the_lowest_level_needs_fewer_bytes_than_that_of_zstd() {
        let kinds = ["page_view", "search", "add_to_cart", "purchase", "login"];
        let places = [
            "DE/Berlin",
            "US/New York",
            "FR/Lyon",
            "JP/Osaka",
            "GB/Leeds",
        ];
        let agents = [
            "Windows NT 10.0; Win64",
            "iPhone OS 17_5",
            "Macintosh; Intel",
        ];
        let text: String = (0..8_000_u64)
            .map(|number| {
                let noise = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let pick = |shift: u64, count: usize| (noise >> shift) as usize % count;
                format!(
                    "{{\"type\":\"{}\",\"id\":\"{noise:016x}\",\"place\":\"{}\",\"agent\":\"Mozilla/5.0 ({})\"}}",
                    kinds[pick(7, 5)],
                    places[pick(23, 5)],
                    agents[pick(41, 3)],
                )
            })
            .collect();
        let mut ours = Compressor::new(ZstdLevel::try_new(1).expect("a level")).expect("made");
        let compressed = ours.compress(text.as_bytes()).expect("compressed");
        let library = zstd::bulk::compress(text.as_bytes(), 1).expect("compressed");
        assert!(compressed.len() < library.len());
        let back = zstd::bulk::decompress(compressed, text.len()).expect("whole");
        assert_eq!(back, text.as_bytes());
    }
}
