//! Each rule by itself.

use alluvium_common::offset::Offset;
use alluvium_segment::record_batch::{Record, RecordHeader};
use bytes::Bytes;

use super::world::*;

const COMPACT: &[(&str, &str)] = &[("cleanup.policy", "compact")];

fn record(at: i64, key: Option<&str>, value: Option<&str>) -> Record {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Record {
        offset: offset(at),
        timestamp: START_MS + at,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: vec![RecordHeader {
            key: bytes("h"),
            value: None,
        }],
    }
}

/// Records from an offset on, each a key with a value, or without one: `a=1 b=2 a=`. `-` has no key, `.` is a gap.
fn records(from: i64, text: &str) -> (Vec<Record>, i64) {
    let (mut records, mut next) = (Vec::new(), from);
    for word in text.split_whitespace() {
        let at = next;
        next += 1;
        records.push(match word {
            "." => continue,
            "-" => record(at, None, Some("x")),
            word => {
                let (key, value) = word.split_once('=').expect("a key and a value");
                record(at, Some(key), Some(value).filter(|value| !value.is_empty()))
            }
        });
    }
    (records, next)
}

impl World {
    /// Publishes what follows in partition 0.
    async fn add(&mut self, text: &str) {
        self.add_to(&[(0, text)]).await;
    }

    async fn add_to(&mut self, parts: &[(i32, &str)]) {
        let parts = parts.iter().map(|(partition, text)| {
            let manifest = self.manifests.get(&TOPIC);
            let end = manifest.map_or(Offset::ZERO, |manifest| {
                manifest.published_end(alluvium_common::topic::PartitionIndex(*partition))
            });
            (*partition, records(end.get(), text))
        });
        self.publish(parts.collect()).await;
    }

    /// `offset:key=value` of each record of partition 0.
    async fn text(&self) -> String {
        self.text_of(0).await
    }

    async fn text_of(&self, partition: i32) -> String {
        let lossy = |bytes: &Option<Bytes>| {
            let bytes = bytes.as_deref().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let stored = self.stored(partition).await;
        let texts = stored.iter().map(|record| {
            let (key, value) = (lossy(&record.key), lossy(&record.value));
            format!("{}:{key}={value}", record.offset)
        });
        texts.collect::<Vec<_>>().join(" ")
    }
}

#[tokio::test]
async fn the_latest_record_of_each_key_stays() {
    let mut world = World::new(1, 1, COMPACT).await;
    world.add("a=1 b=1 a=2 c=1 b=2").await;
    assert_eq!(world.clean(at(START_MS)).await, 1);
    assert_eq!(world.text().await, "2:a=2 3:c=1 4:b=2");
    world.add("d=1 a=3 c=2 a=4").await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "4:b=2 5:d=1 7:c=2 8:a=4");
    let state = world.clean_state(0);
    assert_eq!(state.next_offset, offset(9));
    assert_eq!(state.dirty_since_ms, None);
    assert_eq!(state.tombstones, []);
    let spans = world
        .manifest()
        .spans_from(alluvium_common::topic::PartitionIndex(0), Offset::ZERO);
    let stored: u64 = spans.map(|found| found.span.raw_bytes).sum();
    assert_eq!(state.raw_bytes, stored);
    let metrics = &world.seams.metrics.clean;
    assert_eq!(metrics.passes.get(), 2);
    assert_eq!(metrics.partial_passes.get(), 0);
    assert_eq!(metrics.removed_records.get(), 5);
    assert_eq!(metrics.records.get(), 5 + 3 + 4);
    assert_eq!(metrics.keys.get(), 9);
}

#[tokio::test]
async fn what_is_clean_is_not_cleaned_again() {
    let mut world = World::new(2, 1, COMPACT).await;
    world.add("a=1 b=1 a=2").await;
    assert_eq!(world.clean(at(START_MS)).await, 1);
    let before = world.said();
    assert_eq!(world.clean(at(START_MS)).await, 0);
    assert_eq!(world.said(), before);
    assert_eq!(world.clean(at(i64::MAX)).await, 0);
    assert_eq!(world.said(), before);
}

#[tokio::test]
async fn only_topics_that_are_compacted_are_cleaned() {
    let mut world = World::new(3, 1, &[]).await;
    world.add("a=1 a=2").await;
    assert_eq!(world.clean(at(START_MS)).await, 0);
    world
        .set_topic(1, &[("cleanup.policy", "delete,compact")])
        .await;
    assert_eq!(world.clean(at(START_MS)).await, 1);
    assert_eq!(world.text().await, "1:a=2");
}

#[tokio::test]
async fn broker_wide_defaults_count() {
    let mut world = World::new(4, 1, &[]).await;
    world.add("a=1 a=2").await;
    let compact = ("cleanup.policy".to_owned(), "compact".to_owned());
    world.options.topic_defaults = [compact].into();
    world.restart();
    assert_eq!(world.clean(at(START_MS)).await, 1);
}

