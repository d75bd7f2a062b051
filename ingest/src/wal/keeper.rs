//! The thread that prepares and recycles files.

use std::io;
use std::sync::Arc;

use alluvium_segment::wal_frame::{FILE_HEADER_BYTES, WalFileHeader};

use super::blocks::{BLOCK_BYTES, BlockBuffer, write_zeroes};
use super::disk::WalFile;
use super::names::{Kind, name};
use super::pool::{Files, Pool, ReadyFile, SpareFile, UsedFile};
use super::slot::FilePin;

/// Spare files kept for reuse; more are removed. Files come back in bursts, as many as a segment in flight
/// and its successors pin; each removed too early is written full of zeroes again for the next burst.
const SPARE_FILES_MAX: usize = 8;

pub(super) struct Keeper {
    pool: Arc<Pool>,
}

impl Keeper {
    pub fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// Works until the pool is closed; then gives back what it can, so that a log with nothing to
    /// recover leaves nothing to read at the next start.
    pub fn run(&self) {
        loop {
            let mut files = self.pool.files.lock();
            while !has_work(&files) {
                if files.blocked.is_none() {
                    self.pool.work.wait(&mut files);
                } else if self.pool.work.wait_for(&mut files, Pool::RETRY).timed_out() {
                    break;
                }
            }
            let closed = files.closed;
            let unused = if closed { files.ready.take() } else { None };
            drop(files);
            drop(unused);
            self.recycle_given_back();
            if closed {
                return;
            }
            prepare(&self.pool);
        }
    }

    fn recycle_given_back(&self) {
        while let Some(used) = pop_given_back(&self.pool) {
            if let Err(error) = recycle(&self.pool, &used) {
                // It stays on disk under its name; the next start recovers it once more, which does
                // no harm, and gives it back again.
                let name = &used.name;
                tracing::warn!(%error, file = name, "cannot recycle write-ahead log file");
            }
        }
    }
}

fn has_work(files: &Files) -> bool {
    let recyclable = files.used.front().is_some_and(|file| file.given_back);
    let wants_file = files.ready.is_none() && files.blocked.is_none();
    files.closed || recyclable || wants_file
}

fn pop_given_back(pool: &Pool) -> Option<UsedFile> {
    let mut files = pool.files.lock();
    let used = files.used.pop_front_if(|file| file.given_back);
    if used.is_some() {
        files.blocked = None;
        pool.publish(&files);
    }
    used
}

/// Makes a spare of a file, or removes it when there are enough or its size is unusual. The folder is
/// synced each time: files must leave in order even if the machine stops (W3, W4).
fn recycle(pool: &Pool, used: &UsedFile) -> io::Result<()> {
    let keep = {
        let files = pool.files.lock();
        files.spare.len() < SPARE_FILES_MAX && used.file_bytes == pool.options.file_bytes
    };
    if keep {
        let spare = name(Kind::Spare, used.number);
        pool.disk.rename(&used.name, &spare)?;
        pool.disk.sync_dir()?;
        let file = pool.disk.open(&spare)?;
        let file_bytes = used.file_bytes;
        pool.files.lock().spare.push(SpareFile {
            name: spare,
            file,
            file_bytes,
        });
    } else {
        pool.disk.remove(&used.name)?;
        pool.disk.sync_dir()?;
        pool.files.lock().total_bytes -= used.file_bytes;
    }
    Ok(())
}

/// Has a file ready, if one can be had.
fn prepare(pool: &Arc<Pool>) {
    let wanted_bytes = {
        let mut files = pool.files.lock();
        if files.ready.is_some() {
            return;
        }
        std::mem::take(&mut files.wanted_bytes)
    };
    let file_bytes = pool.options.file_bytes.max(wanted_bytes);
    let prepared = prepare_file(pool, file_bytes);
    let mut files = pool.files.lock();
    match prepared {
        Ok(ready) => {
            files.ready = Some(ready);
            files.blocked = None;
        }
        Err(error) => {
            if files.blocked.is_none() {
                tracing::warn!(%error, "no room for another write-ahead log file");
            }
            files.blocked = Some(error.to_string());
        }
    }
    pool.publish(&files);
}

/// A file of at least `file_bytes`, spare or new, with a fresh header and a name of its own.
pub(super) fn prepare_file(pool: &Arc<Pool>, file_bytes: u64) -> io::Result<ReadyFile> {
    let spare = {
        let mut files = pool.files.lock();
        let fitting = files.spare.iter().position(|s| s.file_bytes >= file_bytes);
        fitting.map(|index| files.spare.swap_remove(index))
    };
    let spare = match spare {
        Some(spare) => spare,
        None => create(pool, file_bytes)?,
    };
    put_to_use(pool, spare)
}

/// Preallocates a file by writing it: appends then change no file-system metadata, which makes a
/// sync two to eight times as fast, and cannot run out of space.
fn create(pool: &Pool, file_bytes: u64) -> io::Result<SpareFile> {
    // The last frame is written with its whole block.
    let file_bytes = file_bytes.next_multiple_of(BLOCK_BYTES as u64);
    let number = {
        let mut files = pool.files.lock();
        if files.total_bytes + file_bytes > pool.options.limit_bytes {
            let limit = pool.options.limit_bytes;
            return Err(io::Error::other(format!(
                "the limit of {limit} bytes is reached"
            )));
        }
        files.total_bytes += file_bytes;
        take_number(&mut files)
    };
    let name = name(Kind::New, number);
    let created = pool
        .disk
        .create(&name)
        .and_then(|file| fill(&*file, file_bytes).map(|()| file));
    match created {
        Ok(file) => Ok(SpareFile {
            name,
            file,
            file_bytes,
        }),
        Err(error) => {
            pool.files.lock().total_bytes -= file_bytes;
            // The half-made file takes the space that others may need; the next start removes it too.
            let _ = pool.disk.remove(&name);
            Err(error)
        }
    }
}

fn fill(file: &dyn WalFile, file_bytes: u64) -> io::Result<()> {
    write_zeroes(file, file_bytes)?;
    file.sync()
}

/// New salt, then the name: a file named as in use always has a valid header.
fn put_to_use(pool: &Arc<Pool>, spare: SpareFile) -> io::Result<ReadyFile> {
    let SpareFile {
        name: old_name,
        file,
        file_bytes,
    } = spare;
    let salt = pool.random.next_u64();
    let number = take_number(&mut pool.files.lock());
    let new_name = name(Kind::InUse, number);
    let header = WalFileHeader { salt, file_bytes }.encode();
    let mut block = BlockBuffer::new(FILE_HEADER_BYTES);
    let renamed = block
        .add(&*file, &header)
        .and_then(|()| file.sync())
        .and_then(|()| pool.disk.rename(&old_name, &new_name))
        .and_then(|()| pool.disk.sync_dir());
    if let Err(error) = renamed {
        // Under which name it is, and with which header, is unknown: not to be used by this process.
        pool.files.lock().total_bytes -= file_bytes;
        return Err(error);
    }
    pool.files.lock().used.push_back(UsedFile {
        number,
        name: new_name.clone(),
        file_bytes,
        given_back: false,
    });
    let pin = FilePin::new(number, new_name, salt, file).with_pool(pool);
    let pin = Arc::new(pin);
    Ok(ReadyFile { pin, file_bytes })
}

fn take_number(files: &mut Files) -> u64 {
    let number = files.next_number;
    files.next_number += 1;
    number
}
