//! Waiting, on a clock of the test's own.

use std::time::Duration;

use futures::future::join_all;

use super::*;

const MIB: u64 = 1 << 20;

/// Seconds until all are done, in the order of the list.
async fn time(pace: &Pace, pieces: &[u64]) -> Vec<f64> {
    let began = Instant::now();
    let takes = pieces.iter().map(|bytes| async {
        pace.take(*bytes).await;
        began.elapsed().as_secs_f64()
    });
    join_all(takes).await
}

fn assert_about(times: &[f64], expected: &[f64]) {
    assert_eq!(times.len(), expected.len());
    for (time, expected) in times.iter().zip(expected) {
        assert!((time - expected).abs() < 0.01, "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nobody_waits() {
    let (_uploads, lag) = watch::channel(false);
    let metrics = PaceMetrics::default();
    let pace = Pace::new(None, Some(lag), metrics.clone());
    assert_about(&time(&pace, &[1 << 40, 1 << 40, 1]).await, &[0.0; 3]);
    assert_eq!(metrics.waits(), (0.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_kept_by_all_together() {
    let metrics = PaceMetrics::default();
    let pace = Pace::new(Some(2 * MIB), None, metrics.clone());
    let times = time(&pace, &[8 * MIB, 2 * MIB, 2 * MIB]).await;
    assert_about(&times, &[0.0, 4.0, 5.0]);
    let (limited, yielded) = metrics.waits();
    assert!((limited - 9.0).abs() < 0.01 && yielded == 0.0, "{limited}");
}

#[tokio::test(start_paused = true)]
async fn while_uploads_lag_compaction_trickles() {
    let (uploads, lag) = watch::channel(true);
    let metrics = PaceMetrics::default();
    let pace = Pace::new(None, Some(lag), metrics.clone());
    let times = time(&pace, &[TRICKLE, TRICKLE, TRICKLE]).await;
    assert_about(&times, &[0.0, 1.0, 2.0]);
    // A smaller limit counts all the same.
    let limited = Pace::new(Some(TRICKLE / 2), pace.lag.clone(), PaceMetrics::default());
    assert_about(&time(&limited, &[TRICKLE, 1]).await, &[0.0, 2.0]);
    let (limited, yielded) = metrics.waits();
    assert!((yielded - 3.0).abs() < 0.01 && limited == 0.0, "{yielded}");
    drop(uploads);
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_on_when_uploads_have_caught_up() {
    let (uploads, lag) = watch::channel(true);
    let pace = Pace::new(None, Some(lag), PaceMetrics::default());
    let caught_up = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        uploads.send_replace(false);
    };
    let pieces = [1_000 * TRICKLE, 1, 1];
    let (times, ()) = tokio::join!(time(&pace, &pieces), caught_up);
    assert_about(&times, &[0.0, 3.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn uploads_that_begin_to_lag_slow_down_who_waits_already() {
    let (uploads, lag) = watch::channel(false);
    let pace = Pace::new(Some(2 * TRICKLE), Some(lag), PaceMetrics::default());
    let lagging = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        uploads.send_replace(true);
    };
    // Of four seconds' worth half is paid for in one second, and the rest in two.
    let (times, ()) = tokio::join!(time(&pace, &[4 * TRICKLE, 1]), lagging);
    assert_about(&times, &[0.0, 3.0]);
}

/// Whoever uploads is gone with its last word.
#[tokio::test(start_paused = true)]
async fn uploads_that_are_gone_keep_nobody() {
    let (uploads, lag) = watch::channel(true);
    drop(uploads);
    let pace = Pace::new(None, Some(lag), PaceMetrics::default());
    assert_about(&time(&pace, &[2 * TRICKLE, 1]).await, &[0.0, 2.0]);
}