/// KIP-534
#[tokio::test]
async fn tombstones_live_for_a_while() {
    let mut configs = COMPACT.to_vec();
    configs.extend([
        ("delete.retention.ms", "16000"),
        ("min.cleanable.dirty.ratio", "0"),
    ]);
    let mut world = World::new(5, 1, &configs).await;
    world.add("a=1 b=1 a= c=1").await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "1:b=1 2:a= 3:c=1");
    assert_eq!(world.clean_state(0).tombstones.len(), 1);
    world.add("b= d=1").await;
    world.clean(at(START_MS + 15_999)).await;
    assert_eq!(world.text().await, "2:a= 3:c=1 4:b= 5:d=1");
    assert_eq!(
        world.clean(at(START_MS + 16_000)).await,
        0,
        "nothing is dirty"
    );
    world.add("d=2").await;
    world.clean(at(START_MS + 16_000)).await;
    assert_eq!(world.text().await, "3:c=1 4:b= 6:d=2");
    world.add("d=3").await;
    world.clean(at(START_MS + 31_999)).await;
    assert_eq!(world.text().await, "3:c=1 4:b= 7:d=3");
    world.add("d=4").await;
    world.clean(at(START_MS + 32_000)).await;
    assert_eq!(world.text().await, "3:c=1 8:d=4");
    assert_eq!(world.clean_state(0).tombstones, []);
}

#[tokio::test]
async fn with_no_time_at_all_the_next_cleaning_removes_a_tombstone() {
    let mut configs = COMPACT.to_vec();
    configs.push(("delete.retention.ms", "0"));
    let mut world = World::new(6, 1, &configs).await;
    world.add("a=1 a= b=1").await;
    world.clean(at(START_MS)).await;
    assert_eq!(
        world.text().await,
        "1:a= 2:b=1",
        "not the first, as in Kafka"
    );
    world.add("c=1 d=1 e=1 f=1").await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "2:b=1 3:c=1 4:d=1 5:e=1 6:f=1");
}

/// Who reads to the end, as Kafka Streams does when it restores, has to get there.
#[tokio::test]
async fn the_last_record_stays_though_its_time_is_over() {
    let mut configs = COMPACT.to_vec();
    configs.extend([
        ("delete.retention.ms", "0"),
        ("min.cleanable.dirty.ratio", "0"),
    ]);
    let mut world = World::new(7, 2, &configs).await;
    world.add_to(&[(0, "a=1 a="), (1, "-")]).await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "1:a=");
    assert_eq!(world.text_of(1).await, "0:=x");
    world.add_to(&[(1, "-")]).await;
    world.clean(at(START_MS + 1)).await;
    assert_eq!(world.text().await, "1:a=", "its file may be written anew");
    assert_eq!(world.text_of(1).await, "1:=x");
    world.add_to(&[(0, "b=1 c= d=")]).await;
    world.clean(at(START_MS + 2)).await;
    assert_eq!(world.text().await, "2:b=1 3:c= 4:d=");
    world.add_to(&[(0, "e=1")]).await;
    world.clean(at(START_MS + 3)).await;
    assert_eq!(world.text().await, "2:b=1 5:e=1");
}

#[tokio::test]
async fn records_without_a_key_go() {
    let configs = [COMPACT[0], ("min.cleanable.dirty.ratio", "0")];
    let mut world = World::new(8, 1, &configs).await;
    world.add("- a=1 - -").await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "1:a=1 3:=x", "but for the last");
    world.add("- . b=1 .").await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "1:a=1 6:b=1");
    assert_eq!(world.clean_state(0).next_offset, offset(8));
}

#[tokio::test]
async fn a_null_key_is_not_an_empty_one_and_a_null_value_not_an_empty_one() {
    let mut world = World::new(9, 1, COMPACT).await;
    let empty = |at| record(at, Some(""), Some(""));
    let end = record(3, Some("z"), Some("z"));
    let some = vec![empty(0), record(1, None, None), empty(2), end];
    world.publish([(0, (some, 4))].into()).await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "2:= 3:z=z");
    assert!(world.stored(0).await[0].value.is_some());
}

