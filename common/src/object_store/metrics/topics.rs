//! Requests by topic: whom the bill for them is for.
//!
//! An object's name says whose it is: table files and manifests belong to one topic each, so what is asked of them is
//! counted where all requests are. A segment holds many topics: whoever puts one says how much of it is whose
//! ([`TopicRequests::put_shared`]), and its GETs are counted together. All else belongs to no topic.
//!
//! A number for each topic that something was asked for, and that exists: whoever knows that one was deleted says so
//! ([`TopicRequests::retain`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ::object_store::path::Path;
use parking_lot::Mutex;

use crate::object_store::operation::{BilledAs, Operation};
use crate::topic::TopicId;

/// Whose bytes an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// One topic's.
    Topic(TopicId),
    /// Those of several topics: it is a segment.
    Several,
}

/// Knows object names; `None`: the object holds no topic's records.
pub type HoldsOf = fn(&str) -> Option<Holds>;

/// How much was asked, by what is billed. Shared requests make fractions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Requests {
    /// Requests that are billed as PUTs.
    pub puts: f64,
    /// Requests that are billed as GETs.
    pub gets: f64,
    /// Of the PUTs: shares in those of segments.
    pub segment_puts: f64,
}

#[derive(Debug, Default)]
struct Counts {
    by_topic: HashMap<TopicId, Requests>,
    segment_gets: u64,
}

/// See the module's documentation. Clones count into the same numbers.
#[derive(Clone, Default)]
pub struct TopicRequests {
    counts: Arc<Mutex<Counts>>,
    holds: Option<HoldsOf>,
}

impl TopicRequests {
    /// Counts by what `holds` says of names. The default counts only what it is told.
    pub fn new(holds: HoldsOf) -> Self {
        Self {
            counts: Arc::default(),
            holds: Some(holds),
        }
    }

    /// A request was made. The PUT of a segment is not counted here: the name does not say whose it is.
    pub(super) fn asked(&self, location: &Path, operation: Operation) {
        let Some(billed) = operation.billed_as() else {
            return;
        };
        match self.holds.and_then(|holds| holds(location.as_ref())) {
            Some(Holds::Topic(topic_id)) => {
                let mut counts = self.counts.lock();
                let requests = counts.by_topic.entry(topic_id).or_default();
                match billed {
                    BilledAs::Put => requests.puts += 1.0,
                    BilledAs::Get => requests.gets += 1.0,
                }
            }
            Some(Holds::Several) if billed == BilledAs::Get => {
                self.counts.lock().segment_gets += 1;
            }
            Some(Holds::Several) | None => {}
        }
    }

    /// One PUT stored so many bytes of these topics, which share it in that proportion. A topic may come several times.
    pub fn put_shared(&self, parts: impl IntoIterator<Item = (TopicId, u64)>) {
        let mut bytes: HashMap<TopicId, u64> = HashMap::new();
        for (topic_id, part) in parts {
            *bytes.entry(topic_id).or_default() += part;
        }
        let all: u64 = bytes.values().sum();
        let mut counts = self.counts.lock();
        for (topic_id, part) in bytes.into_iter().filter(|(_, part)| *part > 0) {
            let share = part as f64 / all as f64;
            let requests = counts.by_topic.entry(topic_id).or_default();
            requests.puts += share;
            requests.segment_puts += share;
        }
    }

    /// Forgets the topics that do not exist any more.
    pub fn retain(&self, exists: impl Fn(TopicId) -> bool) {
        let mut counts = self.counts.lock();
        counts.by_topic.retain(|topic_id, _| exists(*topic_id));
    }

    /// What was counted for each topic.
    pub fn by_topic(&self) -> Vec<(TopicId, Requests)> {
        let counts = self.counts.lock();
        let all = counts.by_topic.iter();
        all.map(|(topic_id, requests)| (*topic_id, *requests))
            .collect()
    }

    /// GETs of segments, whichever topics they were for.
    pub fn segment_gets(&self) -> u64 {
        self.counts.lock().segment_gets
    }
}

impl fmt::Debug for TopicRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicRequests").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const A: TopicId = TopicId(Uuid::from_u128(1));
    const B: TopicId = TopicId(Uuid::from_u128(2));

    fn holds(name: &str) -> Option<Holds> {
        match name.split('/').next()? {
            "a" => Some(Holds::Topic(A)),
            "segments" => Some(Holds::Several),
            _ => None,
        }
    }

    fn of(requests: &TopicRequests, topic_id: TopicId) -> (f64, f64) {
        let all = requests.by_topic();
        let found = all.iter().find(|(id, _)| *id == topic_id);
        found.map_or((0.0, 0.0), |(_, requests)| (requests.puts, requests.gets))
    }

    #[test]
    fn names_say_who_asked() {
        let requests = TopicRequests::new(holds);
        for (name, operation) in [
            ("a/x", Operation::Put),
            ("a/x", Operation::Upload),
            ("a/x", Operation::Get),
            ("a/x", Operation::Head),
            ("a/x", Operation::Delete),
            ("segments/x", Operation::Put),
            ("segments/x", Operation::Get),
            ("cluster", Operation::Put),
        ] {
            requests.asked(&Path::from(name), operation);
        }
        assert_eq!(of(&requests, A), (2.0, 2.0));
        assert_eq!(requests.by_topic().len(), 1);
        assert_eq!(requests.segment_gets(), 1);
    }

    #[test]
    fn a_put_is_shared_by_bytes() {
        let requests = TopicRequests::default();
        requests.put_shared([(A, 1), (B, 2), (A, 1)]);
        requests.put_shared([(B, 7)]);
        requests.put_shared([]);
        assert_eq!((of(&requests, A).0, of(&requests, B).0), (0.5, 1.5));
        let of_segments = requests.by_topic();
        assert!(
            of_segments
                .iter()
                .all(|(_, one)| one.segment_puts == one.puts)
        );
        requests.asked(&Path::from("a/x"), Operation::Put);
        assert_eq!(of(&requests, A).0, 0.5, "nobody said what names mean");
    }

    #[test]
    fn deleted_topics_are_forgotten() {
        let requests = TopicRequests::default();
        requests.put_shared([(A, 1), (B, 1)]);
        requests.retain(|topic_id| topic_id == B);
        assert_eq!(requests.by_topic().len(), 1);
        assert_eq!(of(&requests, B).0, 0.5);
    }
}
