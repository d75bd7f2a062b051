//! The pipeline over in-memory neighbours, under paused time.

mod durability;
mod faults;
mod pressure;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::offset::Offset;
use alluvium_metadata::topic_config::Durability;
use futures::FutureExt;

use super::testing::*;
use super::*;
use crate::ack::Appended;
use crate::validate::LocalRetention;

fn local() -> TopicRules {
    TopicRules::default()
}

fn local_for(age_max: Option<Duration>, bytes_max: Option<u64>) -> TopicRules {
    TopicRules {
        local_retention: LocalRetention { age_max, bytes_max },
        ..TopicRules::default()
    }
}

fn object() -> TopicRules {
    TopicRules {
        durability: Durability::Object,
        ..TopicRules::default()
    }
}

fn manual_sync() -> RigOptions {
    RigOptions {
        auto_sync: false,
        ..RigOptions::default()
    }
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

/// What the ticket says now, as the base offset; `None` while it waits.
fn told(ticket: &mut AppendTicket) -> Option<Result<i64, AppendError>> {
    let told: Option<Result<Appended, _>> = ticket.now_or_never();
    told.map(|result| result.map(|appended| appended.base_offset.get()))
}

/// Lets spawned tasks run until they wait for time or for us.
async fn settle() {
    tokio::time::sleep(Duration::from_micros(1)).await;
}

fn pairs(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    expected
        .iter()
        .map(|(offset, tag)| (*offset, (*tag).to_owned()))
        .collect()
}

fn high_watermark(rig: &Rig, partition: i32) -> i64 {
    let log = rig.logs.get(&tp(partition)).expect("open");
    log.tail.offsets().high_watermark.get()
}

fn commits(world: &Arc<World>) -> usize {
    world.metadata.log.lock().len()
}
