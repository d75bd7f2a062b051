//! What the records hold. Two kinds, because compression and checksums cost differently on each: bytes that no
//! codec can shrink, and JSON as services write it. Both come from a fixed seed, so every run sends the same.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;

/// Bytes of distinct payloads kept. Larger than any window or block a codec looks back over (512 KiB), so that
/// repeating the pool cannot be compressed away.
const POOL_BYTES: usize = 8 << 20;

/// What a record's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PayloadKind {
    /// Uniform random bytes: incompressible.
    Random,
    /// JSON objects with the usual repetition of field names and few-valued fields.
    Json,
}

/// Ready-made payloads of one size, used in turn.
#[derive(Debug)]
pub struct PayloadPool {
    payloads: Vec<Vec<u8>>,
}

impl PayloadPool {
    /// Makes [`POOL_BYTES`] of payloads of exactly `record_bytes` each.
    pub fn new(kind: PayloadKind, record_bytes: usize, seed: u64) -> Self {
        let mut random = SplitMix(seed);
        let count = (POOL_BYTES / record_bytes.max(1)).max(16);
        let payloads = (0..count)
            .map(|index| match kind {
                PayloadKind::Random => random_bytes(&mut random, record_bytes),
                PayloadKind::Json => json_bytes(&mut random, index as u64, record_bytes),
            })
            .collect();
        Self { payloads }
    }

    /// The payload of the `index`-th record.
    pub fn get(&self, index: u64) -> &[u8] {
        let count = self.payloads.len() as u64;
        &self.payloads[(index % count) as usize]
    }
}

fn random_bytes(random: &mut SplitMix, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

const ACTIONS: [&str; 6] = [
    "view",
    "click",
    "add_to_cart",
    "purchase",
    "search",
    "logout",
];
const COUNTRIES: [&str; 8] = ["NL", "DE", "FR", "US", "BR", "IN", "JP", "ZA"];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15",
    "okhttp/4.12.0",
];

fn json_bytes(random: &mut SplitMix, index: u64, len: usize) -> Vec<u8> {
    let mut text = format!(
        "{{\"id\":{},\"ts\":{},\"user\":{},\"act\":\"{}\",\"country\":\"{}\",\"amount\":{}.{:02}",
        1_000_000 + index,
        1_760_000_000_000 + index * 37 + random.below(30),
        random.below(500_000),
        ACTIONS[random.below(6) as usize],
        COUNTRIES[random.below(8) as usize],
        random.below(900),
        random.below(100),
    );
    let mut field = 0;
    while text.len() < len {
        match field % 4 {
            0 => write!(text, ",\"session_{field}\":\"{:016x}\"", random.next()),
            1 => write!(text, ",\"agent\":\"{}\"", AGENTS[random.below(3) as usize]),
            2 => write!(
                text,
                ",\"item_{field}\":{{\"sku\":\"SKU-{:06}\",\"qty\":{},\"price\":{}}}",
                random.below(20_000),
                1 + random.below(5),
                random.below(10_000)
            ),
            _ => write!(
                text,
                ",\"path\":\"/shop/category-{}/page-{}\"",
                random.below(40),
                random.below(12)
            ),
        }
        .expect("writing to a string cannot fail");
        field += 1;
    }
    // Cut to size: the tail of the last field is lost, which no codec and no broker can tell.
    text.truncate(len.saturating_sub(1));
    text.push('}');
    text.into_bytes()
}

/// SplitMix64 (Steele, Lea and Flood 2014): enough for payloads, and the same on every machine.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_asked_for_and_repeat_from_the_seed() {
        for kind in [PayloadKind::Random, PayloadKind::Json] {
            for size in [100, 1024] {
                let pool = PayloadPool::new(kind, size, 7);
                assert!(pool.payloads.iter().all(|payload| payload.len() == size));
                assert_eq!(pool.payloads, PayloadPool::new(kind, size, 7).payloads);
                assert_ne!(pool.get(0), pool.get(1));
            }
        }
    }

    #[test]
    fn json_looks_like_json() {
        let pool = PayloadPool::new(PayloadKind::Json, 1024, 1);
        let text = std::str::from_utf8(pool.get(3)).unwrap();
        assert!(
            text.starts_with("{\"id\":1000003,") && text.ends_with('}'),
            "{text}"
        );
    }
}
