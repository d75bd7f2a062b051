//! A disk in memory that forgets what was not synced, as real ones do.
//!
//! It dies after a given number of operations: the write in progress is torn, and nothing works any
//! more. [`SimDisk::crash`] then says what a machine would find after a power failure: of every
//! file a random choice of the sectors written since its last sync, of the folder a random prefix of
//! the changes since its last sync. [`SimDisk::restart`] is the death of the process alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use alluvium_common::rand::{Random, SeededRandom};
use parking_lot::Mutex;

use super::blocks::BLOCK_BYTES;
use super::disk::{WalDisk, WalFile};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum Change {
    Add(String, u64),
    Remove(String),
}

#[derive(Clone, Default)]
struct State {
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    operations_left: Option<u64>,
    dead: bool,
    failing_syncs: BTreeMap<u64, u64>,
    space_bytes: Option<usize>,
    syncs: BTreeMap<u64, u64>,
}

struct Shared {
    state: Mutex<State>,
    random: Arc<SeededRandom>,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Shared>);

struct SimFile {
    disk: SimDisk,
    id: u64,
}

fn dead() -> io::Error {
    io::Error::other("the disk is dead")
}

impl State {
    /// Counts an operation; `Err` when it is the one the disk dies of, or a later one.
    fn tick(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(dead());
        }
        match &mut self.operations_left {
            Some(0) => {
                self.dead = true;
                Err(dead())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn apply(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    fn find(&self, name: &str) -> io::Result<u64> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used_bytes(&self) -> usize {
        let live = |id: &u64| self.files.get(id).map_or(0, |file| file.cached.len());
        self.names.values().map(live).sum()
    }

    fn write(&mut self, id: u64, position: usize, bytes: &[u8]) -> io::Result<()> {
        let end = position + bytes.len();
        let file = self.files.get(&id).map_or(0, |file| file.cached.len());
        let growth = end.saturating_sub(file);
        if self
            .space_bytes
            .is_some_and(|space| self.used_bytes() + growth > space)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.files.entry(id).or_default();
        if end > file.cached.len() {
            file.cached.resize(end, 0);
        }
        file.cached[position..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            file.dirty
                .extend(position / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Add(name, id) => {
            // A rename removes the old name in the same step.
            names.retain(|_, other| other != id);
            names.insert(name.clone(), *id);
        }
        Change::Remove(name) => {
            names.remove(name);
        }
    }
}

/// Copies sector `index` of `from` to `to`, which grows to hold it.
fn copy_sector(from: &[u8], to: &mut Vec<u8>, index: usize) {
    let start = index * SECTOR_BYTES;
    let end = (start + SECTOR_BYTES).min(from.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    to[start..end].copy_from_slice(&from[start..end]);
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let state = Mutex::default();
        Self(Arc::new(Shared { state, random }))
    }

    fn with_state(&self, state: State) -> Self {
        let random = Arc::clone(&self.0.random);
        let state = Mutex::new(state);
        Self(Arc::new(Shared { state, random }))
    }

    /// The disk dies at the operation after `count` more; `None` never.
    pub(crate) fn die_after(&self, count: Option<u64>) {
        self.0.state.lock().operations_left = count;
    }

    /// The next `count` syncs of a file fail, and what they should have written is partly lost for
    /// good.
    pub(crate) fn fail_syncs(&self, name: &str, count: u64) {
        let mut state = self.0.state.lock();
        let id = state.find(name).expect("the file is there");
        state.failing_syncs.insert(id, count);
    }

    /// Limits the size of all files together.
    pub(crate) fn set_space(&self, bytes: Option<usize>) {
        self.0.state.lock().space_bytes = bytes;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.state.lock().dead
    }

    /// Syncs of a file, failed ones included.
    pub(crate) fn sync_count(&self, name: &str) -> u64 {
        let state = self.0.state.lock();
        let id = state.find(name).expect("the file is there");
        state.syncs.get(&id).copied().unwrap_or(0)
    }

    /// Changes bytes as a failing medium would.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.state.lock();
        let id = state.find(name).expect("the file is there");
        let file = state.files.get_mut(&id).expect("the file is there");
        change(&mut file.cached);
        file.durable = file.cached.clone();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.state.lock().names.keys().cloned().collect()
    }

    /// The disk as found after the power failed.
    pub(crate) fn crash(&self) -> Self {
        let random = &self.0.random;
        let mut state = self.0.state.lock().clone();
        let kept = random.below(state.changes.len() as u64 + 1) as usize;
        let mut names = state.durable_names.clone();
        for change in &state.changes[..kept] {
            apply(&mut names, change);
        }
        for file in state.files.values_mut() {
            for sector in std::mem::take(&mut file.dirty) {
                if random.below(2) == 0 {
                    copy_sector(&file.cached, &mut file.durable, sector);
                }
            }
            file.cached = file.durable.clone();
        }
        self.with_state(State {
            names: names.clone(),
            durable_names: names,
            files: state.files,
            next_file: state.next_file,
            ..State::default()
        })
    }

    /// The disk as the next process finds it: all writes are there, synced or not.
    pub(crate) fn restart(&self) -> Self {
        let mut state = self.0.state.lock().clone();
        state.operations_left = None;
        state.dead = false;
        self.with_state(state)
    }
}

impl WalDisk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.state.lock().tick()?;
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let mut state = self.0.state.lock();
        state.tick()?;
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Content::default());
        state.apply(Change::Add(name.to_owned(), id));
        let disk = self.clone();
        Ok(Arc::new(SimFile { disk, id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let mut state = self.0.state.lock();
        state.tick()?;
        let id = state.find(name)?;
        let disk = self.clone();
        Ok(Arc::new(SimFile { disk, id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.tick()?;
        let id = state.find(from)?;
        state.apply(Change::Add(to.to_owned(), id));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.tick()?;
        state.find(name)?;
        state.apply(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.tick()?;
        state.durable_names = state.names.clone();
        state.changes.clear();
        Ok(())
    }
}

impl WalFile for SimFile {
    fn size_bytes(&self) -> io::Result<u64> {
        let mut state = self.disk.0.state.lock();
        state.tick()?;
        let file = state.files.get(&self.id).ok_or_else(dead)?;
        Ok(file.cached.len() as u64)
    }

    fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        state.tick()?;
        let file = state.files.get(&self.id).ok_or_else(dead)?;
        let start = position as usize;
        let bytes = file.cached.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_blocks(&self, position: u64, blocks: &[u8]) -> io::Result<()> {
        // What direct I/O would refuse.
        for number in [position as usize, blocks.len(), blocks.as_ptr().addr()] {
            assert_eq!(number % BLOCK_BYTES, 0, "not aligned");
        }
        let random = &self.disk.0.random;
        let mut state = self.disk.0.state.lock();
        let was_dead = state.dead;
        let ticked = state.tick();
        if ticked.is_err() && !was_dead {
            let torn = random.below(blocks.len() as u64 + 1) as usize;
            state.write(self.id, position as usize, &blocks[..torn])?;
        }
        ticked?;
        state.write(self.id, position as usize, blocks)
    }

    fn sync(&self) -> io::Result<()> {
        let random = &self.disk.0.random;
        let mut state = self.disk.0.state.lock();
        let ticked = state.tick();
        *state.syncs.entry(self.id).or_default() += 1;
        let failing = state.failing_syncs.entry(self.id).or_default();
        let fails = *failing > 0;
        *failing = failing.saturating_sub(1);
        let file = state.files.get_mut(&self.id).ok_or_else(dead)?;
        if ticked.is_ok() && !fails {
            file.durable = file.cached.clone();
            file.dirty.clear();
            return Ok(());
        }
        // Some sectors made it. Those that did not are forgotten when the kernel reports the error:
        // a second sync would succeed without having written them.
        for sector in std::mem::take(&mut file.dirty) {
            if random.below(2) == 0 {
                copy_sector(&file.cached, &mut file.durable, sector);
            }
        }
        ticked.and(Err(io::Error::other("sync failed")))
    }
}
