//! The folder of everything that stays on this machine.
//!
//! ```text
//! <data.dir>/LOCK            locked while a process uses the folder
//! <data.dir>/folder.json     version of the layout, identity of this broker
//! <data.dir>/wal/            write-ahead log
//! <data.dir>/metadata/       embedded metadata store
//! <data.dir>/objects/        segments, unless the object store is elsewhere
//! <data.dir>/cache/          blocks read from object storage; may be deleted at any time
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use alluvium_common::rand::Random;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Version of the layout that this build reads and writes.
const LAYOUT_VERSION: u32 = 1;
const LOCK: &str = "LOCK";
const DESCRIPTION: &str = "folder.json";

/// An open, locked data folder.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    instance_id: Uuid,
    /// Unlocked when the file is closed, also when the process is killed.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Another process has it.
    #[error(
        "the data folder {path} is in use by another process; stop that one, or give this one another --data-dir"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error(
        "the data folder {path} has layout version {found}, this build knows versions up to {LAYOUT_VERSION}; use the newer build that wrote it, or another --data-dir"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Its description is unreadable.
    #[error("{path} does not describe a data folder: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system refuses.
    #[error("cannot use the data folder {path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Description {
    layout_version: u32,
    instance_id: Uuid,
}

/// Read before the rest: a newer layout may have other fields.
#[derive(Debug, Deserialize)]
struct DescriptionVersion {
    layout_version: u32,
}

impl DataFolder {
    /// Makes the folder if it does not exist, and locks it.
    pub fn open(path: &Path, random: &dyn Random) -> Result<Self, DataFolderError> {
        let failed = |source| DataFolderError::Io {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataFolderError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let file = path.join(DESCRIPTION);
        let description = match fs::read(&file) {
            Ok(bytes) => read(path, &file, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = Description {
                    layout_version: LAYOUT_VERSION,
                    instance_id: random.uuid(),
                };
                write(path, &file, &new).map_err(failed)?;
                new
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            instance_id: description.instance_id,
            _lock: lock,
        })
    }

    /// Tells this broker's past from another broker of the same number.
    pub fn instance_id(&self) -> Uuid {
        self.instance_id
    }

    /// Folder of the write-ahead log.
    pub fn wal(&self) -> PathBuf {
        self.path.join("wal")
    }

    /// Folder of the embedded metadata store.
    pub fn metadata(&self) -> PathBuf {
        self.path.join("metadata")
    }

    /// Folder of the segments, by default.
    pub fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Folder of the cache.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }
}

fn read(folder: &Path, file: &Path, bytes: &[u8]) -> Result<Description, DataFolderError> {
    let damaged = |error: serde_json::Error| DataFolderError::Damaged {
        path: file.to_owned(),
        reason: error.to_string(),
    };
    let version: DescriptionVersion = serde_json::from_slice(bytes).map_err(damaged)?;
    if version.layout_version > LAYOUT_VERSION {
        return Err(DataFolderError::Newer {
            path: folder.to_owned(),
            found: version.layout_version,
        });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

/// Whole or not at all: a file cut short by a crash would make the folder unusable.
fn write(folder: &Path, file: &Path, description: &Description) -> io::Result<()> {
    let unfinished = file.with_extension("json.new");
    let mut out = File::create(&unfinished)?;
    serde_json::to_writer_pretty(&mut out, description)?;
    out.write_all(b"\n")?;
    out.sync_all()?;
    fs::rename(&unfinished, file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use alluvium_common::rand::SeededRandom;

    use super::*;

    #[test]
    fn a_folder_keeps_its_identity_and_has_one_user() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("data");
        let first = DataFolder::open(&path, &*SeededRandom::new(1)).expect("opens");
        let error = DataFolder::open(&path, &*SeededRandom::new(2)).expect_err("in use");
        assert!(error.to_string().contains("--data-dir"), "{error}");
        let instance_id = first.instance_id();
        drop(first);
        let second = DataFolder::open(&path, &*SeededRandom::new(3)).expect("opens again");
        assert_eq!(second.instance_id(), instance_id);
    }

    #[test]
    fn newer_and_damaged_folders_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join(DESCRIPTION);
        fs::write(&file, r#"{"layout_version": 2, "shape": "other"}"#).expect("written");
        let error = DataFolder::open(folder.path(), &*SeededRandom::new(1)).expect_err("newer");
        assert!(
            matches!(error, DataFolderError::Newer { found: 2, .. }),
            "{error}"
        );
        fs::write(&file, "{").expect("written");
        let error = DataFolder::open(folder.path(), &*SeededRandom::new(1)).expect_err("damaged");
        assert!(matches!(error, DataFolderError::Damaged { .. }), "{error}");
    }
}
