//! Variable-length integers: unsigned LEB128, and Kafka's zigzag form of it.

/// Longest encoding of a 64-bit number in bytes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Appends an unsigned number, 7 bits a byte, low bits first.
pub fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number: zigzag, so that small negative ones are short too.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag(value));
}

/// Bytes that [`put_unsigned`] would write.
pub fn unsigned_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Bytes that [`put_signed`] would write.
pub fn signed_bytes(value: i64) -> usize {
    unsigned_bytes(zigzag(value))
}

/// Reads an unsigned number at `*at` and moves `*at` behind it; `None` when the bytes end or the
/// number does not fit 64 bits (`*at` is then meaningless).
#[inline]
pub fn get_unsigned(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    get_unsigned_rest(bytes, at, u64::from(first & 0x7f))
}

fn get_unsigned_rest(bytes: &[u8], at: &mut usize, mut value: u64) -> Option<u64> {
    for index in 1..VARINT_BYTES_MAX {
        let byte = *bytes.get(*at)?;
        *at += 1;
        let bits = u64::from(byte & 0x7f);
        if index == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Reads a signed (zigzag) number, otherwise as [`get_unsigned`].
#[inline]
pub fn get_signed(bytes: &[u8], at: &mut usize) -> Option<i64> {
    get_unsigned(bytes, at).map(unzigzag)
}

/// Reads a signed number that must fit 32 bits.
#[inline]
pub fn get_signed_32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    i32::try_from(get_signed(bytes, at)?).ok()
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_round_trip() {
        for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN, 1 << 35] {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            assert_eq!(out.len(), signed_bytes(value), "{value}");
            let mut at = 0;
            assert_eq!(get_signed(&out, &mut at), Some(value));
            assert_eq!(at, out.len());
            let cut = &out[..out.len() - 1];
            assert_eq!(get_signed(cut, &mut 0), None);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        assert_eq!(get_unsigned(&[0xff; 11], &mut 0), None);
        let mut just_too_large = vec![0xff; 9];
        just_too_large.push(0x02);
        assert_eq!(get_unsigned(&just_too_large, &mut 0), None);
    }
}
