use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::compression::{compress, decompress};
use super::*;

type Sent = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn any_record() -> impl Strategy<Value = Sent> {
    let headers = vec(
        (vec(any::<u8>(), 0..9), option::of(vec(any::<u8>(), 0..9))),
        0..4,
    );
    (
        0..i64::from(u32::MAX),
        option::of(vec(any::<u8>(), 0..20)),
        option::of(vec(any::<u8>(), 0..200)),
        headers,
    )
}

fn any_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

fn build(codec: Codec, sent: &[Sent]) -> Bytes {
    let mut builder = BatchBuilder::new(codec).producer(
        ProducerId(7),
        ProducerEpoch(1),
        Sequence::new(i32::MAX).expect("positive"),
    );
    for (timestamp, key, value, headers) in sent {
        let headers: Vec<_> = headers
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref()))
            .collect();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    builder.build().expect("small batches can be built")
}

fn read_all(raw: &Bytes) -> Vec<Sent> {
    records(raw, &DecodeLimits::default())
        .expect("valid batch")
        .map(|record| {
            let record = record.expect("valid record");
            let headers = record.headers.iter();
            (
                record.timestamp,
                record.key.map(|bytes| bytes.to_vec()),
                record.value.map(|bytes| bytes.to_vec()),
                headers
                    .map(|h| (h.key.to_vec(), h.value.as_ref().map(|v| v.to_vec())))
                    .collect(),
            )
        })
        .collect()
}

/// Everything that reads foreign bytes, for its totality.
fn poke(raw: &Bytes) {
    let limits = DecodeLimits {
        decompressed_bytes_max: 1 << 20,
    };
    let _ = check_crc(raw);
    let _ = StoredBatch::from_stored(raw.clone());
    for batch in split(raw) {
        let Ok((header, bytes)) = batch else { continue };
        let _ = header.producer();
        let _ = check_records(&header, &bytes, &limits);
        if let Ok(stamped) = StoredBatch::stamp(bytes, &header, Offset::ZERO, LeaderEpoch(1)) {
            let _ = (stamped.next_offset(), stamped.header());
            if let Ok(records) = stamped.records(&limits) {
                records.for_each(drop);
            }
        }
    }
}

proptest! {
    // Unoptimised compressors are slow, and 64 cases meet every codec a dozen times.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_read(codec in any_codec(), sent in vec(any_record(), 1..20)) {
        let raw = build(codec, &sent);
        check_crc(&raw).expect("fresh checksum");
        prop_assert_eq!(read_all(&raw), sent.clone());
        let header = BatchHeader::decode(&raw).expect("fresh header");
        let summary = check_records(&header, &raw, &DecodeLimits::default()).expect("valid");
        let max = sent.iter().map(|record| record.0).max().expect("not empty");
        let first_max = sent.iter().position(|record| record.0 == max).expect("there");
        prop_assert_eq!(summary.record_count as usize, sent.len());
        prop_assert_eq!(summary.max_timestamp, max);
        prop_assert_eq!(header.max_timestamp, max);
        prop_assert_eq!(summary.max_timestamp_offset_delta as usize, first_max);
        let keyless = sent.iter().filter(|record| record.1.is_none()).count();
        prop_assert_eq!(summary.keyless_count as usize, keyless);
    }

    #[test]
    fn codecs_round_trip_and_keep_their_bound(codec in any_codec(), payload in vec(0..4u8, 0..4_000)) {
        let compressed = compress(codec, &payload).expect("compresses");
        prop_assert_eq!(&decompress(codec, &compressed, payload.len()).expect("fits"), &payload);
        if !payload.is_empty() {
            let refused = decompress(codec, &compressed, payload.len() - 1);
            prop_assert!(matches!(refused, Err(BatchError::TooLarge { .. })), "{:?}", refused);
        }
    }

    #[test]
    fn cut_or_random_payloads_never_panic(codec in any_codec(), payload in vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
        let _ = decompress(codec, &payload, 1 << 16);
        let compressed = compress(codec, &payload).expect("compresses");
        let cut = &compressed[..at.index(compressed.len() + 1)];
        if let Ok(got) = decompress(codec, cut, 1 << 16) {
            prop_assert!(payload.starts_with(&got));
        }
    }
}

proptest! {
    #[test]
    fn flipped_bits_never_panic(codec in any_codec(), sent in vec(any_record(), 1..5), flips in vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        let mut raw = build(codec, &sent).to_vec();
        let whole = raw.clone();
        for (at, bits) in flips {
            let at = at.index(raw.len());
            raw[at] ^= bits;
        }
        if raw[super::header::CRC_STARTS_AT..] != whole[super::header::CRC_STARTS_AT..] {
            prop_assert!(check_crc(&raw).is_err());
        }
        poke(&raw.into());
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..400)) {
        poke(&bytes.clone().into());
        if let Some(magic) = bytes.get_mut(16) {
            *magic = 2;
            bytes[8..12].copy_from_slice(&100i32.to_be_bytes());
        }
        poke(&bytes.into());
    }
}

fn small(codec: Codec) -> Bytes {
    build(codec, &[(5, None, Some(b"v".to_vec()), Vec::new())])
}

