//! Listing: a walk over folders that keeps one open folder per level and no list of names, so its
//! memory does not grow with the number of objects.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, ReadDir};
use std::io;
use std::path::{Path as FsPath, PathBuf};

use ::object_store::path::{Path, PathPart};
use ::object_store::{ListResult, ObjectMeta, Result};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{STAGING, blocking, errors, read};

/// Objects found in one visit to a blocking thread.
const BATCH: usize = 1024;

/// Folder levels below the prefix. Our names have fewer than ten; a deeper tree is not ours.
const DEPTH_MAX: usize = 64;

/// Every object below `prefix`, whose folder is `folder`, in no particular order.
pub(super) fn objects(
    root: PathBuf,
    folder: PathBuf,
    prefix: Path,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let walk = Walk {
        root,
        start: Some((folder, prefix)),
        levels: Vec::new(),
    };
    let batches = futures::stream::try_unfold(walk, |mut walk| async move {
        let (walk, found) = blocking(move || {
            let found = walk.next_batch()?;
            Ok((walk, found))
        })
        .await?;
        if found.is_empty() {
            return Ok(None);
        }
        let found = futures::stream::iter(found.into_iter().map(Ok));
        Ok::<_, ::object_store::Error>(Some((found, walk)))
    });
    use futures::TryStreamExt;
    batches.try_flatten().boxed()
}

struct Walk {
    root: PathBuf,
    start: Option<(PathBuf, Path)>,
    levels: Vec<(ReadDir, Path)>,
}

impl Walk {
    /// Up to [`BATCH`] objects; none means the end.
    fn next_batch(&mut self) -> Result<Vec<ObjectMeta>> {
        if let Some((folder, prefix)) = self.start.take() {
            self.enter(&folder, prefix)?;
        }
        let mut found = Vec::new();
        while found.len() < BATCH {
            let Some((entries, prefix)) = self.levels.last_mut() else {
                break;
            };
            let Some(entry) = entries.next() else {
                self.levels.pop();
                continue;
            };
            let entry = entry.map_err(|error| errors::reading(prefix, error))?;
            let prefix = prefix.clone();
            match look_at(&self.root, &entry, &prefix)? {
                Entry::Object(meta) => found.push(meta),
                Entry::Folder(name) => self.enter(&entry.path(), name)?,
                Entry::Nothing => {}
            }
        }
        Ok(found)
    }

    fn enter(&mut self, folder: &FsPath, prefix: Path) -> Result<()> {
        if self.levels.len() == DEPTH_MAX {
            let deep = io::Error::other(format!("more than {DEPTH_MAX} folders deep"));
            return Err(errors::reading(&prefix, deep));
        }
        if let Some(entries) = read_folder(folder, &prefix)? {
            self.levels.push((entries, prefix));
        }
        Ok(())
    }
}

/// The objects and folders directly below `prefix`.
pub(super) fn one_level(root: &FsPath, folder: &FsPath, prefix: &Path) -> Result<ListResult> {
    let mut objects = Vec::new();
    let mut folders = BTreeSet::new();
    if let Some(entries) = read_folder(folder, prefix)? {
        for entry in entries {
            let entry = entry.map_err(|error| errors::reading(prefix, error))?;
            match look_at(root, &entry, prefix)? {
                Entry::Object(meta) => objects.push(meta),
                Entry::Folder(name) => {
                    // An empty folder is no common prefix: object stores have no folders.
                    if holds_an_object(root, &entry.path(), &name, 0)? {
                        folders.insert(name);
                    }
                }
                Entry::Nothing => {}
            }
        }
    }
    Ok(ListResult {
        common_prefixes: folders.into_iter().collect(),
        objects,
    })
}

fn holds_an_object(root: &FsPath, folder: &FsPath, prefix: &Path, depth: usize) -> Result<bool> {
    let Some(entries) = read_folder(folder, prefix)? else {
        return Ok(false);
    };
    for entry in entries {
        let entry = entry.map_err(|error| errors::reading(prefix, error))?;
        let holds = match look_at(root, &entry, prefix)? {
            Entry::Object(_) => true,
            Entry::Folder(name) if depth < DEPTH_MAX => {
                holds_an_object(root, &entry.path(), &name, depth + 1)?
            }
            _ => false,
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

enum Entry {
    Object(ObjectMeta),
    Folder(Path),
    Nothing,
}

/// What a folder's entry is. Links are not followed: they could lead out of the store or in circles.
fn look_at(root: &FsPath, entry: &DirEntry, prefix: &Path) -> Result<Entry> {
    let name = entry.file_name();
    let Some(name) = name.to_str() else {
        return Ok(Entry::Nothing); // never written by us
    };
    if name == STAGING && entry.path().parent() == Some(root) {
        return Ok(Entry::Nothing);
    }
    let Ok(part) = PathPart::parse(name) else {
        return Ok(Entry::Nothing);
    };
    let location: Path = prefix.parts().chain([part]).collect();
    // Deleted since the folder was read: no object, no error.
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entry::Nothing),
        Err(error) => return Err(errors::reading(&location, error)),
    };
    Ok(if metadata.is_file() {
        Entry::Object(read::meta_of(location, &metadata))
    } else if metadata.is_dir() {
        Entry::Folder(location)
    } else {
        Entry::Nothing
    })
}

/// A prefix under which there is nothing is an empty listing, not an error.
fn read_folder(folder: &FsPath, prefix: &Path) -> Result<Option<ReadDir>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(errors::reading(prefix, error)),
    }
}
