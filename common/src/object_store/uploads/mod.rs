//! Uploads in parts that were begun and neither completed nor given up.
//!
//! A store that takes uploads in parts keeps, and bills, the parts of one whose writer has died: they are no object, so no
//! listing shows them. `object_store` cannot list them either; this is the seam for the stores of which we can.
//!
//! | Store | Parts of a writer that died |
//! |---|---|
//! | S3, and what speaks its protocol | stay until somebody aborts the upload: [`s3`] |
//! | Google | the same; not listed here, a lifecycle rule of the bucket does it |
//! | Azure | dropped by the store itself after a week |
//! | local folder | one staged file, removed when the folder is opened again |

mod listing;
mod metered;
pub mod s3;

use std::fmt;

use ::object_store::Result;
use ::object_store::path::Path;
use async_trait::async_trait;

pub(super) use self::metered::MeteredUploads;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnfinishedUpload {
    /// The object that it was to become.
    pub location: Path,
    /// What tells it from other uploads for the same object.
    pub id: String,
}

/// Where the next page of a listing begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadMarker {
    /// The last name told, in the store's own words.
    pub key: String,
    /// The last id told of that name.
    pub id: Option<String>,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// A thousand at most.
    pub uploads: Vec<UnfinishedUpload>,
    /// There are more behind it.
    pub next: Option<UploadMarker>,
}

/// A store that can tell of unfinished uploads. Nothing is retried: who asks does so again another time.
#[async_trait]
pub trait UnfinishedUploads: fmt::Debug + Send + Sync {
    /// Uploads of objects below the folder `prefix`, by name: the first page, or the one `after` another.
    ///
    /// # Errors
    /// The store does not tell; some need a permission for it.
    async fn list(&self, prefix: &Path, after: Option<UploadMarker>) -> Result<UploadPage>;

    /// Drops the parts. One that is not there any more is dropped already. After it the upload cannot be completed.
    ///
    /// # Errors
    /// The store did not, or it is unknown whether it did.
    async fn abort(&self, upload: &UnfinishedUpload) -> Result<()>;
}
