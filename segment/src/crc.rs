//! CRC-32C of bytes whose own CRC-32C is known.
//!
//! A checksum of `A ++ B` follows from the checksums of `A` and `B` and the length of `B`, without looking at `B`
//! again. Record batches bring a verified checksum of nearly all their bytes, so frames and blocks around them need no
//! further pass over the records. It is also a stronger promise: bytes that were damaged in our memory after the producer's
//! checksum was verified do not get a valid one of ours.

/// Reflected polynomial of CRC-32C (Castagnoli).
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `x^(2^k)` modulo the polynomial, enough for any length in bits that fits into 64.
const POWERS: [u32; 64] = powers();

/// Below this, going over the bytes is faster.
const COMBINE_BYTES_MIN: usize = 4 * 1024;

/// The checksum of `before ++ bytes`, when `crc_before` and `crc_of_bytes` are theirs.
pub(crate) fn append_known(crc_before: u32, crc_of_bytes: u32, bytes: &[u8]) -> u32 {
    if bytes.len() < COMBINE_BYTES_MIN {
        return crc32c::crc32c_append(crc_before, bytes);
    }
    combine(crc_before, crc_of_bytes, bytes.len() as u64)
}

/// The checksum of `A ++ B` from those of `A` and `B`, and the length of `B` in bytes.
fn combine(crc_a: u32, crc_b: u32, length_b: u64) -> u32 {
    multiply(shift(length_b), crc_a) ^ crc_b
}

/// `x^(8 * bytes)` modulo the polynomial.
fn shift(bytes: u64) -> u32 {
    let mut product = 1 << 31;
    for (k, power) in POWERS.iter().skip(3).enumerate() {
        if bytes >> k & 1 == 1 {
            product = multiply(*power, product);
        }
    }
    product
}

/// Product of two polynomials modulo the polynomial; the highest bit is `x^0`.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1_u32 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = (b >> 1) ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    product
}

const fn powers() -> [u32; 64] {
    let mut powers = [0; 64];
    powers[0] = 1 << 30;
    let mut k = 1;
    while k < 64 {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (((i * i) >> 3) ^ i) as u8).collect()
    }

    #[test]
    fn combining_is_the_same_as_going_over_the_bytes() {
        for (a, b) in [
            (0, 0),
            (0, 9),
            (9, 0),
            (1, 1),
            (80, 4095),
            (7, 4096),
            (64, 1_000_003),
        ] {
            let (a, b) = (bytes(a), bytes(b));
            let crc_a = crc32c::crc32c(&a);
            let whole = crc32c::crc32c_append(crc_a, &b);
            let crc_b = crc32c::crc32c(&b);
            assert_eq!(
                combine(crc_a, crc_b, b.len() as u64),
                whole,
                "{} {}",
                a.len(),
                b.len()
            );
            assert_eq!(append_known(crc_a, crc_b, &b), whole);
        }
    }

    #[test]
    fn damage_after_the_known_checksum_is_not_blessed() {
        let mut body = bytes(10_000);
        let known = crc32c::crc32c(&body);
        body[5_000] ^= 1;
        let stored = append_known(1, known, &body);
        assert_ne!(stored, crc32c::crc32c_append(1, &body));
    }
}
