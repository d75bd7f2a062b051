//! Where the records of this broker's partitions are, as Kafka's log dirs: its tools show them (DescribeLogDirs) and
//! name them (AlterReplicaLogDirs).

use std::path::Path;

use alluvium_common::object_store::Location;
use alluvium_segment::object_key::{SEGMENTS_PREFIX, TABLES_PREFIX};

use crate::config::Config;

/// The tiers that a record goes through, from new to old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// What is not in object storage yet: the tail and the write-ahead log.
    Data,
    /// Segments, which hold what is not published.
    Segments,
    /// Table files, which hold what is published.
    Tables,
}

impl Tier {
    /// All of them, from new to old.
    pub const ALL: [Self; 3] = [Self::Data, Self::Segments, Self::Tables];
}

/// What each tier is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    data: String,
    segments: String,
    tables: String,
}

impl Tiers {
    /// Of a broker with that configuration; `objects`: what its object store is called, without secrets.
    pub fn new(config: &Config, objects: &str) -> Self {
        let data = absolute(Path::new(&config.data_dir));
        let given = config.object_store.as_deref().unwrap_or(objects);
        // Folders have no secrets, and are shown in full wherever the process was started.
        let objects = match Location::parse(given) {
            Ok(Location::Local(folder)) => absolute(&folder),
            _ => objects.to_owned(),
        };
        let within = |prefix: &str| {
            let (objects, prefix) = (objects.trim_end_matches('/'), prefix.trim_end_matches('/'));
            format!("{objects}/{prefix}")
        };
        Self {
            data,
            segments: within(SEGMENTS_PREFIX),
            tables: within(TABLES_PREFIX),
        }
    }

    /// What a tier is called.
    pub fn path(&self, tier: Tier) -> &str {
        match tier {
            Tier::Data => &self.data,
            Tier::Segments => &self.segments,
            Tier::Tables => &self.tables,
        }
    }

    /// The tier that is called so.
    pub fn called(&self, path: &str) -> Option<Tier> {
        let mut tiers = Tier::ALL.into_iter().rev();
        tiers.find(|tier| self.path(*tier) == path)
    }
}

/// Without a slash at the end, as Kafka shows its own.
fn absolute(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let text = absolute.to_string_lossy();
    match text.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(data_dir: &str, object_store: Option<&str>, objects: &str) -> [String; 3] {
        let config = Config {
            data_dir: data_dir.to_owned(),
            object_store: object_store.map(str::to_owned),
            ..Config::default()
        };
        let tiers = Tiers::new(&config, objects);
        Tier::ALL.map(|tier| {
            assert_eq!(tiers.called(tiers.path(tier)), Some(tier));
            tiers.path(tier).to_owned()
        })
    }

    #[test]
    fn folders_are_absolute() {
        let here = std::env::current_dir().expect("a folder");
        let here = here.to_str().expect("text");
        assert_eq!(
            tiers("data", None, "data/objects"),
            [
                format!("{here}/data"),
                format!("{here}/data/objects/segments"),
                format!("{here}/data/objects/tables")
            ]
        );
        let elsewhere = ["/d", "/with space/segments", "/with space/tables"];
        assert_eq!(
            tiers("/d/", Some("file:///with%20space"), "file:///with%20space"),
            elsewhere
        );
        assert_eq!(
            tiers("/", Some("/o/"), "/o/"),
            ["/", "/o/segments", "/o/tables"]
        );
    }

    #[test]
    fn buckets_are_shown_without_secrets() {
        assert_eq!(
            tiers("/d", Some("s3://bucket/a/"), "s3://bucket/a/"),
            ["/d", "s3://bucket/a/segments", "s3://bucket/a/tables"]
        );
        let [_, segments, tables] = tiers(
            "/d",
            Some("abfss://secret@account.dfs.core.windows.net/a"),
            "abfss://***@account.dfs.core.windows.net/a",
        );
        assert_eq!(
            [&*segments, &*tables],
            [
                "abfss://***@account.dfs.core.windows.net/a/segments",
                "abfss://***@account.dfs.core.windows.net/a/tables"
            ]
        );
        let [_, segments, _] = tiers("/d", Some("memory:"), "memory:");
        assert_eq!(segments, "memory:/segments");
    }

    #[test]
    fn other_names_are_of_no_tier() {
        let tiers = Tiers::new(&Config::default(), "s3://bucket");
        for other in ["", "/", "tables", "s3://bucket", "s3://bucket/tables/"] {
            assert_eq!(tiers.called(other), None, "{other:?}");
        }
    }
}
