use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::{ManualClock, SharedClock};
use alluvium_segment::manifest::{CleanState, TOMBSTONE_MARKS_MAX, TombstoneMark};

use super::super::time::{CleanTime, SteadyTime};
use super::super::tombstones::{horizon, marks_after};
use super::world::{at, offset};

const RETENTION_MS: i64 = 1_600;

fn mark(end: i64, cleaned_ms: i64) -> TombstoneMark {
    TombstoneMark {
        next_offset: offset(end),
        cleaned_ms,
    }
}

fn horizon_of(marks: &[TombstoneMark], time: CleanTime) -> i64 {
    let clean = CleanState {
        tombstones: marks.to_vec(),
        ..CleanState::default()
    };
    horizon(&clean, time, RETENTION_MS).get()
}

#[test]
fn tombstones_may_go_when_their_time_is_over() {
    let marks = [mark(10, 1_000), mark(20, 2_000)];
    assert_eq!(horizon_of(&marks, at(2_599)), 0);
    assert_eq!(horizon_of(&marks, at(2_600)), 10);
    assert_eq!(horizon_of(&marks, at(3_599)), 10);
    assert_eq!(horizon_of(&marks, at(3_600)), 20);
    assert_eq!(horizon_of(&marks, at(i64::MIN)), 0);
    let unsure = CleanTime {
        earliest_ms: 2_599,
        latest_ms: i64::MAX,
    };
    assert_eq!(horizon_of(&marks, unsure), 0);
    assert_eq!(horizon_of(&[mark(10, i64::MAX)], at(i64::MAX - 1)), 0);
}

#[test]
fn what_is_over_is_forgotten_and_what_is_new_is_dated() {
    let before = [mark(10, 1_000), mark(20, 2_000)];
    let after = |horizon, has_new, time| {
        let horizon = offset(horizon);
        marks_after(&before, horizon, offset(30), has_new, time, RETENTION_MS)
    };
    assert_eq!(after(10, false, at(2_650)), [mark(20, 2_000)]);
    assert_eq!(
        after(10, true, at(2_650)),
        [mark(20, 2_000), mark(30, 2_700)]
    );
    assert_eq!(after(20, true, at(4_000)), [mark(30, 4_000)]);
    assert_eq!(
        after(0, true, at(1_999)),
        [mark(10, 1_000), mark(30, 2_000)]
    );
    let back = after(0, true, at(-500));
    assert_eq!(
        back,
        [mark(10, 1_000), mark(30, 2_000)],
        "not older than what was there"
    );
    let unsure = CleanTime {
        earliest_ms: 0,
        latest_ms: 2_700,
    };
    assert_eq!(after(20, true, unsure), [mark(30, 2_700)]);
    let none = marks_after(&[], offset(0), offset(5), true, at(-1_650), 0);
    assert_eq!(
        none,
        [mark(5, -1_650)],
        "without a time, each date is as it is"
    );
    let last = marks_after(&[], offset(0), offset(5), true, at(i64::MAX), RETENTION_MS);
    assert_eq!(last, [mark(5, i64::MAX)]);
}

/// However often a partition is cleaned, few marks say when its tombstones go, and none waits for long.
#[test]
fn marks_are_few() {
    let mut marks = Vec::new();
    let mut seen: Vec<(i64, i64)> = Vec::new();
    for now_ms in 0..5 * RETENTION_MS {
        let horizon = offset(horizon_of(&marks, at(now_ms)));
        for (at, seen_ms) in &seen {
            let is_over = now_ms - seen_ms >= RETENTION_MS;
            assert!(is_over || *at >= horizon.get(), "{at} too early");
            let is_late = now_ms - seen_ms >= RETENTION_MS + RETENTION_MS / 16;
            assert!(!is_late || *at < horizon.get(), "{at} too late");
        }
        seen.retain(|(at, _)| *at >= horizon.get());
        let end = offset(now_ms + 1);
        marks = marks_after(&marks, horizon, end, true, at(now_ms), RETENTION_MS);
        seen.push((now_ms, now_ms));
        assert!(marks.len() <= 18, "{}", marks.len());
    }
}

#[test]
fn marks_are_bounded_when_the_setting_changes() {
    let mut marks = Vec::new();
    for now in 1..200 {
        marks = marks_after(&marks, offset(0), offset(now), true, at(now), 16);
        assert!(marks.len() <= TOMBSTONE_MARKS_MAX);
    }
    assert_eq!(
        marks[0],
        mark(136, 136),
        "the oldest are left to later ones"
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_makes_nothing_go_early() {
    let clock = ManualClock::at(1_000_000);
    let time = SteadyTime::start(Arc::clone(&clock) as SharedClock);
    assert_eq!(time.now(), at(1_000_000));
    tokio::time::advance(Duration::from_secs(5)).await;
    clock.advance_ms(5_000);
    assert_eq!(time.now(), at(1_005_000));
    clock.advance_ms(86_400_000);
    let forward = CleanTime {
        earliest_ms: 1_005_000,
        latest_ms: 87_405_000,
    };
    assert_eq!(time.now(), forward);
    clock.set_ms(0);
    let back = CleanTime {
        earliest_ms: 0,
        latest_ms: 1_005_000,
    };
    assert_eq!(time.now(), back);
}
