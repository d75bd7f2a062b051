//! Kafka's JSON message schemas, as they are written.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One schema file. Keys that a newer Kafka adds are errors, so that none is overlooked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    #[serde(rename = "type")]
    pub kind: Kind,
    pub name: String,
    pub api_key: Option<i16>,
    #[serde(default)]
    pub listeners: Vec<String>,
    pub valid_versions: String,
    #[serde(default = "none")]
    pub flexible_versions: String,
    #[serde(default)]
    pub latest_version_unstable: bool,
    #[serde(default)]
    pub fields: Vec<Field>,
    #[serde(default)]
    pub common_structs: Vec<CommonStruct>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    #[serde(
        rename = "coordinator-key",
        alias = "coordinator-value",
        alias = "metadata",
        alias = "metrics"
    )]
    Other,
}

/// A struct that several fields of a schema share.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommonStruct {
    pub name: String,
    pub versions: String,
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: String,
    pub versions: String,
    #[serde(default = "none")]
    pub nullable_versions: String,
    pub tag: Option<u32>,
    #[serde(default = "none")]
    pub tagged_versions: String,
    pub default: Option<serde_json::Value>,
    #[serde(default)]
    pub ignorable: bool,
    #[serde(default)]
    pub about: String,
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Only for the header's client id, whose encoding never becomes compact.
    pub flexible_versions: Option<String>,
    #[serde(rename = "entityType")]
    pub _entity_type: Option<String>,
    #[serde(rename = "mapKey")]
    pub _map_key: Option<bool>,
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
