//! Reading files: whole, in part, in several parts. All of it blocking; the store moves it off the
//! async threads.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path as FsPath;

use ::object_store::path::Path;
use ::object_store::{GetOptions, ObjectMeta, Result};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::{blocking, errors};

/// Bytes read at once. A get of at most this much costs one hop to a blocking thread and no copy;
/// larger ones hold no more than this in memory at a time.
const CHUNK_BYTES: u64 = 4 << 20;

/// An opened object.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) meta: ObjectMeta,
    pub(super) range: Range<u64>,
}

/// Opens `file` as the object `location` and checks what `options` ask of it.
pub(super) fn open(file: &FsPath, location: Path, options: &GetOptions) -> Result<Opened> {
    let (file, metadata) = open_file(file, &location)?;
    let meta = meta_of(location, &metadata);
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        Some(range) => range
            .as_range(meta.size)
            .map_err(|error| errors::generic(error.into()))?,
        None => 0..meta.size,
    };
    Ok(Opened { file, meta, range })
}

fn open_file(path: &FsPath, location: &Path) -> Result<(File, Metadata)> {
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    let (file, metadata) = opened.map_err(|error| errors::reading(location, error))?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        let not_an_object = io::Error::new(io::ErrorKind::NotFound, "it is a folder");
        Err(errors::reading(location, not_an_object))
    }
}

/// What the file system knows of an object. The entity tag changes whenever a file is replaced,
/// because the inode does, or written to, because the time does.
pub(super) fn meta_of(location: Path, metadata: &Metadata) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: metadata.modified().unwrap_or(std::time::UNIX_EPOCH).into(),
        size: metadata.len(),
        e_tag: Some(tag_of(metadata)),
        version: None,
    }
}

pub(super) fn tag_of(metadata: &Metadata) -> String {
    format!(
        "{:x}-{:x}.{:x}-{:x}",
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len()
    )
}

/// The bytes of several ranges of one file, read in the order asked.
pub(super) fn ranges(file: &FsPath, location: &Path, wanted: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let (file, metadata) = open_file(file, location)?;
    let read = |range: &Range<u64>| {
        let range = ::object_store::GetRange::Bounded(range.clone())
            .as_range(metadata.len())
            .map_err(|error| errors::generic(error.into()))?;
        read_exact(&file, location, range)
    };
    wanted.iter().map(read).collect()
}

/// Reads `range`, which lies within the file as it was when opened.
fn read_exact(file: &File, location: &Path, range: Range<u64>) -> Result<Bytes> {
    let length =
        usize::try_from(range.end - range.start).map_err(|error| errors::generic(error.into()))?;
    // Not zeroed first: that costs about as much as reading from the page cache.
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let position = range.start + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), position) {
            Ok(0) => {
                let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(errors::reading(location, cut));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(errors::reading(location, error.into())),
        }
    }
    // A vector may have got more room than it asked for, and the read more than was wanted.
    buffer.truncate(length);
    Ok(buffer.into())
}

/// The body of an opened object, in chunks; a small one is read here and now.
pub(super) fn body(opened: Opened) -> Result<BoxStream<'static, Result<Bytes>>> {
    let Opened { file, meta, range } = opened;
    let length = range.end - range.start;
    if length == 0 {
        return Ok(futures::stream::empty().boxed());
    }
    if length <= CHUNK_BYTES {
        let bytes = read_exact(&file, &meta.location, range)?;
        return Ok(futures::stream::iter([Ok(bytes)]).boxed());
    }
    let chunks = futures::stream::try_unfold((file, range), move |(file, rest)| {
        let location = meta.location.clone();
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let end = rest.end.min(rest.start + CHUNK_BYTES);
            let (file, bytes) = blocking(move || {
                let bytes = read_exact(&file, &location, rest.start..end)?;
                Ok((file, bytes))
            })
            .await?;
            Ok(Some((bytes, (file, end..rest.end))))
        }
    });
    Ok(chunks.into_stream().boxed())
}
