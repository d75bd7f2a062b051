//! The brokers under test, each a process of its own on ports picked free, with its data in a folder of the run.

mod process;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

pub use process::Broker;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemKind {
    /// Apache Kafka, one KRaft node.
    Kafka,
    /// `alluvium serve`.
    Alluvium,
}

/// How the brokers are started.
#[derive(Debug, Clone)]
pub struct Systems {
    /// The repository, for `tests/kafka/kafka.sh`.
    pub repository: PathBuf,
    /// The binary `alluvium`.
    pub alluvium: PathBuf,
    /// More arguments for `alluvium serve`, such as another object store.
    pub alluvium_args: Vec<String>,
    /// JVM heap of Kafka.
    pub heap: String,
}

impl Systems {
    /// Starts `kind` on `data`, a folder that may be new or left by an earlier run. Returns at once: how long the
    /// broker takes to answer is measured by whoever asks it.
    pub fn start(&self, kind: SystemKind, data: &Path) -> Result<Broker> {
        fs::create_dir_all(data)?;
        let listen = free_address()?;
        let second = free_address()?;
        let mut command = match kind {
            SystemKind::Kafka => {
                let mut command = Command::new("bash");
                command
                    .arg(self.repository.join("tests/kafka/kafka.sh"))
                    .arg("serve");
                command.args([
                    "--listen",
                    &listen.to_string(),
                    "--controller",
                    &second.to_string(),
                ]);
                command.arg("--data").arg(data).args(["--heap", &self.heap]);
                command
            }
            SystemKind::Alluvium => {
                let mut command = Command::new(&self.alluvium);
                command.arg("serve").args([
                    "--listen",
                    &listen.to_string(),
                    "--http",
                    &second.to_string(),
                ]);
                command
                    .arg("--data-dir")
                    .arg(data)
                    .args(&self.alluvium_args);
                command
            }
        };
        let metrics = (kind == SystemKind::Alluvium).then_some(second);
        Broker::spawn(&mut command, listen, metrics, &data.with_extension("log"))
    }

    /// Bytes that `data` holds for good: Kafka's log segments and indexes, our objects (the write-ahead log and the
    /// metadata store are scratch space of fixed size).
    pub fn stored_bytes(&self, kind: SystemKind, data: &Path) -> Result<u64> {
        let counts = |path: &Path| match kind {
            SystemKind::Kafka => path.extension().is_some_and(|extension| {
                extension == "log" || extension == "index" || extension == "timeindex"
            }),
            SystemKind::Alluvium => path.extension().is_some_and(|extension| extension == "seg"),
        };
        let mut bytes = 0;
        walk(data, &mut |path, metadata| {
            if counts(path) {
                bytes += metadata.len();
            }
            Ok(())
        })?;
        Ok(bytes)
    }
}

/// Drops the folder's files from the page cache, so that the next reader finds them on disk. Only files whose pages
/// are clean can be dropped, so they are synced first.
pub fn evict_page_cache(folder: &Path) -> Result<()> {
    walk(folder, &mut |path, metadata| {
        if metadata.len() > 0 {
            let file = fs::File::open(path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok(())
    })
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        // A file may be deleted while the folder is read.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            walk(&path, visit)?;
        } else if metadata.is_file() {
            visit(&path, &metadata)?;
        }
    }
    Ok(())
}

/// An address nobody listens on now. Another process could take it before the broker does: then the run fails and says so.
fn free_address() -> Result<SocketAddr> {
    let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    ensure!(address.port() != 0, "no free port");
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_kept_counts_as_stored() {
        let folder = std::env::temp_dir().join(format!("alluvium-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/1.seg"), [0; 100]).unwrap();
        fs::write(folder.join("a/1.wal"), [0; 1000]).unwrap();
        fs::write(folder.join("a/1.log"), [0; 7]).unwrap();
        let systems = Systems {
            repository: PathBuf::new(),
            alluvium: PathBuf::new(),
            alluvium_args: Vec::new(),
            heap: String::new(),
        };
        assert_eq!(
            systems.stored_bytes(SystemKind::Alluvium, &folder).unwrap(),
            100
        );
        assert_eq!(systems.stored_bytes(SystemKind::Kafka, &folder).unwrap(), 7);
        evict_page_cache(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
