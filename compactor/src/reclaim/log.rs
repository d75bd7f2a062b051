//! Drops the start of a commit log when nothing needs it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::commit_log::{LogEntry, ReadCommitsError};
use alluvium_metadata::fold::{LogId, LogState, Replaced, drop_start, read_log};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::{Compare, MetadataStore, StoreError};
use alluvium_segment::object_key::ObjectKey;
use object_store::ObjectStore;

use super::{Graves, Needs};
use crate::fold::{ReadError, commits_of};

/// Entries of one log looked at in one pass, at most. Bounds what a transaction deletes; the rest follows.
const ENTRIES_PER_PASS: usize = 1000;

/// Why a log's start was not dropped. Nothing is lost: it only stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReclaimError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadCommitsError),
    /// What an entry stands for, or a manifest, could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A footer is damaged.
    #[error(transparent)]
    Format(#[from] alluvium_segment::FormatError),
    /// The entries could not be dropped, or it is unknown whether they were.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an entry's segments hold.
#[derive(Debug)]
struct Contents {
    /// The largest next offset of each partition.
    ends: HashMap<TopicPartition, Offset>,
    /// The segments, and the fold object.
    objects: Vec<ObjectKey>,
}

/// Drops from commit logs. One for each task that folds; remembers what it has read of the entries that are next.
pub struct Reclaimer {
    /// Metadata.
    pub store: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// What is needed.
    pub needs: Needs,
    /// Where what is not needed goes.
    pub graves: Arc<Graves>,
    /// By log, and by first and last sequence.
    known: HashMap<LogId, BTreeMap<(u64, u64), Contents>>,
}

impl Reclaimer {
    /// Knows nothing yet.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        keys: Keys,
        objects: Arc<dyn ObjectStore>,
        needs: Needs,
        graves: Arc<Graves>,
    ) -> Self {
        Self {
            store,
            keys,
            objects,
            needs,
            graves,
            known: HashMap::new(),
        }
    }

    /// Drops what is not needed of the entries of `log` below sequence `end`, as long as all of `fence` holds. Answers
    /// with how many entries that was.
    ///
    /// # Errors
    /// See [`ReclaimError`].
    pub async fn reclaim(
        &mut self,
        log: LogId,
        end: u64,
        fence: &[Compare],
    ) -> Result<usize, ReclaimError> {
        let state = read_log(&*self.store, &self.keys, log).await?;
        let count = self.not_needed(&state, end).await?;
        let holds = |entry: &&LogEntry| !matches!(entry, LogEntry::Dropped(_));
        let dropped = state.entries[..count].iter().filter(holds).count();
        if dropped == 0 {
            return Ok(0);
        }
        let done = drop_start(&*self.store, &self.keys, &state, count, fence).await?;
        if done == Replaced::Refused {
            return Ok(0);
        }
        let known = self.known.entry(log).or_default();
        for entry in &state.entries[..count] {
            let sequences = (entry.first_seq(), entry.last_seq());
            if let Some(contents) = known.remove(&sequences) {
                self.graves.bury(contents.objects);
            }
        }
        Ok(dropped)
    }

    /// Forgets the logs that are not among `logs`.
    pub fn retain(&mut self, logs: impl Fn(&LogId) -> bool) {
        self.known.retain(|log, _| logs(log));
    }

    /// How many of the first entries nothing needs.
    async fn not_needed(&mut self, state: &LogState, end: u64) -> Result<usize, ReclaimError> {
        let known = self.known.entry(state.log).or_default();
        known.retain(|sequences, _| {
            let is_entry = |entry: &LogEntry| (entry.first_seq(), entry.last_seq()) == *sequences;
            state.entries.iter().any(is_entry)
        });
        let mut count = 0;
        for entry in state.entries.iter().take(ENTRIES_PER_PASS) {
            if entry.last_seq() >= end {
                break;
            }
            let sequences = (entry.first_seq(), entry.last_seq());
            if let std::collections::btree_map::Entry::Vacant(unknown) = known.entry(sequences) {
                unknown.insert(contents_of(&*self.objects, entry).await?);
            }
            let contents = &known[&sequences];
            let topics = contents.ends.keys().map(|tp| tp.topic_id);
            let needed = self.needs.at(state.read_at, topics).await?;
            let mut ends = contents.ends.iter();
            if ends.any(|(tp, next_offset)| needed.is_needed(*tp, *next_offset)) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }
}

async fn contents_of(
    objects: &dyn ObjectStore,
    entry: &LogEntry,
) -> Result<Contents, ReclaimError> {
    let mut contents = Contents {
        ends: HashMap::new(),
        objects: Vec::new(),
    };
    if let LogEntry::Fold(fold) = entry {
        contents.objects.push(fold.object_key.clone());
    }
    for commit in commits_of(objects, entry).await? {
        for span in commit.decode_footer()?.partitions {
            let end = contents.ends.entry(span.tp).or_insert(span.next_offset);
            *end = (*end).max(span.next_offset);
        }
        contents.objects.push(commit.object_key);
    }
    Ok(contents)
}
