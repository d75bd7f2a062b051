use super::*;

fn reader(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes))
}

fn kind<T>(result: Result<T>) -> DecodeErrorKind {
    result.err().expect("an error").kind
}

#[test]
fn strings_and_bytes_are_slices_of_the_frame() {
    let frame = Bytes::from(b"\x00\x03abc\x00\x00\x00\x02xy".to_vec());
    let mut reader = Reader::new(frame.clone());
    let text = reader.string(false).unwrap();
    let bytes = reader.bytes(false).unwrap();
    assert_eq!(text.as_ptr(), frame[2..].as_ptr());
    assert_eq!(bytes.as_ptr(), frame[9..].as_ptr());
    reader.finish().unwrap();
}

#[test]
fn a_forged_array_length_is_refused_before_anything_is_reserved() {
    let forged = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let result = reader(&forged).array(false, 4, Reader::i32);
    assert_eq!(
        kind(result),
        DecodeErrorKind::ArrayTooLong {
            count: i32::MAX as usize,
            remaining: 4
        }
    );
}

#[test]
fn an_array_that_fits_its_frame_is_still_held_to_the_memory_limit() {
    let mut frame = vec![0, 0, 4, 0];
    frame.resize(4 + 2 * 1024, 0);
    let mut reader = Reader::with_array_memory(frame.into(), 1024);
    let result = reader.array(false, 2, |r| r.string(false));
    assert_eq!(kind(result), DecodeErrorKind::MemoryLimit { limit: 1024 });
}

#[test]
fn the_memory_limit_is_one_for_all_arrays_of_a_message() {
    let frame = [0, 0, 0, 1, 0, 0, 0, 7].repeat(3);
    let mut reader = Reader::with_array_memory(frame.into(), 8);
    assert_eq!(reader.array(false, 4, Reader::i32).unwrap(), [7]);
    assert_eq!(reader.array(false, 4, Reader::i32).unwrap(), [7]);
    assert_eq!(
        kind(reader.array(false, 4, Reader::i32)),
        DecodeErrorKind::MemoryLimit { limit: 8 }
    );
}

#[test]
fn null_is_zero_when_compact_and_negative_otherwise() {
    assert_eq!(reader(&[0]).nullable_string(true).unwrap(), None);
    assert_eq!(reader(&[0xff, 0xff]).nullable_string(false).unwrap(), None);
    assert_eq!(
        reader(&[1]).nullable_string(true).unwrap(),
        Some(StrBytes::new())
    );
    assert_eq!(kind(reader(&[0]).string(true)), DecodeErrorKind::Null);
    assert_eq!(kind(reader(&[0xff; 4]).bytes(false)), DecodeErrorKind::Null);
    assert_eq!(
        kind(reader(&[0xff; 4]).array(false, 1, Reader::i8)),
        DecodeErrorKind::Null
    );
}

#[test]
fn variable_length_numbers_have_32_bits_in_five_bytes() {
    assert_eq!(reader(&[0x80, 0x01]).uvarint().unwrap(), 128);
    assert_eq!(
        reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint().unwrap(),
        u32::MAX
    );
    assert_eq!(
        kind(reader(&[0xff, 0xff, 0xff, 0xff, 0x10]).uvarint()),
        DecodeErrorKind::Varint
    );
    assert_eq!(kind(reader(&[0xff; 6]).uvarint()), DecodeErrorKind::Varint);
    assert_eq!(
        kind(reader(&[0x80]).uvarint()),
        DecodeErrorKind::Truncated {
            needed: 1,
            remaining: 0
        }
    );
}

#[test]
fn a_string_beyond_what_kafka_allows_is_refused() {
    let mut frame = vec![0x81, 0x80, 0x02]; // 32769, so a length of 32768
    frame.resize(40_000, b'a');
    assert_eq!(
        kind(reader(&frame).string(true)),
        DecodeErrorKind::Length(32_768)
    );
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let mut reader = reader(&[2, 9, 3, 1, 2, 3, 10, 0, 0x55]);
    reader.skip_tagged_fields().unwrap();
    assert_eq!(reader.i8().unwrap(), 0x55);
}

#[test]
fn a_tagged_field_of_another_size_than_it_claims_is_refused() {
    let mut reader = reader(&[1, 0, 5, 0, 0, 0, 1, 0]);
    let result = reader.tagged_fields(|r, _| r.i32().map(|_| true));
    assert_eq!(kind(result), DecodeErrorKind::TaggedFieldSize { tag: 0 });
}

#[test]
fn a_forged_count_of_tagged_fields_ends_with_the_frame() {
    let result = reader(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0]).skip_tagged_fields();
    assert_eq!(
        kind(result),
        DecodeErrorKind::Truncated {
            needed: 1,
            remaining: 0
        }
    );
}

#[test]
fn bytes_after_the_message_are_reported_when_asked() {
    let mut reader = reader(&[1, 2, 3]);
    reader.i8().unwrap();
    assert_eq!(kind(reader.finish()), DecodeErrorKind::TrailingBytes(2));
}

#[test]
fn errors_name_the_position() {
    let mut reader = reader(&[0, 0, 0, 1, 0, 9]);
    reader.i32().unwrap();
    let error = reader.string(false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "9 bytes needed, 0 left (at byte 6 of the frame)"
    );
}
