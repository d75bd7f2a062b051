//! Making a finished file an object: synced data, a name by rename or link, a synced folder.
//!
//! The order is what durability rests on:
//! 1. the file's data and inode are synced while it still has a staging name;
//! 2. every folder on the way exists and its entry in its parent is synced;
//! 3. the name appears at once and whole (rename, or link for create-if-absent);
//! 4. the folder that holds the name is synced. Only then does a PUT count.
//!
//! A crash before 3 leaves a staging file, which the next open removes; between 3 and 4 the object
//! may or may not be there, and nobody was told that it is.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::staging::StagedPath;

/// Folders remembered as synced into their parents; about 100 bytes each. When full, the memory
/// starts afresh and costs a few more syncs.
const KNOWN_FOLDERS_MAX: usize = 16 * 1024;

/// How often a placement starts over because a folder vanished below it (somebody tidied up by
/// hand). Once is an accident, more is a fight we cannot win.
const PLACE_ATTEMPTS_MAX: usize = 3;

/// Whether an existing object is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfExists {
    Replace,
    Refuse,
}

/// The calls that durability rests on, as a seam, so that tests can watch them and let them fail.
pub(super) trait Sync: Send + std::marker::Sync + std::fmt::Debug {
    /// Data and inode of a file.
    fn file(&self, file: &File) -> io::Result<()>;
    /// What was written to a file so far, before more is written.
    fn step(&self, file: &File) -> io::Result<()>;
    /// The names in a folder.
    fn folder(&self, folder: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(super) struct SystemSync;

impl Sync for SystemSync {
    fn file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn step(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// Gives finished files their names.
#[derive(Debug)]
pub(super) struct Placer {
    root: PathBuf,
    sync: Arc<dyn Sync>,
    /// Folders whose entry in their parent was synced by this process. Another process may have
    /// made a folder without having synced it yet, so seeing that it exists is not enough.
    known: Mutex<HashSet<PathBuf>>,
}

impl Placer {
    pub(super) fn new(root: PathBuf, sync: Arc<dyn Sync>) -> Self {
        Self {
            root,
            sync,
            known: Mutex::new(HashSet::new()),
        }
    }

    /// Syncs what was written to `file` so far. Blocking. After an error the file is of no use any more.
    pub(super) fn sync_step(&self, file: &File) -> io::Result<()> {
        self.sync.step(file)
    }

    /// Syncs `file`, which was written under a staging name, and makes it the object at `target`.
    /// Blocking.
    pub(super) fn finish(
        &self,
        file: &File,
        staged: &StagedPath,
        target: &Path,
        if_exists: IfExists,
    ) -> io::Result<()> {
        // A failed sync is never tried again on the same file: the kernel may have dropped the pages
        // and would report success. The file is removed and the caller starts over.
        self.sync.file(file)?;
        self.place(staged, target, if_exists)
    }

    /// Makes the already synced file `staged` the object at `target`. Blocking.
    pub(super) fn place(
        &self,
        staged: &StagedPath,
        target: &Path,
        if_exists: IfExists,
    ) -> io::Result<()> {
        let folder = target.parent().unwrap_or(&self.root);
        let mut attempt = 1;
        loop {
            self.ensure_folder(folder)?;
            let named = match if_exists {
                IfExists::Replace => fs::rename(&staged.0, target),
                IfExists::Refuse => fs::hard_link(&staged.0, target),
            };
            match named {
                Ok(()) => return self.sync.folder(folder),
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && attempt < PLACE_ATTEMPTS_MAX =>
                {
                    attempt += 1;
                    self.known.lock().clear();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes `folder` and its ancestors up to the root, each synced into its parent.
    fn ensure_folder(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || self.known.lock().contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(&self.root);
        self.ensure_folder(parent)?;
        create_folder(folder)?;
        self.sync.folder(parent)?;
        let mut known = self.known.lock();
        if known.len() >= KNOWN_FOLDERS_MAX {
            known.clear();
        }
        known.insert(folder.to_path_buf());
        Ok(())
    }
}

/// Makes the store's own folder, each new level synced into its parent. Blocking.
pub(super) fn create_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let parent = match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent != root {
        create_root(parent)?;
    }
    create_folder(root)?;
    SystemSync.folder(parent)
}

fn create_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        other => other,
    }
}
