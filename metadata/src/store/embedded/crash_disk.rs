//! A disk that loses power: on a crash it keeps all that was synced and a random part of what was not.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use alluvium_common::rand::{Random, SeededRandom};
use parking_lot::Mutex;
use redb::StorageBackend;

/// The unit that a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// A disk in memory, shared with the test that pulls its plug.
#[derive(Debug, Clone)]
pub(super) struct CrashDisk(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    /// What a reader sees.
    current: Vec<u8>,
    /// What survives for certain.
    durable: Vec<u8>,
    /// Sectors that differ since the last sync.
    unsynced: BTreeSet<usize>,
    /// Writes, syncs and resizes until the power goes; `None`: it stays.
    operations_left: Option<u64>,
    /// Every so many-th sync does nothing; 0: all are honest.
    lie_every: u64,
    syncs: u64,
    dead: bool,
}

impl CrashDisk {
    /// A disk with this content whose power goes during the `operations`-th operation from now.
    pub(super) fn new(content: Vec<u8>, operations: Option<u64>, lie_every: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            current: content.clone(),
            durable: content,
            unsynced: BTreeSet::new(),
            operations_left: operations,
            lie_every,
            syncs: 0,
            dead: false,
        })))
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// What is found on the disk when power is back: each sector that was not synced is old or new, and so
    /// is the length.
    pub(super) fn after_power_loss(&self, random: &SeededRandom) -> Vec<u8> {
        let disk = self.0.lock();
        let mut image = disk.durable.clone();
        if random.below(2) == 0 {
            image.resize(disk.current.len(), 0);
        }
        for sector in &disk.unsynced {
            if random.below(2) == 0 {
                copy_sector(*sector, &disk.current, &mut image);
            }
        }
        image
    }
}

fn copy_sector(sector: usize, from: &[u8], to: &mut [u8]) {
    let start = sector * SECTOR_BYTES;
    let end = (start + SECTOR_BYTES).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

impl Disk {
    fn alive(&self) -> io::Result<()> {
        if self.dead {
            Err(io::Error::other("power is gone"))
        } else {
            Ok(())
        }
    }

    /// Counts an operation; the one during which power goes still reaches the cache, and then fails.
    fn operation(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.operations_left {
            *left = left.saturating_sub(1);
            self.dead = *left == 0;
        }
        self.alive()
    }
}

impl StorageBackend for CrashDisk {
    fn len(&self) -> io::Result<u64> {
        let disk = self.0.lock();
        disk.alive()?;
        Ok(disk.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock();
        disk.alive()?;
        let start = offset as usize;
        let stored = disk
            .current
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(stored);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.alive()?;
        disk.current.resize(len as usize, 0);
        disk.operation()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.alive()?;
        disk.operation()?;
        disk.syncs += 1;
        if disk.lie_every != 0 && disk.syncs.is_multiple_of(disk.lie_every) {
            return Ok(());
        }
        let Disk {
            current,
            durable,
            unsynced,
            ..
        } = &mut *disk;
        durable.resize(current.len(), 0);
        for sector in std::mem::take(unsynced) {
            copy_sector(sector, current, durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.alive()?;
        let (start, end) = (offset as usize, offset as usize + data.len());
        disk.current
            .get_mut(start..end)
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        let last = end.div_ceil(SECTOR_BYTES);
        disk.unsynced.extend(start / SECTOR_BYTES..last);
        disk.operation()
    }
}
