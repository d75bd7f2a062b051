//! A small disk of its own, that a test can fill.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` for want of the right to mount.
    pub fn mount(at: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes what is free, but for `spare` bytes. The file that takes it, to be removed.
    pub fn fill(&self, spare: u64) -> PathBuf {
        let file = self.0.join("filler");
        let space = rustix::fs::statvfs(&self.0).expect("a file system");
        let free = (space.f_bavail * space.f_frsize).saturating_sub(spare);
        // Others may be quicker: a disk that is full already is as good.
        let _full = fs::write(&file, vec![1; usize::try_from(free).unwrap_or(usize::MAX)]);
        file
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn free(&self) {
        let _was_free = fs::remove_file(self.0.join("filler"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
