//! What decoding and encoding allocate: no more for each partition than its place in a vector, and never more
//! than a forged message's own bytes justify.
//!
//! The counters belong to the process, and the test harness has threads of its own: there is one test only, and
//! what it measures is the least of several runs, since others can only add to it.

#![allow(
    clippy::unwrap_used,
    reason = "a failed helper of a test is a failed test"
)]

use std::alloc::System;

use alluvium_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use alluvium_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use alluvium_protocol::messages::*;
use alluvium_protocol::{Message, Reader, Records, SHARED_BYTES_MIN, Writer};
use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TOPICS: usize = 10;
const PARTITIONS: usize = 20;

fn counted<T>(work: impl Fn() -> T) -> (T, Stats) {
    let runs = (0..5).map(|_| {
        let region = Region::new(ALLOCATOR);
        let value = work();
        (value, region.change())
    });
    runs.min_by_key(|(_, stats)| (stats.allocations, stats.bytes_allocated))
        .unwrap()
}

#[test]
fn allocations_are_bounded() {
    decoding_produce_allocates_its_vectors_only();
    encoding_fetch_copies_no_records_and_allocates_nothing_for_a_partition();
    a_forged_length_costs_nothing();
    no_message_takes_more_memory_than_its_reader_allows();
}

fn encoded<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

fn decoded<M: Message>(frame: Bytes, version: i16) -> (M, Stats) {
    // The first slice of a buffer makes it a shared one; a server's frames are that already.
    drop(frame.clone());
    counted(|| M::decode(&mut Reader::new(frame.clone()), version).unwrap())
}

fn produce_request() -> ProduceRequest {
    let partition = |index| PartitionProduceData {
        index,
        records: Some(Records::from(Bytes::from(vec![1; 2 * SHARED_BYTES_MIN]))),
    };
    let topic = |index: usize| TopicProduceData {
        name: format!("topic-{index}").into(),
        partition_data: (0..PARTITIONS as i32).map(partition).collect(),
        ..Default::default()
    };
    ProduceRequest {
        topic_data: (0..TOPICS).map(topic).collect(),
        ..Default::default()
    }
}

fn fetch_response(records: &Bytes) -> FetchResponse {
    let partition = |partition_index| PartitionData {
        partition_index,
        aborted_transactions: None,
        records: Some(Records::from(records.clone())),
        ..Default::default()
    };
    let topic = |_| FetchableTopicResponse {
        partitions: (0..PARTITIONS as i32).map(partition).collect(),
        ..Default::default()
    };
    FetchResponse {
        responses: (0..TOPICS).map(topic).collect(),
        ..Default::default()
    }
}

fn decoding_produce_allocates_its_vectors_only() {
    let request = produce_request();
    for version in [3, 8, 9, 12] {
        let (back, stats) = decoded::<ProduceRequest>(encoded(&request, version), version);
        assert_eq!(back, request);
        assert_eq!(
            stats.allocations,
            1 + TOPICS,
            "version {version}: {stats:?}"
        );
        assert_eq!(stats.reallocations, 0);
    }
}

fn encoding_fetch_copies_no_records_and_allocates_nothing_for_a_partition() {
    let records = Bytes::from(vec![7; 64 * SHARED_BYTES_MIN]);
    let response = fetch_response(&records);
    for version in [4, 11, 12, 18] {
        let (frame, stats) = counted(|| {
            let mut writer = Writer::new();
            response.encode(&mut writer, version).unwrap();
            writer.into_frame().unwrap()
        });
        let shared = frame
            .iter()
            .filter(|piece| piece.as_ptr() == records.as_ptr())
            .count();
        assert_eq!(shared, TOPICS * PARTITIONS);
        // The buffer and the list of pieces grow by doubling.
        assert!(
            stats.allocations + stats.reallocations < 30,
            "version {version}: {stats:?}"
        );
        assert!(
            stats.bytes_allocated < 256 * TOPICS * PARTITIONS,
            "version {version}: {stats:?}"
        );
    }
}

fn a_forged_length_costs_nothing() {
    // Metadata: an array of i32::MAX topics, and one of as many as could just fit.
    for (bytes, memory) in [
        (vec![0x7f, 0xff, 0xff, 0xff, 0], 0),
        (vec![0, 0, 0, 4, 0, 0, 0, 0], 256),
    ] {
        let frame = Bytes::from(bytes);
        drop(frame.clone());
        let (refused, stats) =
            counted(|| MetadataRequest::decode(&mut Reader::new(frame.clone()), 1).is_err());
        assert!(refused);
        assert!(stats.bytes_allocated <= memory, "{stats:?}");
    }
}

macro_rules! decoders {
    ($(($api:ident, $request:ident, $response:ident))*) => {
        [$(
            ($request::NAME, $request::MAX_VERSION, decodes::<$request> as fn(&mut Reader, i16) -> bool),
            ($response::NAME, $response::MAX_VERSION, decodes::<$response>),
        )*]
    };
}

fn decodes<M: Message>(reader: &mut Reader, version: i16) -> bool {
    M::decode(reader, version).is_ok()
}

fn no_message_takes_more_memory_than_its_reader_allows() {
    const LIMIT: usize = 8192;
    // Runs of one byte are what makes most elements out of the fewest bytes.
    for (name, version, decodes) in alluvium_protocol::with_each_api!(decoders) {
        for fill in 0..=255u8 {
            let frame = Bytes::from(vec![fill; 4096]);
            drop(frame.clone());
            let ((), stats) = counted(|| {
                decodes(
                    &mut Reader::with_array_memory(frame.clone(), LIMIT),
                    version,
                );
            });
            assert!(
                stats.bytes_allocated <= LIMIT,
                "{name} version {version}, {fill}: {stats:?}"
            );
        }
    }
}
