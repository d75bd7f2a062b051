//! The records of a topic of events, each made from nothing but seed, partition and index.

use std::ops::Range;

use bytes::Bytes;

use super::json::{put_hex, put_number};
use super::odd::{self, Kind};
use super::shop::{put_event, put_user};
use super::splitmix::SplitMix;

/// More than almost any event has, so that its bytes are allocated once.
const RECORD_BYTES: usize = 640;
/// When the first event happens: 2026-01-05, a Monday, 00:00 UTC.
const FIRST_MS: i64 = 1_767_571_200_000;
/// Time from an event of a partition to the next.
const STEP_MS: i64 = 250;
/// By how much events are out of order as a rule, and by how much at worst.
const JITTER_MS: u64 = 2_000;
const LATE_MS: u64 = 3_600_000;
/// Users of a partition are 2^17, of which a few do most.
const USER_BITS: u64 = 17;
/// Users are numbered so that a key is in one partition only, as a partitioner would have it.
const PARTITIONS_MAX: u64 = 1 << 10;

/// Out of so many records one is what most consumers forget to think of.
const VISITOR_IN: u64 = 16;
const EMPTY_KEY_IN: u64 = 3_000;
const TOMBSTONE_IN: u64 = 700;
const EMPTY_VALUE_IN: u64 = 1_500;
const HEADERS_IN: u64 = 8;

/// Headers by reference, as [`alluvium_segment::record_batch::BatchBuilder::push`] takes them.
pub type HeaderRefs<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

/// A record to be produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The user, null for a visitor, rarely empty.
    pub key: Option<Bytes>,
    /// JSON; rarely null or empty.
    pub value: Option<Bytes>,
    /// Keys may repeat, values may be null.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// When it happened, in milliseconds since 1970. Not in order.
    pub timestamp_ms: i64,
}

impl EventRecord {
    /// The headers by reference.
    pub fn header_refs(&self) -> HeaderRefs<'_> {
        let headers = self.headers.iter();
        headers
            .map(|(key, value)| (key.as_bytes(), value.as_deref()))
            .collect()
    }

    /// Bytes of key, value and headers.
    pub fn payload_bytes(&self) -> u64 {
        let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len) as u64;
        let headers = self.headers.iter();
        let headers = headers.map(|(key, value)| key.len() as u64 + length(value));
        length(&self.key) + length(&self.value) + headers.sum::<u64>()
    }
}

/// All events of a seed. Each can be made by itself, in any order.
#[derive(Debug, Clone, Copy)]
pub struct Events {
    seed: u64,
    kind: Kind,
}

impl Events {
    /// The events of a web shop of `seed`.
    pub fn new(seed: u64) -> Self {
        Self::of_kind(seed, Kind::Shop)
    }

    /// Records of that kind of `seed`.
    pub fn of_kind(seed: u64, kind: Kind) -> Self {
        Self { seed, kind }
    }

    /// The `index`-th event of a partition.
    pub fn event(&self, partition: i32, index: u64) -> EventRecord {
        let partition = u64::from(partition.unsigned_abs());
        let random = &mut SplitMix::of([self.seed, partition, index]);
        match self.kind {
            Kind::Shop => shop_event(random, partition, index),
            Kind::Tiny => odd::tiny(random, index),
            Kind::Large => odd::large(random, index),
            Kind::AnyTime => EventRecord {
                timestamp_ms: odd::any_time(random),
                ..shop_event(random, partition, index)
            },
        }
    }
}

fn shop_event(random: &mut SplitMix, partition: u64, index: u64) -> EventRecord {
    let rank = random.popular(USER_BITS);
    let user = rank * PARTITIONS_MAX + partition % PARTITIONS_MAX;
    let user = (!random.one_in(VISITOR_IN)).then_some(user);
    let timestamp_ms = time(random, index);
    // Key, value and header values share one allocation.
    let mut out = Vec::with_capacity(RECORD_BYTES);
    let key = put_key(&mut out, random, user);
    let value = put_value(&mut out, random, user, timestamp_ms);
    let headers = match random.one_in(HEADERS_IN) {
        true => put_headers(&mut out, random),
        false => Vec::new(),
    };
    let bytes = Bytes::from(out);
    EventRecord {
        key: key.map(|key| bytes.slice(key)),
        value: value.map(|value| bytes.slice(value)),
        headers: headers
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.map(|value| bytes.slice(value))))
            .collect(),
        timestamp_ms,
    }
}

fn time(random: &mut SplitMix, index: u64) -> i64 {
    let late = match random.one_in(5_000) {
        true => random.below(LATE_MS),
        false => random.below(JITTER_MS),
    };
    FIRST_MS + STEP_MS * index as i64 - late as i64
}

