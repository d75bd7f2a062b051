//! Opening a log: what earlier sessions left, judged as a whole before anything is done with it.

use std::io;
use std::sync::Arc;

use alluvium_common::epoch::BrokerEpoch;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::FormatError;
use alluvium_segment::record_batch::StoredBatch;
use alluvium_segment::wal_frame::{self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, WalFileHeader};
use bytes::Bytes;

use super::blocks::BLOCK_BYTES;
use super::disk::WalDisk;
use super::error::WalOpenError;
use super::keeper;
use super::names::{self, Kind};
use super::pool::{Files, Pool, SpareFile, UsedFile};
use super::scan::{Cursor, Scan};
use super::slot::{FilePin, WalSlot};
use super::{WalOptions, WalSession};

/// A file with frames of earlier sessions.
struct Recovered {
    pin: Arc<FilePin>,
    file_bytes: u64,
    scan: Scan,
}

/// What earlier sessions left. The files stay on disk until [`WalRecovery::release`]; dropping this
/// without it leaves them for the next start.
pub struct WalRecovery {
    files: Vec<Recovered>,
    next_sequence: u64,
}

/// One frame of an earlier session.
#[derive(Debug)]
pub struct RecoveredFrame {
    /// The session that appended it.
    pub broker_epoch: BrokerEpoch,
    /// Its number in the log.
    pub sequence: u64,
    /// The batch's partition.
    pub tp: TopicPartition,
    /// The batch, with the offset it was given.
    pub batch: StoredBatch,
    /// Reads the batch back later; keeps the file from being reused.
    pub slot: Arc<WalSlot>,
}

impl WalRecovery {
    /// Number of frames.
    pub fn frame_count(&self) -> u64 {
        self.files.iter().map(|file| file.scan.frames).sum()
    }

    /// Bytes of frames.
    pub fn frame_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.scan.frame_bytes).sum()
    }

    /// File and position where the recovered frames end: what the last session had begun to write
    /// behind that was never synced, and is cut off.
    pub fn end(&self) -> Option<(&str, u64)> {
        let last = self.files.iter().rfind(|file| file.scan.frames > 0)?;
        Some((&last.pin.name, last.scan.end))
    }

    /// Sequence of the next frame to be appended.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The frames in the order in which they were appended, read one at a time. An error ends them.
    pub fn frames(&self) -> RecoveredFrames<'_> {
        RecoveredFrames {
            files: &self.files,
            position: FILE_HEADER_BYTES as u64,
            failed: false,
        }
    }

    /// All frames are in object storage, committed, or known not to be needed: gives the files back.
    pub fn release(self) {
        for file in &self.files {
            file.pin.unhold();
        }
    }
}

/// Iterator of [`WalRecovery::frames`]. Blocks on the disk.
pub struct RecoveredFrames<'a> {
    files: &'a [Recovered],
    position: u64,
    failed: bool,
}

impl Iterator for RecoveredFrames<'_> {
    type Item = Result<RecoveredFrame, WalOpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((file, rest)) = self.files.split_first() {
            if self.failed {
                return None;
            }
            if self.position < file.scan.end {
                let frame = read_frame(file, &mut self.position);
                self.failed = frame.is_err();
                return Some(frame);
            }
            self.files = rest;
            self.position = FILE_HEADER_BYTES as u64;
        }
        None
    }
}

