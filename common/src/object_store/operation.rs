//! The operations that retries, metrics and faults tell apart.

/// One kind of operation at a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Store an object.
    Put,
    /// Begin, feed or end an upload in parts.
    Upload,
    /// Read an object or a range of it.
    Get,
    /// Read an object's size and tags only.
    Head,
    /// Delete objects.
    Delete,
    /// List names.
    List,
    /// Copy or rename within the store.
    Copy,
}

/// What stores that take money for requests bill one as. Amazon, Google and others have these two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BilledAs {
    /// The dearer kind: what writes, copies or lists.
    Put,
    /// What reads.
    Get,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 7] = [
        Self::Put,
        Self::Upload,
        Self::Get,
        Self::Head,
        Self::Delete,
        Self::List,
        Self::Copy,
    ];

    /// What it is billed as; deleting is free of charge.
    pub fn billed_as(self) -> Option<BilledAs> {
        match self {
            Self::Put | Self::Upload | Self::List | Self::Copy => Some(BilledAs::Put),
            Self::Get | Self::Head => Some(BilledAs::Get),
            Self::Delete => None,
        }
    }

    /// Its name in metrics and messages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Upload => "upload",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Copy => "copy",
        }
    }
}
