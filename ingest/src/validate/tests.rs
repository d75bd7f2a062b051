use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_segment::record_batch::{BatchBuilder, NO_HEADERS, records};

use super::*;
use crate::error::RecordError;

const NOW_MS: i64 = 1_700_000_000_000;

fn builder(codec: Codec, timestamps: &[i64]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    for timestamp in timestamps {
        builder.push(*timestamp, Some(b"key"), Some(b"value"), NO_HEADERS);
    }
    builder
}

fn batch(codec: Codec) -> Bytes {
    builder(codec, &[NOW_MS, NOW_MS - 5])
        .build()
        .expect("builds")
}

fn accept(records: &Bytes, rules: &TopicRules) -> ValidBatch {
    validate(records, rules, &ClientRules::default(), NOW_MS).expect("valid")
}

fn refuse(records: &Bytes, rules: &TopicRules) -> AppendError {
    let refused = validate(records, rules, &ClientRules::default(), NOW_MS);
    let error = refused.expect_err("invalid");
    assert_eq!(error.outcome(), alluvium_common::error::Outcome::NotDone);
    error
}

/// Changes header bytes and repairs the checksum, as a broken or hostile client would.
fn forge(raw: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut forged = raw.to_vec();
    forged[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&forged[21..]);
    forged[17..21].copy_from_slice(&crc.to_be_bytes());
    forged.into()
}

#[test]
fn good_batches_pass_untouched_in_every_codec() {
    for codec in Codec::ALL {
        let raw = batch(codec);
        let valid = accept(&raw, &TopicRules::default());
        assert_eq!(valid.raw, raw);
        assert_eq!(valid.raw.as_ptr(), raw.as_ptr(), "{codec:?}: not copied");
        assert_eq!((valid.record_count, valid.log_append_time), (2, None));
    }
}

#[test]
fn broken_batches_are_refused() {
    let rules = TopicRules::default();
    let good = batch(Codec::None);
    let two = Bytes::from([&good[..], &good[..]].concat());
    let mut flipped = good.to_vec();
    flipped[70] ^= 1;
    let cut = good.slice(..good.len() - 1);

    assert!(matches!(
        refuse(&Bytes::new(), &rules),
        AppendError::InvalidRecord { .. }
    ));
    assert!(matches!(
        refuse(&two, &rules),
        AppendError::InvalidRecord { .. }
    ));
    assert!(matches!(
        refuse(&flipped.into(), &rules),
        AppendError::Corrupt(_)
    ));
    assert!(matches!(refuse(&cut, &rules), AppendError::Corrupt(_)));
    assert!(matches!(
        refuse(&good.slice(..10), &rules),
        AppendError::Corrupt(_)
    ));
    for magic in [0u8, 1, 3] {
        let old = forge(&good, 16, &[magic]);
        assert_eq!(
            refuse(&old, &rules),
            AppendError::UnsupportedMagic(magic as i8)
        );
    }
    let forgeries: [(&str, usize, &[u8]); 6] = [
        ("base offset", 0, &5i64.to_be_bytes()),
        ("count and delta differ", 57, &3i32.to_be_bytes()),
        ("no records", 57, &0i32.to_be_bytes()),
        ("negative count", 57, &(-1i32).to_be_bytes()),
        ("control batch", 21, &0x20i16.to_be_bytes()),
        ("producer without sequence", 43, &9i64.to_be_bytes()),
    ];
    for (name, at, bytes) in forgeries {
        let forged = forge(&good, at, bytes);
        let error = refuse(&forged, &rules);
        assert!(
            matches!(error, AppendError::InvalidRecord { .. }),
            "{name}: {error:?}"
        );
    }
    let unknown_codec = forge(&good, 21, &7i16.to_be_bytes());
    assert!(matches!(
        refuse(&unknown_codec, &rules),
        AppendError::UnsupportedCodec(_)
    ));
    let transactional = builder(Codec::None, &[NOW_MS])
        .producer(ProducerId(1), ProducerEpoch(0), Sequence::ZERO)
        .transactional()
        .build()
        .expect("builds");
    assert_eq!(
        refuse(&transactional, &rules),
        AppendError::InvalidTransactionState
    );
}

#[test]
fn a_batch_that_lies_about_its_records_is_refused_when_open() {
    // Three records announced, count and delta agreeing, but two are there.
    let lying = forge(&batch(Codec::None), 57, &3i32.to_be_bytes());
    let lying = forge(&lying, 23, &2i32.to_be_bytes());
    assert!(matches!(
        refuse(&lying, &TopicRules::default()),
        AppendError::InvalidRecord { .. }
    ));
}

#[test]
fn size_counts_the_header() {
    let raw = batch(Codec::None);
    let mut rules = TopicRules {
        batch_bytes_max: raw.len(),
        ..TopicRules::default()
    };
    accept(&raw, &rules);
    rules.batch_bytes_max -= 1;
    let expected = AppendError::TooLarge {
        size_bytes: raw.len(),
        max_bytes: raw.len() - 1,
    };
    assert_eq!(refuse(&raw, &rules), expected);
}

