//! The partitions of a session, in the order in which they are read.

use std::collections::{BTreeMap, HashMap};

use alluvium_common::topic::PartitionIndex;

use super::super::{FetchPartition, PartitionResponse, TopicKey};

type Key = (TopicKey, PartitionIndex);

/// What the client was told last; -1 when it must be told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start: i64,
}

const NOTHING: Told = Told {
    high_watermark: -1,
    log_start: -1,
};

#[derive(Debug)]
struct Cached {
    request: FetchPartition,
    told: Told,
}

/// Partitions in order. One that gave records goes to the end, so that all get their turn when a
/// response cannot hold what there is.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    places: HashMap<Key, u64>,
    ordered: BTreeMap<u64, Cached>,
    next_place: u64,
}

fn key_of(request: &FetchPartition) -> Key {
    (request.topic.clone(), request.partition)
}

impl Partitions {
    /// The partitions of a full request, and what it was answered.
    pub(super) fn new(requests: Vec<FetchPartition>, responses: &[PartitionResponse]) -> Self {
        let mut partitions = Self::default();
        for (request, response) in requests.into_iter().zip(responses) {
            let told = told(response);
            partitions.push(Cached { request, told });
        }
        partitions
    }

    fn push(&mut self, cached: Cached) {
        let key = key_of(&cached.request);
        if let Some(before) = self.places.insert(key, self.next_place) {
            self.ordered.remove(&before);
        }
        self.ordered.insert(self.next_place, cached);
        self.next_place += 1;
    }

    /// Adds or changes partitions, then takes out the forgotten ones.
    pub(super) fn update(&mut self, changed: Vec<FetchPartition>, forgotten: &[Key]) {
        for request in changed {
            let place = self.places.get(&key_of(&request));
            match place.and_then(|place| self.ordered.get_mut(place)) {
                Some(cached) => cached.request = request,
                None => self.push(Cached {
                    request,
                    told: NOTHING,
                }),
            }
        }
        for key in forgotten {
            if let Some(place) = self.places.remove(key) {
                self.ordered.remove(&place);
            }
        }
    }

    pub(super) fn requests(&self) -> Vec<FetchPartition> {
        let cached = self.ordered.values();
        cached.map(|cached| cached.request.clone()).collect()
    }

    /// Leaves in `responses` what the client does not know yet, and remembers that it will.
    pub(super) fn keep_news(&mut self, responses: &mut Vec<PartitionResponse>) {
        responses.retain(|response| self.is_news(response));
    }

    fn is_news(&mut self, response: &PartitionResponse) -> bool {
        let key = (response.topic.clone(), response.partition);
        let Some(place) = self.places.get(&key).copied() else {
            return false;
        };
        let told = told(response);
        let has_records = matches!(&response.result, Ok(got) if got.read.size_bytes > 0);
        let is_told = matches!(
            &response.result,
            Ok(got) if got.diverging.is_some() || got.preferred.is_some()
        );
        if has_records && let Some(mut cached) = self.ordered.remove(&place) {
            cached.told = told;
            self.push(cached);
            return true;
        }
        let Some(cached) = self.ordered.get_mut(&place) else {
            return false;
        };
        let changed = cached.told != told;
        cached.told = told;
        changed || is_told || response.result.is_err()
    }

    pub(super) fn len(&self) -> usize {
        self.ordered.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ordered.is_empty()
    }
}

/// After an error the client is told everything again.
fn told(response: &PartitionResponse) -> Told {
    match &response.result {
        Ok(got) => Told {
            high_watermark: got.read.offsets.high_watermark.get(),
            log_start: got.read.offsets.log_start.get(),
        },
        Err(_) => NOTHING,
    }
}