#[tokio::test]
async fn other_partitions_keep_all_they_have() {
    let mut world = World::new(10, 3, COMPACT).await;
    world
        .add_to(&[(0, "a=1 b=1"), (1, "a=1 a=2"), (2, "a=1 a=2 b=1")])
        .await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text_of(0).await, "0:a=1 1:b=1");
    assert_eq!(world.text_of(1).await, "1:a=2");
    assert_eq!(world.text_of(2).await, "1:a=2 2:b=1");
    let all: Vec<_> = (0..40).map(|at| format!("k{at}=v")).collect();
    world.add_to(&[(0, &all.join(" ")), (2, "c=1")]).await;
    world.clean(at(START_MS)).await;
    let more: Vec<_> = (0..40).map(|at| format!("k{at}=w")).collect();
    world.add_to(&[(0, &more.join(" ")), (2, "c=2 c=3")]).await;
    let before = world.clean_state(2).clone();
    world
        .set_topic(3, &[COMPACT[0], ("min.cleanable.dirty.ratio", "0.4")])
        .await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.stored(0).await.len(), 42);
    assert_eq!(world.clean_state(2).next_offset, offset(6), "{before:?}");
    let big: Vec<_> = (0..40).map(|at| format!("k{at}=x")).collect();
    let small: Vec<_> = (0..40).map(|at| format!("s{at}=x")).collect();
    world.add_to(&[(1, &small.join(" "))]).await;
    world.clean(at(START_MS)).await;
    world.add_to(&[(0, &big.join(" ")), (1, "s1=y s1=z")]).await;
    let stored = world.stored(1).await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.stored(0).await.len(), 42);
    assert_eq!(world.stored(1).await, stored, "too little of it is dirty");
    assert_eq!(world.clean_state(1).next_offset, offset(42));
}

#[tokio::test]
async fn a_full_map_leaves_the_rest_to_another_cleaning() {
    let mut world = World::new(11, 1, COMPACT).await.with(2, u64::MAX);
    world.add("a=1 b=1 a=2 c=1 a=3 c=2 c=3").await;
    assert!(world.step(at(START_MS)).await.expect("cleaned"));
    assert_eq!(world.text().await, "1:b=1 2:a=2 3:c=1 4:a=3 5:c=2 6:c=3");
    let state = world.clean_state(0);
    assert_eq!(state.next_offset, offset(3));
    assert_eq!(state.dirty_since_ms, Some(START_MS as u64), "at least");
    assert!(world.step(at(START_MS)).await.expect("cleaned"));
    assert_eq!(world.text().await, "1:b=1 4:a=3 6:c=3");
    assert_eq!(world.clean_state(0).next_offset, offset(7));
    assert!(!world.step(at(START_MS)).await.expect("nothing to do"));
    assert_eq!(world.seams.metrics.clean.partial_passes.get(), 1);
}

#[tokio::test]
async fn a_lag_keeps_young_records_as_they_are() {
    let mut configs = COMPACT.to_vec();
    configs.push(("min.compaction.lag.ms", "1000"));
    let mut world = World::new(12, 1, &configs).await;
    world.add("a=1 a=2").await;
    world.add("a=3 a=4").await;
    assert_eq!(world.clean(at(START_MS + 1_000)).await, 0);
    assert_eq!(world.clean(at(START_MS + 1_001)).await, 1);
    assert_eq!(
        world.text().await,
        "1:a=2 2:a=3 3:a=4",
        "later ones say nothing of earlier ones"
    );
    let state = world.clean_state(0);
    assert_eq!(state.next_offset, offset(2));
    assert_eq!(state.dirty_since_ms, Some(START_MS as u64 + 2));
    assert_eq!(world.clean(at(START_MS + 1_003)).await, 1);
    assert_eq!(world.text().await, "3:a=4");
}

#[tokio::test]
async fn what_waits_for_too_long_is_cleaned() {
    let mut configs = COMPACT.to_vec();
    configs.push(("max.compaction.lag.ms", "1000"));
    let mut world = World::new(13, 1, &configs).await;
    world.add("a=1 b=1 c=1 d=1").await;
    world.clean(at(START_MS)).await;
    world.add("a=2").await;
    assert_eq!(world.clean(at(START_MS + 1_004)).await, 0);
    assert_eq!(world.clean(at(START_MS + 1_005)).await, 1);
    assert_eq!(world.text().await, "1:b=1 2:c=1 3:d=1 4:a=2");
}

#[tokio::test]
async fn joined_files_are_cleaned_by_what_is_dirty_of_them() {
    let mut configs = COMPACT.to_vec();
    configs.push(("max.compaction.lag.ms", "1000000"));
    let mut world = World::new(14, 1, &configs).await;
    let many: Vec<_> = (0..100).map(|at| format!("k{at}=v")).collect();
    world.add(&many.join(" ")).await;
    world.clean(at(START_MS)).await;
    for number in 0..7 {
        world.add(&format!("k0={number} k1={number}")).await;
    }
    world.join().await;
    assert_eq!(world.manifest().tables().len(), 1);
    assert_eq!(
        world.clean(at(START_MS + 1_000_100)).await,
        0,
        "little is dirty, and not for long"
    );
    let again: Vec<_> = (0..100).map(|at| format!("k{at}=w")).collect();
    world.add(&again.join(" ")).await;
    assert_eq!(world.clean(at(START_MS)).await, 1);
    assert_eq!(world.stored(0).await.len(), 100);
}

