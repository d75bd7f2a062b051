//! One typed configuration.
//!
//! A setting is named by a dotted key; where Kafka has the setting it keeps Kafka's name. Values come
//! from, weakest first: the default in `settings.rs`, a TOML file, the environment
//! (`ALLUVIUM_MESSAGE_MAX_BYTES` for `message.max.bytes`), and flags. An unknown key is an error
//! wherever it comes from, because a misspelt setting that is silently ignored costs a night.

mod load;
mod reference;
mod settings;
mod value;

pub use alluvium_metadata::model::{Role, Roles};
pub use load::{ConfigError, Loaded, Source, load};
pub use reference::print_reference;
pub use settings::{Config, Definition, definitions};
pub use value::{ByteSize, Endpoint, MetadataLocation, Millis, Price, Secret, SettingValue};
