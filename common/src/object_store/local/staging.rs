//! Unfinished files. They live in one folder beside the objects (a rename must not cross file
//! systems) that no listing enters, and each open store has a sub-folder of its own with a locked
//! file in it, so that a store that is opened can tell left-overs of dead processes, which it
//! removes, from the work of living ones, such as a broker beside a command-line tool.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::STAGING;

const LOCK: &str = "lock";

/// This process's folder of unfinished files. Dropping it removes the folder.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    /// Held, not read: the lock is what says "alive".
    _lock: File,
    next: AtomicU64,
}

impl Staging {
    /// Removes what dead processes left below `root` and makes a folder for this one. Blocking.
    pub(super) fn open(root: &Path, id: Uuid) -> io::Result<Self> {
        let all = root.join(STAGING);
        fs::create_dir_all(&all)?;
        // Between making a folder and locking its file it looks abandoned, so opening is exclusive.
        let opening = open_lock(&all.join(LOCK))?;
        opening.lock()?;
        remove_abandoned(&all)?;
        let folder = all.join(id.simple().to_string());
        fs::create_dir(&folder)?;
        let lock = open_lock(&folder.join(LOCK))?;
        lock.lock()?;
        Ok(Self {
            folder,
            _lock: lock,
            next: AtomicU64::new(0),
        })
    }

    /// Creates a new, empty, unfinished file.
    pub(super) fn create(&self) -> io::Result<Unfinished> {
        let path = self.name();
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Unfinished {
            file,
            path: StagedPath(path),
        })
    }

    /// A name nobody uses, for a file that some other call will create.
    pub(super) fn name(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{number:016x}"))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by whoever opens the store next.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file being written.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) file: File,
    pub(super) path: StagedPath,
}

/// The name of an unfinished file, removed when dropped. After a rename there is nothing left
/// under that name, and removing nothing is harmless because names are never used twice.
#[derive(Debug)]
pub(super) struct StagedPath(pub(super) PathBuf);

impl Drop for StagedPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

fn remove_abandoned(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && is_abandoned(&entry.path())? {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn is_abandoned(folder: &Path) -> io::Result<bool> {
    match File::options().write(true).open(folder.join(LOCK)) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        },
        // It died between making the folder and the lock, or another process just removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
