//! The disk tier's folder.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foyer::{Device, DeviceBuilder, FsDeviceBuilder};

/// Unit of eviction of the disk tier, and the size of its files.
pub(super) const DISK_FILE_BYTES: usize = 64 << 20;

/// Fewest files of the disk tier: one being written, one being emptied, two to read.
const DISK_FILES_MIN: usize = 4;

/// Where the disk tier lives. The folder belongs to the cache alone and may be deleted while the
/// broker is down.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// The folder; made when it is missing.
    pub folder: PathBuf,
    /// Bytes it may take: at least 256 MiB, rounded down to a multiple of 64 MiB.
    pub capacity_bytes: u64,
}

/// Makes the folder and checks that the file system has room: foyer asserts deep inside a worker
/// when it cannot have what it was promised.
pub(super) fn open(config: &DiskConfig) -> io::Result<Arc<dyn Device>> {
    let files = usize::try_from(config.capacity_bytes).unwrap_or(usize::MAX) / DISK_FILE_BYTES;
    if files < DISK_FILES_MIN {
        let least = DISK_FILES_MIN * DISK_FILE_BYTES;
        return Err(io::Error::other(format!(
            "a capacity of {} bytes is too small, the least is {least}",
            config.capacity_bytes
        )));
    }
    let capacity = files * DISK_FILE_BYTES;
    std::fs::create_dir_all(&config.folder)?;
    let free = rustix::fs::statvfs(&config.folder)?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    let room = free.saturating_add(allocated_bytes(&config.folder)?);
    if room < capacity as u64 {
        return Err(io::Error::other(format!(
            "{capacity} bytes are wanted, the file system has room for {room}"
        )));
    }
    FsDeviceBuilder::new(&config.folder)
        .with_capacity(capacity)
        .build()
        .map_err(io::Error::other)
}

/// Takes the space that the cache's (sparse) files stand for, so that a disk filling up later cannot
/// fail its writes.
pub(super) fn reserve(folder: &Path) -> io::Result<()> {
    for file in files(folder)? {
        let file = OpenOptions::new().write(true).open(file)?;
        let length = file.metadata()?.len();
        if length > 0 {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length)?;
        }
    }
    Ok(())
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Bytes of disk that the cache of an earlier run holds already.
fn allocated_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for file in files(folder)? {
        bytes += std::fs::metadata(file)?.blocks() * 512;
    }
    Ok(bytes)
}
