//! File access as a seam: the real folder, and in tests a disk that crashes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blocks::{BLOCK_BYTES, BlockBuffer};

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
    /// Writes all of `blocks`. The position, the length and the address are multiples of
    /// [`BLOCK_BYTES`](super::BLOCK_BYTES).
    fn write_blocks(&self, position: u64, blocks: &[u8]) -> io::Result<()>;
    /// Makes all earlier writes durable, the file's size included (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// A real folder. It must belong to this process alone: the data folder's lock sees to that.
#[derive(Debug)]
pub struct DirDisk {
    path: PathBuf,
    direct: bool,
}

/// Written and removed when a folder is opened; [`super::names`] does not know it.
const PROBE: &str = "probe";

impl DirDisk {
    /// Uses the folder `path`, making it when it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
            File::open(parent)?.sync_all()?;
        }
        let direct = takes_direct_writes(path);
        if let Err(error) = &direct {
            let folder = path.display();
            tracing::info!(%error, %folder, "the write-ahead log goes through the page cache");
        }
        Ok(Self {
            path: path.to_owned(),
            direct: direct.is_ok(),
        })
    }

    #[cfg(test)]
    pub(super) fn without_direct_writes(self) -> Self {
        let direct = false;
        Self { direct, ..self }
    }

    fn file(&self, options: &OpenOptions, name: &str) -> io::Result<Arc<dyn WalFile>> {
        let path = self.path.join(name);
        let file = options.open(&path)?;
        let direct = if self.direct {
            Some(direct_options().open(&path)?)
        } else {
            None
        };
        Ok(Arc::new(DirFile { file, direct }))
    }
}

fn direct_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::DIRECT.bits();
    options.write(true).custom_flags(flags.cast_signed());
    options
}

/// Tries it: some file systems refuse to open a file so, others to write it.
fn takes_direct_writes(folder: &Path) -> io::Result<()> {
    let path = folder.join(PROBE);
    let written = direct_options().create(true).open(&path).and_then(|file| {
        let direct = None; // `file` itself is
        let mut block = BlockBuffer::new(BLOCK_BYTES);
        block.add(&DirFile { file, direct }, &[0; BLOCK_BYTES])
    });
    // Left behind, it is 4 KiB that nothing minds.
    let _ = std::fs::remove_file(&path);
    written
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
        self.file(&options, name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn WalFile>> {
        self.file(OpenOptions::new().read(true).write(true), name)
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

struct DirFile {
    file: File,
    /// The same file for writing past the page cache, where the file system can.
    direct: Option<File>,
}

impl WalFile for DirFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    fn write_blocks(&self, position: u64, blocks: &[u8]) -> io::Result<()> {
        let file = self.direct.as_ref().unwrap_or(&self.file);
        file.write_all_at(blocks, position)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}
