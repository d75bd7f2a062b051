//! Publishing and joining keep to a pace.

use tokio::time::Instant;

use super::batches::BatchSpec;
use super::compactors::{SMALL, eager};
use super::world::{World, tp};
use super::*;
use crate::pace::PaceMetrics;

/// Far less than it would take: what is published here is small.
const LIMIT: u64 = 2_000;

#[tokio::test(start_paused = true)]
async fn what_is_read_and_written_keeps_to_the_limit() {
    let mut world = World::new(1).await;
    world.pace = Pace::new(Some(LIMIT), None, PaceMetrics::default());
    let broker = world.broker(1).await;
    let topic = world.topic("t", 2, broker).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, eager());
    let began = Instant::now();
    // Enough rounds for files to be joined.
    for _ in 0..10 {
        for number in 0..40 {
            world.produce(tp(topic, number % 2), BatchSpec::any(&*world.random));
        }
        world.seal(broker).await;
        world.settle(&mut [&mut publisher]).await;
    }
    world.check_all().await;
    let took = began.elapsed().as_secs_f64();
    let metrics = &publisher.with.metrics;
    assert!(metrics.tables.get() > 10, "files were joined");
    let bytes = metrics.get_bytes.get() + metrics.table_bytes.get();
    // The last piece of all is paid for by nobody.
    let least = bytes.saturating_sub(2 * SMALL.step_bytes) / LIMIT;
    assert!(
        least > 0 && took >= least as f64,
        "{bytes} bytes in {took} s"
    );
}
