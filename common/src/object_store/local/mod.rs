//! A folder of the local file system as an object store whose PUTs are durable.
//!
//! `object_store` 0.13's own `LocalFileSystem` never syncs anything: a PUT that it answered can be
//! gone, or be a name with no bytes behind it, after a power cut. Here a PUT counts only when file
//! and folder are synced (`place.rs`), no unfinished file is ever visible under an object's name, and
//! what a crash leaves behind is removed when the store is opened again (`staging.rs`).
//!
//! Reading a name is reading a file: `a/b/c` is `<root>/a/b/c`, so people can look at a store with
//! ordinary tools. Unlike a bucket, a folder cannot hold both `a` and `a/b`.
//!
//! Deletes are not synced: an object that returns after a power cut is an orphan like any other,
//! and the collector deletes it again. Empty folders stay; removing them would race with writers.

mod errors;
mod names;
mod place;
mod read;
mod staging;
mod steps;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, RenameTargetMode, Result,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};

pub use self::errors::NoSpace;
use self::place::{IfExists, Placer, SystemSync};
use self::staging::Staging;
use crate::rand::Random;

/// How errors and logs name this store.
const STORE: &str = "local folder";

/// The one folder name that is not for objects: it holds unfinished files.
const STAGING: &str = ".alluvium-staging";

/// Files deleted at the same time by one [`ObjectStore::delete_stream`].
const DELETES_IN_FLIGHT: usize = 8;

/// A durable object store in a local folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalFolder {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    staging: Staging,
    placer: Placer,
}

impl LocalFolder {
    /// Opens the store in `root`, making the folder if need be and removing what a crash left.
    /// Blocking: call it before there is anybody to disturb, or from a blocking thread.
    pub fn open(root: impl AsRef<FsPath>, random: &dyn Random) -> std::io::Result<Self> {
        Self::open_with(root.as_ref(), random, Arc::new(SystemSync))
    }

    fn open_with(
        root: &FsPath,
        random: &dyn Random,
        sync: Arc<dyn place::Sync>,
    ) -> std::io::Result<Self> {
        place::create_root(root)?;
        let root = root.canonicalize()?;
        let staging = Staging::open(&root, random.uuid())?;
        Ok(Self {
            folder: Arc::new(Folder {
                placer: Placer::new(root.clone(), sync),
                staging,
                root,
            }),
        })
    }

    fn file_of(&self, location: &Path) -> Result<PathBuf> {
        names::file_of(&self.folder.root, location)
    }
}

impl fmt::Display for LocalFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE} {}", self.folder.root.display())
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: STORE.to_owned(),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LocalFolder {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let if_exists = match opts.mode {
            PutMode::Overwrite => IfExists::Replace,
            PutMode::Create => IfExists::Refuse,
            // Compare-and-replace has no atomic form in a file system; ours is in the metadata store.
            PutMode::Update(_) => return Err(not_implemented("a put that compares versions")),
        };
        if !opts.attributes.is_empty() || !opts.tags.encoded().is_empty() {
            return Err(not_implemented("a put with attributes or tags"));
        }
        let target = self.file_of(location)?;
        let (folder, location) = (Arc::clone(&self.folder), location.clone());
        blocking(move || write::put(&folder, &location, target, &payload, if_exists)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !opts.attributes.is_empty() || !opts.tags.encoded().is_empty() {
            return Err(not_implemented("an upload with attributes or tags"));
        }
        let target = self.file_of(location)?;
        let upload = write::Upload::start(Arc::clone(&self.folder), location.clone(), target);
        Ok(Box::new(upload.await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let file = self.file_of(location)?;
        let location = location.clone();
        blocking(move || {
            let opened = read::open(&file, location, &options)?;
            let (meta, range) = (opened.meta.clone(), opened.range.clone());
            let body = match options.head {
                true => futures::stream::empty().boxed(),
                false => read::body(opened)?,
            };
            Ok(GetResult {
                payload: GetResultPayload::Stream(body),
                meta,
                range,
                attributes: Attributes::default(),
            })
        })
        .await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let file = self.file_of(location)?;
        let (location, ranges) = (location.clone(), ranges.to_vec());
        blocking(move || read::ranges(&file, &location, &ranges)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let root = self.folder.root.clone();
        let delete = move |location: Result<Path>| {
            let root = root.clone();
            blocking(move || {
                let location = location?;
                let file = names::file_of(&root, &location)?;
                match std::fs::remove_file(file) {
                    // Already gone is what was asked for, as at S3.
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(errors::deleting(&location, error))
                    }
                    _ => Ok(location),
                }
            })
        };
        locations.map(delete).buffered(DELETES_IN_FLIGHT).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        match names::folder_of(&self.folder.root, &prefix) {
            Ok(folder) => walk::objects(self.folder.root.clone(), folder, prefix),
            Err(error) => std::future::ready(Err(error)).into_stream().boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        self.list(prefix)
            .try_filter(move |meta| std::future::ready(meta.location > offset))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let folder = names::folder_of(&self.folder.root, &prefix)?;
        let root = self.folder.root.clone();
        blocking(move || walk::one_level(&root, &folder, &prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let if_exists = match options.mode {
            CopyMode::Overwrite => IfExists::Replace,
            CopyMode::Create => IfExists::Refuse,
        };
        let (source, target) = (self.file_of(from)?, self.file_of(to)?);
        let (folder, location) = (Arc::clone(&self.folder), to.clone());
        blocking(move || write::copy(&folder, &source, (&location, target), if_exists)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
            RenameTargetMode::Create => CopyMode::Create,
        };
        self.copy_opts(from, to, CopyOptions::new().with_mode(mode))
            .await?;
        if from != to {
            let from = from.clone();
            let gone = std::future::ready(Ok(from)).into_stream().boxed();
            self.delete_stream(gone)
                .try_for_each(|_| async { Ok(()) })
                .await?;
        }
        Ok(())
    }
}
