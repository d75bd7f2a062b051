//! From an object's name to its file, refusing every name that could leave the folder.

use std::path::PathBuf;

use ::object_store::path::Path;
use ::object_store::{Error, Result};

use super::{STAGING, STORE};

/// A name that has no file in this store.
#[derive(Debug, thiserror::Error)]
#[error("object name {name:?} cannot be a file below the store's folder: {reason}")]
pub(super) struct RefusedName {
    name: String,
    reason: &'static str,
}

/// The file of object `location`, below `root`.
pub(super) fn file_of(root: &std::path::Path, location: &Path) -> Result<PathBuf> {
    if location.as_ref().is_empty() {
        return Err(refused(location, "it is empty"));
    }
    folder_of(root, location)
}

/// The folder of `prefix`, below `root`; the empty prefix is the root itself.
pub(super) fn folder_of(root: &std::path::Path, prefix: &Path) -> Result<PathBuf> {
    let mut path = root.to_path_buf();
    for (depth, part) in prefix.parts().enumerate() {
        let part = part.as_ref();
        if let Some(reason) = refusal(depth, part) {
            return Err(refused(prefix, reason));
        }
        path.push(part);
    }
    Ok(path)
}

/// [`Path`] already refuses most of these; what it lets through one day must not reach the disk.
fn refusal(depth: usize, part: &str) -> Option<&'static str> {
    if part.is_empty() {
        Some("it has an empty part")
    } else if part == "." || part == ".." {
        Some("it has a part that climbs")
    } else if part.contains(['/', '\0']) {
        Some("it has a slash or a zero byte within a part")
    } else if depth == 0 && part == STAGING {
        Some("that folder holds unfinished files")
    } else {
        None
    }
}

fn refused(location: &Path, reason: &'static str) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(RefusedName {
            name: location.to_string(),
            reason,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        let root = std::path::Path::new("/data");
        let file = file_of(root, &Path::from("a/b=c/d e")).expect("a plain name");
        assert_eq!(file, PathBuf::from("/data/a/b=c/d e"));
        // `Path::from` escapes what would climb, so the file is an odd but harmless one.
        let climbing = file_of(root, &Path::from("../../etc/passwd")).expect("escaped");
        assert!(climbing.starts_with("/data/"));
        assert!(!climbing.to_string_lossy().contains("/../"));
        assert!(Path::parse("a/../b").is_err());
        assert!(file_of(root, &Path::default()).is_err());
        assert!(file_of(root, &Path::from(format!("{STAGING}/x"))).is_err());
        assert_eq!(folder_of(root, &Path::default()).expect("root"), root);
    }
}
