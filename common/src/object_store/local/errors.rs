//! The local store's errors: what was tried, with which object, and what the system said.

use std::io;
use std::path::{Path as FsPath, PathBuf};

use ::object_store::Error;
use ::object_store::path::Path;

use super::STORE;

/// The disk, or the quota, below the store's folder is full. Nothing was stored.
#[derive(Debug, thiserror::Error)]
#[error("no space left for {location} below {root}; free some, or move the store to a larger disk")]
pub struct NoSpace {
    location: String,
    root: PathBuf,
    #[source]
    source: io::Error,
}

/// Any other failure of the file system.
#[derive(Debug, thiserror::Error)]
#[error("{action} {location} failed: {source}")]
struct FileFailure {
    action: &'static str,
    location: String,
    #[source]
    source: io::Error,
}

pub(super) fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic {
        store: STORE,
        source,
    }
}

pub(super) fn reading(location: &Path, source: io::Error) -> Error {
    match source.kind() {
        // `a` is an object and `a/b` is asked for: there is no such object.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound {
            path: location.to_string(),
            source: Box::new(source),
        },
        _ => failure("reading", location, source),
    }
}

pub(super) fn writing(root: &FsPath, location: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => generic(Box::new(NoSpace {
            location: location.to_string(),
            root: root.to_path_buf(),
            source,
        })),
        io::ErrorKind::AlreadyExists => Error::AlreadyExists {
            path: location.to_string(),
            source: Box::new(source),
        },
        _ => failure("writing", location, source),
    }
}

pub(super) fn deleting(location: &Path, source: io::Error) -> Error {
    failure("deleting", location, source)
}

fn failure(action: &'static str, location: &Path, source: io::Error) -> Error {
    generic(Box::new(FileFailure {
        action,
        location: location.to_string(),
        source,
    }))
}
