//! Kafka's JSON message schemas, as they are written.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One schema file. Keys that a newer Kafka adds are errors, so that none is overlooked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    /// What the schema describes.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Name of the message.
    pub name: String,
    /// Number of the API, for requests and responses.
    pub api_key: Option<i16>,
    /// Listeners on which a request is served: `broker`, `controller`.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// Versions that this Kafka supports.
    pub valid_versions: String,
    /// Versions with compact lengths and tagged fields (KIP-482).
    #[serde(default = "none")]
    pub flexible_versions: String,
    /// Whether the last version may still change, so that Kafka offers it for tests only.
    #[serde(default)]
    pub latest_version_unstable: bool,
    /// The fields, in the order of the wire.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Structs that several fields share.
    #[serde(default)]
    pub common_structs: Vec<CommonStruct>,
}

/// What a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request of an API.
    Request,
    /// What answers it.
    Response,
    /// What precedes a request or a response.
    Header,
    /// Bytes inside messages or records.
    Data,
}

/// A struct that several fields of a schema share.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommonStruct {
    /// Name of the struct.
    pub name: String,
    /// Versions that have it.
    pub versions: String,
    /// Its fields, in the order of the wire.
    pub fields: Vec<Field>,
}

/// One field of a message or struct.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    /// Kafka's name.
    pub name: String,
    /// A primitive type, a struct, or either as an array: `[]int32`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Versions that have the field.
    pub versions: String,
    /// Versions in which it may be null.
    #[serde(default = "none")]
    pub nullable_versions: String,
    /// Number of a tagged field.
    pub tag: Option<u32>,
    /// Versions in which the field is a tagged one.
    #[serde(default = "none")]
    pub tagged_versions: String,
    /// The default, if it is not 0, false or empty.
    pub default: Option<serde_json::Value>,
    /// Whether versions that lack the field drop it silently.
    #[serde(default)]
    pub ignorable: bool,
    /// What it means.
    #[serde(default)]
    pub about: String,
    /// Fields of the struct that the field introduces.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Only for the header's client id, whose encoding never becomes compact.
    pub flexible_versions: Option<String>,
    /// What the value names; of no use to us, as the two that follow.
    #[serde(rename = "entityType")]
    pub _entity_type: Option<String>,
    /// Whether Kafka keys a map by the field.
    #[serde(rename = "mapKey")]
    pub _map_key: Option<bool>,
    /// Whether Kafka avoids a copy; we always do.
    #[serde(rename = "zeroCopy")]
    pub _zero_copy: Option<bool>,
}

fn none() -> String {
    "none".to_owned()
}

impl Schema {
    /// Reads one file: JSON with comments that have lines of their own.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let json: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        serde_json::from_str(&json).with_context(|| path.display().to_string())
    }
}

impl Field {
    /// The default as text, whether it is a JSON string or not; empty if the schema has none.
    pub fn default_text(&self) -> String {
        match &self.default {
            None => String::new(),
            Some(serde_json::Value::String(text)) => text.trim().to_owned(),
            Some(other) => other.to_string(),
        }
    }
}
