//! Publishers in the world, and their rounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_metadata::session::Session;
use alluvium_table::TableOptions;

use super::super::bounds::Bounds;
use super::super::{PublishLimits, PublishMetrics, PublishOptions, PublishSeams, Publisher, Round};
use super::world::World;
use crate::clean::CleanOptions;
use crate::leaves::LeafLimits;
use crate::reclaim::{Graves, GravesMetrics};

/// Rounds after which anything should be at rest.
const ROUNDS_MAX: usize = 300;

/// All that waits is published at once.
pub fn eager() -> PublishOptions {
    PublishOptions {
        limits: PublishLimits {
            bytes_min: 1,
            age_max: Duration::from_secs(3600),
            bytes_max: 1 << 30,
        },
        table_bytes: 1 << 30,
        table: TableOptions {
            stripe_bytes: 2_000,
            row_group_bytes: 20_000,
            ..TableOptions::default()
        },
        zstd_level_behind: 1,
        topic_defaults: BTreeMap::new(),
        producers_expire_ms: 1 << 40,
        clean: CleanOptions::default(),
        leaves: LeafLimits::default(),
    }
}

/// Steps of a few blocks, and parts of few of these.
pub const SMALL: Bounds = Bounds {
    backlog_blocks: 1 << 20,
    step_bytes: 4_000,
    part_bytes: 4_000,
};

impl World {
    pub fn publisher(&self, session: &Arc<Session>, options: PublishOptions) -> Publisher {
        self.bounded(session, options, SMALL)
    }

    pub fn bounded(
        &self,
        session: &Arc<Session>,
        options: PublishOptions,
        bounds: Bounds,
    ) -> Publisher {
        let seams = PublishSeams {
            store: Arc::clone(&self.store),
            keys: self.keys.clone(),
            session: Arc::clone(session),
            view: Arc::clone(&self.view),
            objects: Arc::clone(&self.objects),
            pace: Arc::clone(&self.pace),
            graves: Graves::new(
                Arc::clone(&self.objects),
                Duration::ZERO,
                GravesMetrics::default(),
            ),
            clock: self.clock.clone(),
            random: self.random.clone(),
            metrics: PublishMetrics::default(),
        };
        Publisher::bounded(seams, options, bounds).expect("options")
    }

    /// One round with a picture of all that was written.
    pub async fn round(&self, publisher: &mut Publisher) -> Round {
        self.catch_up().await;
        publisher.round().await
    }

    /// Rounds until all publishers find nothing to do.
    pub async fn settle(&self, publishers: &mut [&mut Publisher]) {
        let mut last = Vec::new();
        for _ in 0..ROUNDS_MAX {
            last.clear();
            for publisher in publishers.iter_mut() {
                last.push(self.round(publisher).await);
            }
            if last.iter().all(|round| *round == Round::default()) {
                return;
            }
        }
        panic!("no end after {ROUNDS_MAX} rounds: {last:?}");
    }
}
