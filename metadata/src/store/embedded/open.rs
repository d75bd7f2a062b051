//! Opening: lock, make or repair, check who it is, end old leases.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, StorageBackend};

use super::core::{Core, panic_text};
use super::error::{no_transaction, not_done};
use super::tables::{identity, writing};
use super::{EmbeddedOptions, OpenError, codec};
use crate::store::error::StoreError;

const FILE: &str = "metadata.redb";
const NEW_FILE: &str = "metadata.redb.new";
const LOCK_FILE: &str = "metadata.lock";

/// Opens the store in a folder; the file keeps it locked.
pub(super) fn folder(folder: &Path, options: &EmbeddedOptions) -> Result<(Core, File), OpenError> {
    fs::create_dir_all(folder).map_err(OpenError::io(folder))?;
    let lock = lock(folder)?;
    let path = folder.join(FILE);
    let db = if path.try_exists().map_err(OpenError::io(&path))? {
        database(&path, || builder(options).open(&path))?
    } else {
        create(folder, options)?
    };
    Ok((ready(db, options)?, lock))
}

/// Opens the store on a disk of the caller's.
pub(super) fn backend(
    disk: impl StorageBackend,
    options: &EmbeddedOptions,
) -> Result<Core, OpenError> {
    let db = database(Path::new("backend"), || {
        builder(options).create_with_backend(disk)
    })?;
    ready(db, options)
}

/// A lock of our own beside redb's, because it must also cover making the file.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(OpenError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&path)(error)),
    }
}

/// Makes a store under another name first: a crash in the middle leaves no half-made one behind.
fn create(folder: &Path, options: &EmbeddedOptions) -> Result<Database, OpenError> {
    let (new, path) = (folder.join(NEW_FILE), folder.join(FILE));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(OpenError::io(&new)(error));
        }
        _ => {}
    }
    let db = database(&new, || builder(options).create(&new))?;
    initialize(&db, options)?;
    fs::rename(&new, &path).map_err(OpenError::io(&path))?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(OpenError::io(folder))?;
    Ok(db)
}

fn builder(options: &EmbeddedOptions) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder
}

/// Runs an opening of redb, which may panic on a damaged file.
fn database(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, OpenError> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| OpenError::from_redb(path, error)),
        Err(panic) => Err(OpenError::Damaged {
            what: panic_text(&*panic),
        }),
    }
}

fn initialize(db: &Database, options: &EmbeddedOptions) -> Result<(), StoreError> {
    let mut txn = db.begin_write().map_err(no_transaction)?;
    txn.set_two_phase_commit(true);
    txn.set_durability(Durability::Immediate)
        .map_err(not_done)?;
    writing(&txn)?.initialize(&options.cluster)?;
    txn.commit().map_err(not_done)
}

/// Checks whose store it is, in which format, and ends the leases of the last process.
fn ready(db: Database, options: &EmbeddedOptions) -> Result<Core, OpenError> {
    let read = || identity(&db.begin_read().map_err(no_transaction)?);
    let found = match read()? {
        Some(found) => found,
        None => {
            initialize(&db, options)?;
            read()?.ok_or_else(|| OpenError::Damaged {
                what: "no identity".to_owned(),
            })?
        }
    };
    if found.format > codec::FORMAT {
        return Err(OpenError::NewerFormat {
            found: found.format,
            supported: codec::FORMAT,
        });
    }
    if found.cluster != options.cluster {
        let (found, wanted) = (found.cluster, options.cluster.clone());
        return Err(OpenError::OtherCluster { found, wanted });
    }
    let core = Core::new(db, options)?;
    core.revoke_all()?;
    Ok(core)
}