fn put_key(out: &mut Vec<u8>, random: &mut SplitMix, user: Option<u64>) -> Option<Range<usize>> {
    let user = user?;
    if !random.one_in(EMPTY_KEY_IN) {
        put_user(out, user);
    }
    Some(0..out.len())
}

fn put_value(
    out: &mut Vec<u8>,
    random: &mut SplitMix,
    user: Option<u64>,
    time_ms: i64,
) -> Option<Range<usize>> {
    if random.one_in(TOMBSTONE_IN) {
        return None;
    }
    let start = out.len();
    if !random.one_in(EMPTY_VALUE_IN) {
        put_event(out, random, user, time_ms);
    }
    Some(start..out.len())
}

fn put_headers(
    out: &mut Vec<u8>,
    random: &mut SplitMix,
) -> Vec<(&'static str, Option<Range<usize>>)> {
    let mut value = |write: &mut dyn FnMut(&mut Vec<u8>)| {
        let start = out.len();
        write(out);
        Some(start..out.len())
    };
    let trace = value(&mut |out| {
        out.extend_from_slice(b"00-");
        put_hex(out, random.next(), 16);
        put_hex(out, random.next(), 16);
        out.push(b'-');
        put_hex(out, random.next(), 16);
        out.extend_from_slice(b"-01");
    });
    let mut headers = vec![("traceparent", trace)];
    match random.below(8) {
        0 => {
            // The same key twice, as every hop of a pipeline adds its own.
            headers.push(("hop", value(&mut |out| out.extend_from_slice(b"edge"))));
            let number = random.below(200);
            headers.push(("hop", value(&mut |out| put_number(out, number))));
        }
        1 => headers.push(("consent", None)),
        2 => headers.push(("baggage", value(&mut |_| ()))),
        // Bytes that are no text.
        3 => headers.push((
            "größe",
            value(&mut |out| out.extend_from_slice(&[0xff, 0x00, 0xfe])),
        )),
        _ => {}
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const COUNT: u64 = 20_000;

    type Header = (String, Option<Bytes>);

    fn some(partition: i32) -> Vec<EventRecord> {
        let events = Events::new(7);
        (0..COUNT)
            .map(|index| events.event(partition, index))
            .collect()
    }

    fn keys(events: &[EventRecord]) -> BTreeSet<Bytes> {
        let keys = events.iter().filter_map(|event| event.key.clone());
        keys.filter(|key| !key.is_empty()).collect()
    }

    #[test]
    fn an_event_depends_on_seed_partition_and_index_only() {
        let events = Events::new(1);
        assert_eq!(events.event(3, 9), Events::new(1).event(3, 9));
        for other in [
            events.event(3, 10),
            events.event(4, 9),
            Events::new(2).event(3, 9),
        ] {
            assert_ne!(events.event(3, 9), other);
        }
    }

    #[test]
    fn values_are_json_of_the_size_of_real_events() {
        let events = some(0);
        let values: Vec<_> = events
            .iter()
            .filter_map(|event| event.value.as_ref())
            .filter(|value| !value.is_empty())
            .collect();
        for value in &values {
            let event: serde_json::Value = serde_json::from_slice(value).expect("JSON");
            assert!(event["geo"]["city"].is_string() && event["device"].is_object());
        }
        let bytes: usize = values.iter().map(|value| value.len()).sum();
        let mean = bytes / values.len();
        assert!((350..450).contains(&mean), "{mean} bytes each");
    }

    #[test]
    fn what_is_rare_happens() {
        let events = some(1);
        let count =
            |is: &dyn Fn(&EventRecord) -> bool| events.iter().filter(|event| is(event)).count();
        let is_empty = |field: &Option<Bytes>| field.as_ref().is_some_and(Bytes::is_empty);
        assert!((900..1_600).contains(&count(&|event| event.key.is_none())));
        assert!(count(&|event| is_empty(&event.key)) > 0);
        assert!(count(&|event| event.value.is_none()) > 0);
        assert!(count(&|event| is_empty(&event.value)) > 0);
        let has = |is: &dyn Fn(&Header) -> bool| count(&|event| event.headers.iter().any(is)) > 0;
        assert!(has(&|(_, value)| value.is_none()) && has(&|(_, value)| is_empty(value)));
        assert!(
            count(&|event| event.headers.len() == 3 && event.headers[1].0 == event.headers[2].0)
                > 0
        );
        assert!(count(&|event| event.headers.is_empty()) > events.len() / 2);
    }

    #[test]
    fn a_key_is_in_one_partition_only_and_some_are_frequent() {
        let (one, other) = (some(1), some(2));
        assert!(keys(&one).is_disjoint(&keys(&other)));
        assert!(
            (5_000..15_000).contains(&keys(&one).len()),
            "{}",
            keys(&one).len()
        );
    }
}
