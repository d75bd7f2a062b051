//! What a broker keeps in its data folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the local object store is in the data folder.
const OBJECTS: &str = "objects";
/// Holds what the store has not finished writing.
const STAGING: &str = ".alluvium-staging";

/// Files of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tier {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is kept, by folder: the object store's folders each by themselves.
pub fn tiers(data: &Path) -> io::Result<BTreeMap<String, Tier>> {
    let mut tiers = BTreeMap::<String, Tier>::new();
    for file in files(data)? {
        let of = file.strip_prefix(data).unwrap_or(&file);
        let depth = if of.starts_with(OBJECTS) { 2 } else { 1 };
        let folder: PathBuf = of.parent().into_iter().flatten().take(depth).collect();
        // What lies beside the folders, and what is not finished, is small.
        let is_whole = folder.components().count() == depth;
        if !is_whole || folder.ends_with(STAGING) {
            continue;
        }
        let tier = tiers.entry(folder.display().to_string()).or_default();
        tier.files += 1;
        tier.bytes += file.metadata()?.len();
    }
    Ok(tiers)
}

/// All files below a folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_folder() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let put = |path: &str, bytes: usize| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, vec![0; bytes]).expect("written");
        };
        put("LOCK", 1);
        put("objects/format", 1);
        put("objects/.alluvium-staging/z", 1);
        put("wal/1/a", 10);
        put("wal/b", 5);
        put("objects/tables/t/data/p=1/x.parquet", 7);
        put("objects/tables/t/metadata/m.json", 2);
        put("objects/segments/y.parquet", 3);
        let tiers = tiers(folder.path()).expect("readable");
        let tier = |files, bytes| Tier { files, bytes };
        assert_eq!(tiers["wal"], tier(2, 15));
        assert_eq!(tiers["objects/tables"], tier(2, 9));
        assert_eq!(tiers["objects/segments"], tier(1, 3));
        assert_eq!(tiers.len(), 3);
    }
}
