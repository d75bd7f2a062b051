//! The object-store seam. The seam is `object_store`'s own trait, [`ObjectStore`]; this module opens
//! stores from a URL and an environment, makes the local folder durable, and puts our decorators
//! around whatever was opened.
//!
//! ```text
//! caller -> limit -> retry -> metrics -> [fault] -> [prefix] -> local folder | S3 | GCS | Azure | memory
//! ```
//!
//! - `limit` bounds the requests in flight. It is outermost, so a request that is being retried keeps
//!   its place and a store in trouble sees less load, not more.
//! - [`retry`] is the only retry policy. It also notices a store that hangs.
//! - [`metrics`] is below it and counts what the store is really asked.
//! - [`fault`] exists in tests only, and below the metrics, so that injected faults look like real ones.
//!
//! Beside it is a smaller seam, [`uploads`], for what is left of uploads in parts whose writer has died.
//!
//! [`probe`] says at start-up whether the store is usable and, if not, what to do.

mod checked;
mod cloud;
pub mod conformance;
mod environment;
pub mod failure;
pub mod fault;
pub mod http;
pub mod local;
mod location;
pub mod metrics;
mod open;
mod operation;
mod prefix;
pub mod probe;
pub mod retry;
pub mod uploads;

pub use ::object_store::{ObjectStore, ObjectStoreExt};

pub use self::checked::{CheckedReadError, read_checked};
pub use self::environment::Environment;
pub use self::failure::{Failure, FailureKind};
pub use self::local::LocalFolder;
pub use self::location::{Location, Provider};
pub use self::metrics::{Holds, Requests, StoreMetrics, TopicRequests};
pub use self::open::{OpenError, OpenedStore, StoreComponents, StoreSettings, decorate, open};
pub use self::operation::{BilledAs, Operation};
pub use self::retry::RetryPolicy;
pub use self::uploads::{UnfinishedUpload, UnfinishedUploads, UploadMarker, UploadPage};
