use super::*;
use crate::{Reader, StrBytes};

fn large(fill: u8) -> Bytes {
    Bytes::from(vec![fill; SHARED_BYTES_MIN])
}

#[test]
fn the_first_piece_begins_with_the_length_of_all() {
    let mut writer = Writer::new();
    writer.i16(7);
    writer.raw(&large(1));
    writer.i8(9);
    let frame = writer.into_frame().unwrap();
    let lengths: Vec<_> = frame.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [6, SHARED_BYTES_MIN, 1]);
    assert_eq!(frame[0][..4], (3 + SHARED_BYTES_MIN as i32).to_be_bytes());
}

#[test]
fn large_pieces_are_shared_and_small_ones_copied() {
    let (big, small) = (large(5), Bytes::from_static(b"small"));
    let mut writer = Writer::new();
    writer
        .records(
            true,
            &Records::from(vec![big.clone(), small.clone(), big.clone()]),
        )
        .unwrap();
    let frame = writer.into_frame().unwrap();
    assert_eq!(frame[1].as_ptr(), big.as_ptr());
    assert_eq!(frame[2], small);
    assert_ne!(frame[2].as_ptr(), small.as_ptr());
    assert_eq!(frame[3].as_ptr(), big.as_ptr());
}

#[test]
fn a_tagged_field_may_be_large_and_hold_shared_pieces() {
    let mut writer = Writer::new();
    let mut tagged = writer.tagged_fields();
    tagged.field(3, |w| w.bytes(true, &large(1))).unwrap();
    tagged
        .field(200, |w| {
            let mut inner = w.tagged_fields();
            inner.field(0, |w| w.bytes(true, &large(2)))?;
            inner.field(1, |w| w.string(true, &"x".repeat(300)))
        })
        .unwrap();
    writer.i8(77);

    let mut reader = Reader::new(writer.into_bytes());
    let mut seen = Vec::new();
    reader
        .tagged_fields(|r, tag| {
            seen.push(tag);
            match tag {
                3 => assert_eq!(r.bytes(true)?, large(1)),
                _ => r.tagged_fields(|r, inner| {
                    match inner {
                        0 => assert_eq!(r.bytes(true)?, large(2)),
                        _ => assert_eq!(r.string(true)?.len(), 300),
                    }
                    Ok(true)
                })?,
            }
            Ok(true)
        })
        .unwrap();
    assert_eq!(seen, [3, 200]);
    assert_eq!(reader.i8().unwrap(), 77);
    reader.finish().unwrap();
}

#[test]
fn variable_length_numbers_come_back() {
    for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX >> 4, u32::MAX] {
        let mut writer = Writer::new();
        writer.uvarint(value);
        assert_eq!(Reader::new(writer.into_bytes()).uvarint().unwrap(), value);
    }
}

#[test]
fn a_string_longer_than_its_length_field_is_refused() {
    let text = StrBytes::from("x".repeat(i16::MAX as usize + 1));
    for flexible in [false, true] {
        let error = Writer::new().string(flexible, &text).unwrap_err();
        assert_eq!(
            error,
            EncodeError::TooLong {
                what: "a string",
                length: 32_768
            }
        );
    }
}