#[tokio::test]
async fn what_is_deleted_is_neither_read_nor_kept() {
    let mut world = World::new(15, 1, COMPACT).await;
    world.add("a=1 b=1 c=1 a=2").await;
    world.set_log_start(0, 2).await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "2:c=1 3:a=2");
    assert_eq!(world.seams.metrics.clean.keys.get(), 2);
    world.add("b=3 b=4").await;
    world.set_log_start(0, 6).await;
    assert_eq!(world.clean(at(START_MS)).await, 0);
}

#[tokio::test]
async fn runs_of_files_count_one_after_the_other() {
    let mut world = World::new(16, 2, COMPACT).await.with(1_000, 1);
    for number in 0..4 {
        let text = format!("a={number} b{number}=1");
        world.add_to(&[(0, &text), (1, "x=1 x=2")]).await;
    }
    let versions = world.manifest().version();
    assert!(world.step(at(START_MS)).await.expect("cleaned"));
    assert_eq!(world.clean_state(0).next_offset, Offset::ZERO, "not yet");
    assert_eq!(
        world.text().await,
        "1:b0=1 2:a=1 3:b1=1 4:a=2 5:b2=1 6:a=3 7:b3=1"
    );
    // Meanwhile more is published, of which this cleaning knows nothing.
    world.add("a=9 b1=2").await;
    assert_eq!(world.clean(at(START_MS)).await, 3);
    assert_eq!(world.manifest().version(), versions + 5);
    assert_eq!(
        world.text().await,
        "1:b0=1 3:b1=1 5:b2=1 6:a=3 7:b3=1 8:a=9 9:b1=2"
    );
    assert_eq!(world.text_of(1).await, "7:x=2");
    let state = world.clean_state(0);
    assert_eq!(state.next_offset, offset(8));
    assert_eq!(state.dirty_since_ms, Some(START_MS as u64 + 8));
}

#[tokio::test]
async fn keys_are_read_in_steps_too() {
    let mut world = World::new(19, 1, COMPACT).await.with(1_000, 1);
    world.options.clean.cover_bytes = 10_000;
    for number in 0..24 {
        world.add(&format!("a={number} b{}=1", number % 2)).await;
    }
    let (version, before) = (world.manifest().version(), world.said());
    let mut reads = 0;
    while world.said() == before {
        assert!(world.step(at(START_MS)).await.expect("cleaned"));
        reads += 1;
        if reads == 2 {
            // Of which this cleaning will know nothing.
            world.add("a=x").await;
            break;
        }
    }
    assert!(reads > 1 && world.manifest().version() == version + 1);
    world.clean(at(START_MS)).await;
    assert_eq!(world.text().await, "45:b0=1 46:a=23 47:b1=1 48:a=x");
    assert_eq!(world.clean_state(0).next_offset, offset(48));
}

/// A cleaning in the middle of which files go away because all in them was deleted.
#[tokio::test]
async fn files_that_are_dropped_meanwhile_do_no_harm_and_files_that_are_joined_do_not_either() {
    let mut world = World::new(17, 1, COMPACT).await.with(1_000, 1);
    for number in 0..8 {
        world.add(&format!("a={number} b{number}=1")).await;
    }
    assert!(world.step(at(START_MS)).await.expect("cleaned"));
    world.drop_tables(2).await;
    world.set_log_start(0, 4).await;
    world.clean(at(START_MS)).await;
    assert_eq!(world.clean_state(0).next_offset, offset(16));
    assert_eq!(
        world.text().await,
        "5:b2=1 7:b3=1 9:b4=1 11:b5=1 13:b6=1 14:a=7 15:b7=1"
    );

    for number in 0..8 {
        world.add(&format!("a={number} c{number}=1")).await;
    }
    assert!(world.step(at(START_MS)).await.expect("cleaned"));
    world.join().await;
    let stale = world.step(at(START_MS)).await;
    assert!(matches!(
        stale,
        Err(crate::publish::PublishError::Superseded)
    ));
    world.clean(at(START_MS)).await;
    assert_eq!(world.clean_state(0).next_offset, offset(32));
    assert_eq!(world.stored(0).await.len(), 6 + 9);
}

#[tokio::test]
async fn a_cleaning_ends_with_the_policy() {
    let mut world = World::new(18, 1, COMPACT).await.with(1_000, 1);
    world.add("a=1 a=2").await;
    world.add("a=3 a=4").await;
    assert!(world.step(at(START_MS)).await.expect("cleaned"));
    world.set_topic(1, &[]).await;
    assert_eq!(world.clean(at(START_MS)).await, 0);
    assert_eq!(world.text().await, "2:a=3 3:a=4");
    assert_eq!(world.clean_state(0).next_offset, Offset::ZERO);
}