fn read_frame(file: &Recovered, position: &mut u64) -> Result<RecoveredFrame, WalOpenError> {
    let pin = &file.pin;
    let damaged = |source| WalOpenError::File {
        file: pin.name.clone(),
        source,
    };
    let mut header = [0; FRAME_HEADER_BYTES];
    pin.file.read_exact_at(*position, &mut header)?;
    let header = wal_frame::decode_header(pin.salt, &header).map_err(damaged)?;
    let batch_bytes = header.batch_bytes as usize;
    let mut frame = vec![0; FRAME_HEADER_BYTES + batch_bytes];
    pin.file.read_exact_at(*position, &mut frame)?;
    wal_frame::decode(pin.salt, &frame).map_err(damaged)?;
    let batch = Bytes::from(frame).slice(FRAME_HEADER_BYTES..);
    let batch = StoredBatch::from_stored(batch).map_err(|error| damaged(error.into()))?;
    let slot = WalSlot::recovered(batch_bytes, Arc::clone(pin), *position);
    *position += wal_frame::frame_bytes(batch_bytes) as u64;
    Ok(RecoveredFrame {
        broker_epoch: header.broker_epoch,
        sequence: header.sequence,
        tp: header.tp,
        batch,
        slot: Arc::new(slot),
    })
}

/// Reads and judges the folder, then makes the first file of this session.
pub(super) fn open(
    disk: Arc<dyn WalDisk>,
    options: WalOptions,
    session: &WalSession,
) -> Result<(Arc<Pool>, WalRecovery), WalOpenError> {
    let options = WalOptions {
        file_bytes: options.file_bytes.next_multiple_of(BLOCK_BYTES as u64),
        ..options
    };
    let found = Found::list(&*disk)?;
    let mut scanned = Vec::with_capacity(found.used.len());
    for number in &found.used {
        scanned.push(scan_file(&*disk, *number)?);
    }
    judge(&scanned)?;
    let mut files = Files {
        next_number: found.next_number,
        ..Files::default()
    };
    for file in &scanned {
        files.total_bytes += file.file_bytes;
        files.used.push_back(UsedFile {
            number: file.pin.number,
            name: file.pin.name.clone(),
            file_bytes: file.file_bytes,
            given_back: false,
        });
    }
    adopt_spares(&*disk, &found.spare, options, &mut files)?;
    let next_sequence = next_sequence(&scanned);
    let random = Arc::clone(&session.random);
    let pool = Arc::new(Pool::new(disk, options, random, files));
    let files = scanned
        .into_iter()
        .map(|file| file.held_by(&pool))
        .collect();
    prepare_first(&pool);
    let recovery = WalRecovery {
        files,
        next_sequence,
    };
    Ok((pool, recovery))
}

/// Numbers of the folder's files, by kind, ascending.
struct Found {
    used: Vec<u64>,
    spare: Vec<u64>,
    next_number: u64,
}

impl Found {
    /// Removes what was not finished when the last session ended.
    fn list(disk: &dyn WalDisk) -> io::Result<Self> {
        let (mut used, mut spare, mut next_number) = (Vec::new(), Vec::new(), 1);
        for file in disk.list()? {
            let Some((kind, number)) = names::parse(&file) else {
                continue;
            };
            next_number = next_number.max(number.saturating_add(1));
            match kind {
                Kind::InUse => used.push(number),
                Kind::Spare => spare.push(number),
                Kind::New => disk.remove(&file)?,
            }
        }
        used.sort_unstable();
        spare.sort_unstable();
        Ok(Self {
            used,
            spare,
            next_number,
        })
    }
}

fn scan_file(disk: &dyn WalDisk, number: u64) -> Result<Recovered, WalOpenError> {
    let name = names::name(Kind::InUse, number);
    let file = disk.open(&name)?;
    let damaged = |source| WalOpenError::File {
        file: name.clone(),
        source,
    };
    let size = file.size_bytes()?;
    let mut header = vec![0; size.min(FILE_HEADER_BYTES as u64) as usize];
    file.read_exact_at(0, &mut header)?;
    let header = WalFileHeader::decode(&header).map_err(damaged)?;
    if header.file_bytes != size {
        return Err(damaged(FormatError::Malformed(
            "WAL file: its size changed",
        )));
    }
    // What is read here may be in the kernel's memory only, since the process may have died between
    // write and sync. It must not vanish after it was recovered, when later frames rely on it (W5).
    file.sync()?;
    let pin = FilePin::new(number, name, header.salt, file);
    let scan = Cursor::new(&pin, size).scan()?;
    let pin = Arc::new(pin);
    Ok(Recovered {
        pin,
        file_bytes: size,
        scan,
    })
}

