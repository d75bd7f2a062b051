//! Keeps the memory of a virtual machine from deciding the comparison.
//!
//! A hypervisor may take back pages that the guest has freed (free page reporting), and a fresh guest has not been
//! given most of its pages yet. The next use of such a page is a fault in the host, and the guest books it as CPU time of
//! whoever writes there: measured, 2 CPU-seconds per GB of file written, ten times the cost of the copy. Which broker is
//! hit, and how often, is chance. So the page cache is filled while a system is measured, with a file that is one
//! large hole: brokers then get pages that the page cache gives up, as on a machine that has run for a day.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Left free, for whatever else runs.
const LEFT_FREE_BYTES: u64 = 512 << 20;
/// Read at once.
const STEP_BYTES: usize = 1 << 20;
/// The kernel offers free pages to the hypervisor after two seconds; before that they are cheap to take.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Free memory kept in the page cache until dropped, also what becomes free meanwhile.
#[derive(Debug)]
pub struct Occupied {
    stop: Arc<AtomicBool>,
    holder: Option<JoinHandle<()>>,
}

impl Occupied {
    /// Fills the page cache until [`LEFT_FREE_BYTES`] are left, with a file in `folder`. Says so and does nothing where that
    /// has no effect: the holes of a file system that lives in memory take none.
    pub fn free_memory(folder: &Path) -> io::Result<Self> {
        let mut filler = Filler::new(folder)?;
        let stop = Arc::new(AtomicBool::new(false));
        if !filler.takes_memory()? {
            eprintln!(
                "free memory is not occupied: {} takes none for a hole",
                folder.display()
            );
            return Ok(Self { stop, holder: None });
        }
        filler.fill(&stop)?;
        let stopped = stop.clone();
        let holder = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::park_timeout(LOOK_EVERY);
                if let Err(error) = filler.fill(&stopped) {
                    return eprintln!("free memory is no longer occupied: {error}");
                }
            }
        });
        Ok(Self {
            stop,
            holder: Some(holder),
        })
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(holder) = self.holder.take() {
            holder.thread().unpark();
            // It holds memory only; a panic in it has cost nothing but noise.
            let _ = holder.join();
        }
    }
}

/// Reads a hole round and round. It is larger than memory, so what comes next is not in the page cache any more.
struct Filler {
    file: File,
    file_bytes: u64,
    position: u64,
    buffer: Vec<u8>,
}

impl Filler {
    fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join("hole");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        // Without a name it goes when this process ends, however that happens.
        fs::remove_file(&path)?;
        let file_bytes = 2 * meminfo("MemTotal:")?;
        file.set_len(file_bytes)?;
        Ok(Self {
            file,
            file_bytes,
            position: 0,
            buffer: vec![0; STEP_BYTES],
        })
    }

    /// Whether a hole of this file system takes page cache when it is read; in memory itself it does not.
    fn takes_memory(&self) -> io::Result<bool> {
        /// Of Linux' `linux/magic.h`.
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        let found = rustix::fs::fstatfs(&self.file)?;
        Ok(found.f_type != TMPFS_MAGIC)
    }

    fn read(&mut self) -> io::Result<()> {
        if self.position + STEP_BYTES as u64 > self.file_bytes {
            self.position = 0;
        }
        self.file.read_exact_at(&mut self.buffer, self.position)?;
        self.position += STEP_BYTES as u64;
        Ok(())
    }

    fn fill(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut left = meminfo("MemFree:")?.saturating_sub(LEFT_FREE_BYTES);
        while left >= STEP_BYTES as u64 && !stop.load(Ordering::Relaxed) {
            self.read()?;
            left -= STEP_BYTES as u64;
        }
        Ok(())
    }
}

/// Bytes that a line of `/proc/meminfo` states.
fn meminfo(name: &str) -> io::Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other(format!("/proc/meminfo has no {name}")))
}
