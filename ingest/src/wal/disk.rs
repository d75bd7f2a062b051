//! File access as a seam: the real folder, and in tests a disk that crashes.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of files, flat. Creating, renaming and removing are durable after
/// [`WalDisk::sync_dir`], not before.
pub trait WalDisk: Send + Sync {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; an existing one is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>>;
    /// Renames; an existing `to` is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all earlier creates, renames and removes durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One file.
pub trait WalFile: Send + Sync {
    /// Its size.
    fn size_bytes(&self) -> io::Result<u64>;
    /// Fills `buffer` from `position` on; an error when the file ends before.
    fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes some of `slices`, in order, at `position`; returns the bytes written, which may be
    /// fewer than all but not none.
    fn write_at(&self, position: u64, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Makes all earlier writes durable, the file's size included (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of `slices` at `position`.
pub(super) fn write_all_at(
    file: &dyn WalFile,
    mut position: u64,
    mut slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    /// `IOV_MAX` of Linux: more slices in one call are refused.
    const SLICES_MAX: usize = 1024;
    while !slices.is_empty() {
        let count = slices.len().min(SLICES_MAX);
        match file.write_at(position, &slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A real folder. It must belong to this process alone: the data folder's lock sees to that.
#[derive(Debug)]
pub struct DirDisk {
    path: PathBuf,
}

impl DirDisk {
    /// Uses the folder `path`, making it when it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
            File::open(parent)?.sync_all()?;
        }
        let path = path.to_owned();
        Ok(Self { path })
    }
}

impl WalDisk for DirDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is not ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl WalFile for File {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, position)
    }

    fn write_at(&self, position: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::pwritev(self, slices, position)?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self)?)
    }
}