impl Recovered {
    /// Ties the file to its pool, and holds it until the recovery is released.
    fn held_by(self, pool: &Arc<Pool>) -> Self {
        let old = &self.pin;
        let pin = FilePin::new(
            old.number,
            old.name.clone(),
            old.salt,
            Arc::clone(&old.file),
        );
        let pin = Arc::new(pin.with_pool(pool));
        pin.hold(1);
        Self { pin, ..self }
    }
}

/// W4: frames continue from file to file, and what ends them is a torn tail.
fn judge(files: &[Recovered]) -> Result<(), WalOpenError> {
    let with_frames: Vec<_> = files
        .iter()
        .filter(|f| f.scan.sequences.is_some())
        .collect();
    for pair in with_frames.windows(2) {
        let (Some((_, next)), Some((first, _))) = (pair[0].scan.sequences, pair[1].scan.sequences)
        else {
            continue;
        };
        if first != next {
            let behind = &pair[1].pin.name;
            let what = format!("frame {next} is expected, but {behind} goes on with {first}");
            return Err(corrupt(pair[0], what));
        }
    }
    // A file that another one continues is complete. Those from the last one with frames on may end
    // in a torn write; the file prepared to be next has no frames at all.
    let last = with_frames.last().map_or(0, |file| file.pin.number);
    for file in files.iter().filter(|file| file.pin.number >= last) {
        let end = file.scan.end;
        let mut cursor = Cursor::new(&file.pin, file.file_bytes);
        if let Some(position) = cursor.find_proof_of_loss(end)? {
            let what = format!("the frame at {position} was written after this one was durable");
            return Err(corrupt(file, what));
        }
    }
    Ok(())
}

fn corrupt(file: &Recovered, what: String) -> WalOpenError {
    WalOpenError::Corrupt {
        file: file.pin.name.clone(),
        position: file.scan.end,
        what,
    }
}

fn next_sequence(files: &[Recovered]) -> u64 {
    let mut sequences = files.iter().filter_map(|file| file.scan.sequences);
    sequences.next_back().map_or(1, |(_, next)| next)
}

/// Takes over preallocated files of the usual size; others (the size was reconfigured) are removed.
fn adopt_spares(
    disk: &dyn WalDisk,
    numbers: &[u64],
    options: WalOptions,
    files: &mut Files,
) -> io::Result<()> {
    for number in numbers {
        let name = names::name(Kind::Spare, *number);
        let file = disk.open(&name)?;
        let file_bytes = file.size_bytes()?;
        let fits = files.total_bytes + file_bytes <= options.limit_bytes;
        if file_bytes != options.file_bytes || !fits {
            disk.remove(&name)?;
            continue;
        }
        files.total_bytes += file_bytes;
        files.spare.push(SpareFile {
            name,
            file,
            file_bytes,
        });
    }
    Ok(())
}

/// The first file is made here and not by the keeper, so that the first append does not wait: a
/// spare one, or a small new one. A disk without room for it opens all the same: full.
fn prepare_first(pool: &Arc<Pool>) {
    let has_spare = !pool.files.lock().spare.is_empty();
    let file_bytes = match has_spare {
        true => pool.options.file_bytes,
        false => pool.options.first_file_bytes.min(pool.options.file_bytes),
    };
    let prepared = keeper::prepare_file(pool, file_bytes);
    let mut files = pool.files.lock();
    match prepared {
        Ok(ready) => files.ready = Some(ready),
        Err(error) => files.blocked = Some(error.to_string()),
    }
    pool.publish(&files);
}

/// Frames of a log, for tests of other stages.
#[cfg(test)]
impl WalRecovery {
    pub(crate) fn all(&self) -> Vec<RecoveredFrame> {
        self.frames().map(|frame| frame.expect("scanned")).collect()
    }
}