#[test]
fn stamping_keeps_the_body_and_the_checksum() {
    let raw = small(Codec::Lz4);
    let header = BatchHeader::decode(&raw).expect("valid");
    let base = Offset::new(1234).expect("positive");
    let batch = StoredBatch::stamp(raw.clone(), &header, base, LeaderEpoch(9)).expect("fits");
    assert_eq!(batch.body().as_ptr(), raw[PREFIX_BYTES..].as_ptr());
    assert_eq!(
        (batch.base_offset(), batch.next_offset().get()),
        (base, 1235)
    );
    assert_eq!(
        (batch.leader_epoch(), batch.max_timestamp()),
        (LeaderEpoch(9), 5)
    );
    assert_eq!(batch.size_bytes(), raw.len());
    let stored = batch.to_bytes();
    check_crc(&stored).expect("outside of the checksum");
    assert_eq!(StoredBatch::from_stored(stored.clone()), Ok(batch.clone()));
    let parts = StoredBatch::from_parts(*batch.prefix(), batch.body().clone());
    assert_eq!(parts, Ok(batch.clone()));
    assert_eq!(batch.chunks().concat(), stored);
    let record = batch
        .records(&DecodeLimits::default())
        .expect("opens")
        .next();
    assert_eq!(record.expect("one").expect("valid").offset, base);
    let last = Offset::new(i64::MAX).expect("positive");
    assert!(StoredBatch::stamp(raw, &header, last, LeaderEpoch(9)).is_err());
}

#[test]
fn batches_are_split_and_the_first_bad_one_ends_it() {
    let (a, b) = (small(Codec::None), small(Codec::Gzip));
    let mut run = [&a[..], &b[..]].concat();
    let both: Vec<_> = split(&run.clone().into())
        .map(|batch| batch.expect("valid").1)
        .collect();
    assert_eq!(both, [a.clone(), b]);
    run.truncate(run.len() - 1);
    let cut: Vec<_> = split(&run.into()).collect();
    assert_eq!(cut.len(), 2);
    assert!(matches!(cut[1], Err(BatchError::Truncated { .. })));
}

#[test]
fn old_formats_and_impossible_lengths_are_told_apart() {
    let mut raw = small(Codec::None).to_vec();
    raw[16] = 1;
    assert_eq!(BatchHeader::decode(&raw[..20]), Err(BatchError::Magic(1)));
    raw[16] = 2;
    raw[8..12].copy_from_slice(&(-1i32).to_be_bytes());
    assert_eq!(BatchHeader::decode(&raw), Err(BatchError::Length(-1)));
}

#[test]
fn sequences_wrap() {
    let record = (5, None, None, Vec::new());
    let raw = build(Codec::None, &[record.clone(), record]);
    let span = BatchHeader::decode(&raw)
        .expect("valid")
        .producer()
        .expect("idempotent");
    assert_eq!(
        (span.base_sequence.get(), span.last_sequence.get()),
        (i32::MAX, 0)
    );
}

#[test]
fn log_append_time_changes_what_readers_see() {
    let raw = with_log_append_time(&small(Codec::Zstd), 99);
    check_crc(&raw).expect("computed anew");
    let header = BatchHeader::decode(&raw).expect("valid");
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(header.attributes.codec(), Ok(Codec::Zstd));
    assert_eq!((header.max_timestamp, read_all(&raw)[0].0), (99, 99));
}

#[test]
fn counts_that_disagree_are_refused() {
    let raw = small(Codec::None);
    let mut header = BatchHeader::decode(&raw).expect("valid");
    let limits = DecodeLimits::default();
    header.record_count = 2;
    let refused = check_records(&header, &raw, &limits);
    assert!(matches!(refused, Err(BatchError::Count { .. })));
    header.last_offset_delta = 1;
    let refused = check_records(&header, &raw, &limits);
    assert!(matches!(refused, Err(BatchError::Record { index: 1, .. })));
}

#[test]
fn decompression_bombs_are_stopped() {
    let zeroes = vec![0; 4 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = compress(codec, &zeroes).expect("compresses");
        let stopped = decompress(codec, &bomb, 1 << 20);
        let limit = 1 << 20;
        assert_eq!(stopped, Err(BatchError::TooLarge { codec, limit }));
    }
}

#[test]
fn snappy_is_read_raw_too() {
    let raw = snap::raw::Encoder::new()
        .compress_vec(b"without framing")
        .expect("small");
    let got = decompress(Codec::Snappy, &raw, 100).expect("valid");
    assert_eq!(got, b"without framing");
}

#[test]
fn lz4_frames_of_other_writers_are_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let payload: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    for (mode, size) in [
        (BlockMode::Linked, BlockSize::Max64KB),
        (BlockMode::Independent, BlockSize::Max4MB),
    ] {
        let info = FrameInfo::new()
            .block_mode(mode)
            .block_size(size)
            .block_checksums(true)
            .content_checksum(true)
            .content_size(Some(payload.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&payload).expect("in memory");
        let frame = encoder.finish().expect("in memory");
        assert_eq!(
            decompress(Codec::Lz4, &frame, 1 << 20).expect("valid"),
            payload
        );
    }
}

#[test]
fn zstd_frames_without_a_stated_size_and_several_in_a_row_are_read() {
    let mut frames = ::zstd::stream::encode_all(&b"first "[..], 1).expect("in memory");
    frames.extend(::zstd::stream::encode_all(&b"second"[..], 1).expect("in memory"));
    let got = decompress(Codec::Zstd, &frames, 100).expect("valid");
    assert_eq!(got, b"first second");
    assert!(decompress(Codec::Zstd, &frames, 11).is_err());
}
