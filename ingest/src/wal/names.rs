//! Names of files in the log's folder.
//!
//! ```text
//! wal-<number, 16 hex digits>.log     in use; the number orders them
//! spare-<number>.log                  preallocated, content meaningless
//! new-<number>.tmp                    being preallocated; removed at start
//! ```

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    InUse,
    Spare,
    New,
}

impl Kind {
    fn affixes(self) -> (&'static str, &'static str) {
        match self {
            Kind::InUse => ("wal-", ".log"),
            Kind::Spare => ("spare-", ".log"),
            Kind::New => ("new-", ".tmp"),
        }
    }
}

pub(super) fn name(kind: Kind, number: u64) -> String {
    let (prefix, suffix) = kind.affixes();
    format!("{prefix}{number:016x}{suffix}")
}

/// `None` for a name that is not ours: such files are left alone.
pub(super) fn parse(file: &str) -> Option<(Kind, u64)> {
    [Kind::InUse, Kind::Spare, Kind::New]
        .into_iter()
        .find_map(|kind| {
            let (prefix, suffix) = kind.affixes();
            let digits = file.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let number = u64::from_str_radix(digits, 16).ok()?;
            (name(kind, number) == file).then_some((kind, number))
        })
}
