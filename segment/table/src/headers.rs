//! Headers in Kafka's own encoding, for those that a table of text cannot hold.

use alluvium_segment::record_batch::varint::{get_signed_32, put_signed};

use crate::error::TableError;

/// One header, borrowed: key and value, as [`alluvium_segment::record_batch::BatchBuilder::push_at`] takes it.
pub(crate) type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Least bytes of a header: key length and value length.
const HEADER_BYTES_MIN: usize = 2;

/// Appends all headers of a record as they stand in a record: count, then keys and values.
pub(crate) fn encode<'a>(out: &mut Vec<u8>, headers: impl ExactSizeIterator<Item = HeaderRef<'a>>) {
    put_signed(out, headers.len() as i64);
    for (key, value) in headers {
        put_signed(out, key.len() as i64);
        out.extend_from_slice(key);
        match value {
            Some(value) => {
                put_signed(out, value.len() as i64);
                out.extend_from_slice(value);
            }
            None => put_signed(out, -1),
        }
    }
}

/// Appends the headers that `raw` holds to `out`.
pub(crate) fn decode<'a>(raw: &'a [u8], out: &mut Vec<HeaderRef<'a>>) -> Result<(), TableError> {
    let mut at = 0;
    let count = get_signed_32(raw, &mut at).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(TableError::malformed())?;
    if count > (raw.len() - at) / HEADER_BYTES_MIN {
        return Err(TableError::malformed());
    }
    for _ in 0..count {
        let key = field(raw, &mut at)?.ok_or(TableError::malformed())?;
        out.push((key, field(raw, &mut at)?));
    }
    match at == raw.len() {
        true => Ok(()),
        false => Err(TableError::malformed()),
    }
}

fn field<'a>(raw: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, TableError> {
    let length = get_signed_32(raw, at).ok_or(TableError::malformed())?;
    let Ok(length) = usize::try_from(length) else {
        return Ok(None);
    };
    let rest = raw.get(*at..).and_then(|rest| rest.get(..length));
    *at += length;
    rest.map(Some).ok_or(TableError::malformed())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_round_trip(
            headers in vec((vec(any::<u8>(), 0..5), option::of(vec(any::<u8>(), 0..200))), 0..5),
        ) {
            let headers: Vec<HeaderRef<'_>> = headers
                .iter()
                .map(|(key, value)| (&key[..], value.as_deref()))
                .collect();
            let mut raw = Vec::new();
            encode(&mut raw, headers.iter().copied());
            let mut decoded = Vec::new();
            prop_assert_eq!(decode(&raw, &mut decoded), Ok(()));
            prop_assert_eq!(decoded, headers);
            raw.pop();
            prop_assert!(decode(&raw, &mut Vec::new()).is_err());
        }

        #[test]
        fn random_bytes_never_panic(raw in vec(any::<u8>(), 0..40)) {
            let _ = decode(&raw, &mut Vec::new());
        }
    }
}
