//! From a folder of schemas to formatted files.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::model::Message;
use crate::schema::{Kind, Schema};
use crate::versions::Versions;
use crate::{api_keys, emit, names};

/// Not messages of an API, but a broker or a client of ours has to read them: what consumers of the classic group
/// protocol tell each other through the coordinator.
const DATA: [&str; 2] = ["ConsumerProtocolSubscription", "ConsumerProtocolAssignment"];

/// File names within `protocol/src/messages`, with their unformatted contents.
pub type Files = BTreeMap<String, String>;

/// Generates all files from the schemas in `folder`.
pub fn generate(folder: &Path) -> Result<Files> {
    let messages = messages(&read_schemas(folder)?)?;
    let mut files = Files::new();
    for message in &messages {
        files.insert(
            format!("{}.rs", names::snake(&message.name)),
            emit::message(message),
        );
    }
    let mut requests: Vec<&Message> = messages
        .iter()
        .filter(|m| m.kind == Kind::Request)
        .collect();
    requests.sort_by_key(|request| request.api_key);
    files.insert("api_keys.rs".to_owned(), api_keys::module(&requests));
    files.insert("mod.rs".to_owned(), index(&messages));
    Ok(files)
}

fn read_schemas(folder: &Path) -> Result<BTreeMap<String, Schema>> {
    let mut schemas = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let schema = Schema::read(&path)?;
            schemas.insert(schema.name.clone(), schema);
        }
    }
    Ok(schemas)
}

/// Everything that a broker's listener can meet: requests that schemas assign to it, their responses, headers.
fn messages(schemas: &BTreeMap<String, Schema>) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    for schema in schemas.values() {
        let data = schema.kind == Kind::Data && DATA.contains(&schema.name.as_str());
        if schema.kind == Kind::Header || data {
            messages.push(Message::new(schema, i16::MAX)?);
        }
        let served = schema.listeners.iter().any(|listener| listener == "broker");
        if schema.kind != Kind::Request || !served || schema.valid_versions == "none" {
            continue;
        }
        let stable = stable_max(schema)?;
        let name = schema.name.replace("Request", "Response");
        let response = schemas
            .get(&name)
            .with_context(|| format!("{name} is missing"))?;
        let (request, response) = (
            Message::new(schema, stable)?,
            Message::new(response, stable)?,
        );
        ensure!(
            request.versions == response.versions,
            "{name} has other versions than its request"
        );
        ensure!(
            request.flexible == response.flexible,
            "{name} has other flexible versions than its request"
        );
        messages.extend([request, response]);
    }
    messages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(messages)
}

/// The highest version that is released as stable; the last may be marked as one that can still change.
fn stable_max(schema: &Schema) -> Result<i16> {
    let high = Versions::parse(&schema.valid_versions)?.high;
    Ok(high - i16::from(schema.latest_version_unstable))
}

fn index(messages: &[Message]) -> String {
    let mut out = format!(
        "{}\n//! Every message, a module each, generated from Kafka's schemas.\n\n",
        emit::MARK
    );
    out.push_str("pub mod api_keys;\n");
    for message in messages {
        let _ = writeln!(out, "pub mod {};", names::snake(&message.name));
    }
    for message in messages {
        let _ = writeln!(
            out,
            "pub use {}::{};",
            names::snake(&message.name),
            message.name
        );
    }
    out
}

/// Writes the files to `folder` and formats them with the tool chain's rustfmt.
pub fn format_all(files: &Files, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, content) in files {
        fs::write(folder.join(name), content).with_context(|| name.clone())?;
    }
    // rustfmt follows the modules that `mod.rs` declares.
    let status = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .arg(folder.join("mod.rs"))
        .status();
    ensure!(
        status.context("running rustfmt")?.success(),
        "rustfmt failed"
    );
    Ok(())
}
