use proptest::prelude::*;

use super::*;

fn kv(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: Revision(2),
        mod_revision: Revision(3),
        version: 4,
        lease: Some(LeaseId(5)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Format version 1 as it is on disks. It never changes; a new format gets a new version beside it.
#[test]
fn version_1_is_what_it_was() {
    let record = encode_kv(&kv("k", "v"));
    let expected = "0000000000000002000000000000000300000000000000040000000000000005" // numbers
        .to_owned()
        + "0000000176";
    assert_eq!(hex(&record), expected);
    assert_eq!(
        hex(&seal(Table::Kv, b"k", &record)),
        format!("01{expected}3f7b8582")
    );

    let put = StoredEvent {
        event: Event::Put(kv("k", "v")),
        previous: None,
    };
    assert_eq!(
        hex(&encode_event(&put)),
        format!("0100000000016b{expected}")
    );
    let event = Event::Delete {
        key: "k".into(),
        revision: Revision(9),
    };
    let delete = StoredEvent {
        event,
        previous: Some(kv("k", "v")),
    };
    assert_eq!(
        hex(&encode_event(&delete)),
        format!("0201000000016b{expected}")
    );
    let row = event_row(Revision(9), 1);
    assert_eq!(hex(&row), "000000000000000900000001");
    let sealed = seal(Table::ByRevision, &row, &encode_event(&delete));
    assert_eq!(hex(&sealed[sealed.len() - 4..]), "1ea7205b");

    let state = encode_state(&State::EMPTY);
    assert_eq!(
        hex(&state),
        ["01", "00", "01", "00", "00"]
            .map(|n| format!("{n:0>16}"))
            .concat()
    );
    assert_eq!(hex(&attached_row(LeaseId(5), b"k")), "00000000000000056b");
}

#[test]
fn a_value_belongs_to_its_row() {
    let sealed = seal(Table::Kv, b"k", b"body");
    assert_eq!(unseal(Table::Kv, b"k", &sealed).unwrap(), b"body");
    for (table, row) in [(Table::Kv, b"l"), (Table::Lease, b"k")] {
        let error = unseal(table, row, &sealed).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn newer_envelopes_are_not_guessed_at() {
    let mut sealed = seal(Table::Kv, b"k", b"body");
    sealed[0] = 2;
    let end = sealed.len() - CRC_BYTES;
    let crc = checksum(Table::Kv, b"k", &sealed[..end]);
    sealed[end..].copy_from_slice(&crc.to_be_bytes());
    let error = unseal(Table::Kv, b"k", &sealed).unwrap_err().to_string();
    assert!(error.contains("unknown version"), "{error}");
}

fn any_kv(key: Bytes) -> impl Strategy<Value = KeyValue> {
    let lease = proptest::option::of((1..u64::MAX).prop_map(LeaseId));
    (any::<[u64; 3]>(), lease, any::<Vec<u8>>()).prop_map(
        move |([create, modified, version], lease, value)| KeyValue {
            key: key.clone(),
            value: value.into(),
            create_revision: Revision(create),
            mod_revision: Revision(modified),
            version,
            lease,
        },
    )
}

fn any_event() -> impl Strategy<Value = StoredEvent> {
    any::<Vec<u8>>().prop_flat_map(|key| {
        let key = Bytes::from(key);
        let delete = Just(Event::Delete {
            key: key.clone(),
            revision: Revision(7),
        });
        let event = prop_oneof![any_kv(key.clone()).prop_map(Event::Put), delete];
        (event, proptest::option::of(any_kv(key)))
            .prop_map(|(event, previous)| StoredEvent { event, previous })
    })
}

proptest! {
    #[test]
    fn events_round_trip(event in any_event()) {
        prop_assert_eq!(decode_event(Revision(7), &encode_event(&event)).unwrap(), event);
    }

    #[test]
    fn records_round_trip(kv in any_kv("key".into())) {
        prop_assert_eq!(decode_kv(b"key", &encode_kv(&kv)).unwrap(), kv);
    }

    #[test]
    fn foreign_bytes_are_refused_not_trusted(body in any::<Vec<u8>>()) {
        prop_assert!(unseal(Table::Kv, b"k", &body).is_err());
        let _ = (decode_kv(b"k", &body), decode_event(Revision(1), &body), decode_state(&body));
    }

    #[test]
    fn every_flipped_bit_is_noticed(body in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut sealed = seal(Table::Kv, b"k", &body);
        let at = at.index(sealed.len());
        sealed[at] ^= 1_u8 << bit;
        prop_assert!(unseal(Table::Kv, b"k", &sealed).is_err());
    }
}
