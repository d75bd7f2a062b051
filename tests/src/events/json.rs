//! The pieces of JSON text, written straight into the bytes of a record: `format!` would be most of an event's time.

const HEX: &[u8; 16] = b"0123456789abcdef";
/// Digits of the largest `u64`.
const DIGITS_MAX: usize = 20;
const MS_PER_DAY: i64 = 86_400_000;

/// Text as it is. What is written here needs no escapes.
pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A number in decimal.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    put_padded(out, number, 1);
}

/// A number in decimal, of `width` digits at least.
pub(super) fn put_padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    while number > 0 {
        at -= 1;
        digits[at] += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at.min(DIGITS_MAX - width)..]);
}

/// A number of hundredths, with two digits behind the point.
pub(super) fn put_hundredths(out: &mut Vec<u8>, hundredths: u64) {
    put_number(out, hundredths / 100);
    out.push(b'.');
    put_padded(out, hundredths % 100, 2);
}

/// The lowest `digits` hexadecimal digits.
pub(super) fn put_hex(out: &mut Vec<u8>, bits: u64, digits: usize) {
    out.extend(
        (0..digits)
            .rev()
            .map(|at| HEX[(bits >> (4 * at)) as usize & 15]),
    );
}

/// A UUID of version 4 made of these bits.
pub(super) fn put_uuid(out: &mut Vec<u8>, high: u64, low: u64) {
    put_hex(out, high >> 32, 8);
    out.push(b'-');
    put_hex(out, high >> 16, 4);
    put(out, "-4");
    put_hex(out, high, 3);
    out.push(b'-');
    put_hex(out, 8 | (low >> 60 & 3), 1);
    put_hex(out, low >> 48, 3);
    out.push(b'-');
    put_hex(out, low, 12);
}

/// Milliseconds since 1970 as `2026-03-01T12:34:56.789Z`.
pub(super) fn put_time(out: &mut Vec<u8>, ms: i64) {
    let (year, month, day) = civil(ms.div_euclid(MS_PER_DAY));
    let ms = ms.rem_euclid(MS_PER_DAY) as u64;
    put_padded(out, year, 4);
    for (before, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', ms / 3_600_000),
        (b':', ms / 60_000 % 60),
        (b':', ms / 1_000 % 60),
    ] {
        out.push(before);
        put_padded(out, number, 2);
    }
    out.push(b'.');
    put_padded(out, ms % 1_000, 3);
    out.push(b'Z');
}

/// Year, month and day so many days after 1970-01-01 (Hinnant's `civil_from_days`).
fn civil(days: i64) -> (u64, u64, u64) {
    let shifted = (days + 719_468) as u64;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn numbers_read_as_they_should() {
        assert_eq!(text(|out| put_number(out, 0)), "0");
        assert_eq!(text(|out| put_number(out, u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(|out| put_padded(out, 7, 3)), "007");
        assert_eq!(text(|out| put_padded(out, 12_345, 3)), "12345");
        assert_eq!(text(|out| put_hundredths(out, 1_905)), "19.05");
        assert_eq!(text(|out| put_hex(out, 0xabc_def0, 6)), "bcdef0");
    }

    #[test]
    fn times_read_as_they_should() {
        let time = |ms| text(|out| put_time(out, ms));
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_709_210_096_007), "2024-02-29T12:34:56.007Z");
        assert_eq!(time(1_798_761_599_999), "2026-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_uuid_is_one() {
        let written = text(|out| put_uuid(out, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210));
        let uuid = uuid::Uuid::parse_str(&written).expect("a UUID");
        assert_eq!((uuid.get_version_num(), written.len()), (4, 36));
    }
}