#[test]
fn zstd_needs_a_new_enough_request() {
    let old = ClientRules { zstd: false };
    let refused = validate(&batch(Codec::Zstd), &TopicRules::default(), &old, NOW_MS);
    assert!(matches!(refused, Err(AppendError::UnsupportedCodec(_))));
    assert!(validate(&batch(Codec::Lz4), &TopicRules::default(), &old, NOW_MS).is_ok());
}

#[test]
fn a_compacted_topic_wants_keys_and_names_the_records_without() {
    let rules = TopicRules {
        compacted: true,
        ..TopicRules::default()
    };
    for codec in [Codec::None, Codec::Lz4] {
        let mut builder = builder(codec, &[NOW_MS]);
        builder.push(NOW_MS, None, Some(b"no key"), NO_HEADERS);
        builder.push(NOW_MS, Some(b""), None, NO_HEADERS);
        let AppendError::InvalidRecord { record_errors, .. } =
            refuse(&builder.build().expect("builds"), &rules)
        else {
            panic!("not an invalid record");
        };
        assert_eq!(
            record_errors.iter().map(|e| e.index).collect::<Vec<_>>(),
            [1]
        );
        accept(&batch(codec), &rules);
    }
}

#[test]
fn timestamps_stay_within_the_topics_bounds() {
    let rules = TopicRules {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 100,
        ..TopicRules::default()
    };
    for codec in [Codec::None, Codec::Gzip] {
        let at = |offsets: &[i64]| {
            let times: Vec<_> = offsets.iter().map(|by| NOW_MS + by).collect();
            builder(codec, &times).build().expect("builds")
        };
        accept(&at(&[0, -1000, 100]), &rules);
        accept(&builder(codec, &[-1]).build().expect("builds"), &rules);
        for (times, bad) in [
            (vec![0, -1001], 1),
            (vec![101, 0], 0),
            (vec![0, 1, -5000, 2], 2),
        ] {
            let AppendError::InvalidTimestamp { record_errors, .. } = refuse(&at(&times), &rules)
            else {
                panic!("not an invalid timestamp");
            };
            assert!(matches!(&record_errors[..], [RecordError { index, .. }] if *index == bad));
        }
    }
    // With Kafka's defaults a compressed batch stays closed, and its header decides.
    let future = builder(Codec::Lz4, &[NOW_MS + 3_600_001])
        .build()
        .expect("builds");
    assert!(matches!(
        refuse(&future, &TopicRules::default()),
        AppendError::InvalidTimestamp { .. }
    ));
}

#[test]
fn log_append_time_is_stamped_and_checksummed() {
    let rules = TopicRules {
        timestamp_type: TimestampType::LogAppendTime,
        timestamp_after_max_ms: 0,
        ..TopicRules::default()
    };
    for codec in Codec::ALL {
        let raw = builder(codec, &[NOW_MS + 500, 7]).build().expect("builds");
        let valid = accept(&raw, &rules);
        assert_eq!(valid.log_append_time, Some(NOW_MS));
        check_crc(&valid.raw).expect("checksum is right");
        let times: Vec<_> = records(&valid.raw, &rules.decode_limits)
            .expect("opens")
            .map(|record| record.expect("decodes").timestamp)
            .collect();
        assert_eq!(times, [NOW_MS, NOW_MS], "{codec:?}");
    }
    let stamped_by_client = accept(&batch(Codec::None), &rules).raw;
    assert!(matches!(
        refuse(&stamped_by_client, &TopicRules::default()),
        AppendError::InvalidTimestamp { .. }
    ));
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let raw = forge(&batch(Codec::None), 35, &(NOW_MS - 77).to_be_bytes());
    let valid = accept(&raw, &TopicRules::default());
    assert_eq!(valid.header.max_timestamp, NOW_MS);
    assert_eq!(valid.raw, batch(Codec::None));
    assert_eq!(
        BatchHeader::decode(&valid.raw).expect("decodes"),
        valid.header
    );
}

#[test]
fn compression_type_recompresses_and_keeps_the_records() {
    let producer = |b: BatchBuilder| b.producer(ProducerId(4), ProducerEpoch(2), Sequence::ZERO);
    let raw = producer(builder(Codec::Gzip, &[NOW_MS, NOW_MS + 3]))
        .build()
        .expect("builds");
    for codec in Codec::ALL {
        let rules = TopicRules {
            recompress_to: Some(codec),
            ..TopicRules::default()
        };
        let valid = accept(&raw, &rules);
        assert_eq!(valid.header.attributes.codec(), Ok(codec));
        assert_eq!(
            valid.header.producer(),
            BatchHeader::decode(&raw).expect("decodes").producer()
        );
        let all = |raw: &Bytes| {
            let opened = records(raw, &rules.decode_limits).expect("opens");
            opened.collect::<Result<Vec<_>, _>>().expect("decodes")
        };
        assert_eq!(all(&valid.raw), all(&raw), "{codec:?}");
        check_crc(&valid.raw).expect("checksum is right");
    }
}
