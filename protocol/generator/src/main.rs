//! `cargo run -p alluvium-protocol-generator` rewrites `protocol/src/messages` from `protocol/schemas`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let protocol = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the generator lives in protocol/generator")?;
    let files = alluvium_protocol_generator::generate(&protocol.join("schemas"))?;
    let messages = protocol.join("src/messages");
    if messages.exists() {
        fs::remove_dir_all(&messages).context("removing the old messages")?;
    }
    alluvium_protocol_generator::format_all(&files, &messages)?;
    println!("{} files written to {}", files.len(), messages.display());
    Ok(())
}
