//! Writing files: staged, synced in steps, then placed. All of it blocking except the multipart front.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::object_store::path::Path;
use ::object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use async_trait::async_trait;
use futures::FutureExt;

use super::place::IfExists;
use super::staging::{StagedPath, Unfinished};
use super::steps::StepWriter;
use super::{Folder, blocking, errors, read};

/// Stores `payload` as `target`, durably. Blocking.
pub(super) fn put(
    folder: &Folder,
    location: &Path,
    target: PathBuf,
    payload: &PutPayload,
    if_exists: IfExists,
) -> Result<PutResult> {
    let written = || {
        let unfinished = folder.staging.create()?;
        StepWriter::new(&folder.placer, &unfinished.file).append(payload.as_ref())?;
        finish(
            folder,
            &unfinished.file,
            &unfinished.path,
            &target,
            if_exists,
        )
    };
    written().map_err(|error| errors::writing(&folder.root, location, error))
}

/// Syncs a written file and gives it its name.
fn finish(
    folder: &Folder,
    file: &File,
    staged: &StagedPath,
    target: &std::path::Path,
    if_exists: IfExists,
) -> io::Result<PutResult> {
    folder.placer.finish(file, staged, target, if_exists)?;
    let e_tag = read::tag_of(&file.metadata()?);
    Ok(PutResult {
        e_tag: Some(e_tag),
        version: None,
    })
}

/// Makes `target` another name of the file `source`. Files are replaced, never changed, so the two
/// stay apart; the source was synced when it was put. Blocking.
pub(super) fn copy(
    folder: &Folder,
    source: &std::path::Path,
    (location, target): (&Path, PathBuf),
    if_exists: IfExists,
) -> Result<()> {
    let staged = StagedPath(folder.staging.name());
    std::fs::hard_link(source, &staged.0).map_err(|error| errors::reading(location, error))?;
    folder
        .placer
        .place(&staged, &target, if_exists)
        .map_err(|error| errors::writing(&folder.root, location, error))
}

/// An upload in parts: the parts are written where they belong in one staged file.
#[derive(Debug)]
pub(super) struct Upload {
    folder: Arc<Folder>,
    location: Path,
    target: PathBuf,
    unfinished: Option<Arc<Unfinished>>,
    next_position: u64,
    /// Bytes of parts that are in the file. A part that failed or was never awaited is missing here.
    written_bytes: Arc<AtomicU64>,
}

impl Upload {
    pub(super) async fn start(
        folder: Arc<Folder>,
        location: Path,
        target: PathBuf,
    ) -> Result<Self> {
        blocking(move || {
            let unfinished = folder
                .staging
                .create()
                .map_err(|error| errors::writing(&folder.root, &location, error))?;
            Ok(Self {
                folder,
                location,
                target,
                unfinished: Some(Arc::new(unfinished)),
                next_position: 0,
                written_bytes: Arc::default(),
            })
        })
        .await
    }

    fn take(&mut self) -> Result<Arc<Unfinished>> {
        self.unfinished.take().ok_or_else(|| {
            let ended = io::Error::other("this upload was already completed, aborted or failed");
            errors::writing(&self.folder.root, &self.location, ended)
        })
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let start = self.next_position;
        self.next_position += data.content_length() as u64;
        let (folder, location) = (Arc::clone(&self.folder), self.location.clone());
        let Some(unfinished) = self.unfinished.clone() else {
            return std::future::ready(self.take().map(|_| ())).boxed();
        };
        let written_bytes = Arc::clone(&self.written_bytes);
        blocking(move || {
            let mut position = start;
            let mut writer = StepWriter::new(&folder.placer, &unfinished.file);
            for chunk in data.iter() {
                writer
                    .write_at(chunk, position)
                    .map_err(|error| errors::writing(&folder.root, &location, error))?;
                position += chunk.len() as u64;
            }
            written_bytes.fetch_add(position - start, Ordering::AcqRel);
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let unfinished = self.take()?;
        let (folder, location) = (Arc::clone(&self.folder), self.location.clone());
        let target = self.target.clone();
        let all_written = self.written_bytes.load(Ordering::Acquire) == self.next_position;
        blocking(move || {
            let finished = || {
                // Where a part is missing, the file has a hole, which reads as zeros.
                if !all_written {
                    return Err(io::Error::other("not every part was written"));
                }
                finish(
                    &folder,
                    &unfinished.file,
                    &unfinished.path,
                    &target,
                    IfExists::Replace,
                )
            };
            finished().map_err(|error| errors::writing(&folder.root, &location, error))
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let unfinished = self.take()?;
        blocking(move || {
            drop(unfinished); // removes the staged file
            Ok(())
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // An upload given up without a word: its file goes, but not on a thread that must not block.
        if let (Some(unfinished), Ok(runtime)) = (
            self.unfinished.take(),
            tokio::runtime::Handle::try_current(),
        ) {
            // Perhaps the last holder of the staging folder, which must go after the file.
            let folder = Arc::clone(&self.folder);
            runtime.spawn_blocking(move || {
                drop(unfinished);
                drop(folder);
            });
        }
    }
}
