//! `alluvium config`.

use std::io;

use alluvium_metadata::topic_config;

use super::args::ConfigArgs;
use super::output;
use crate::config::print_reference;

/// Prints the settings of the server or of topics.
pub fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.topic {
        let rows: Vec<_> = topic_config::definitions()
            .iter()
            .map(|definition| {
                [
                    definition.name.to_owned(),
                    definition.default.to_string(),
                    definition.documentation.to_string(),
                ]
            })
            .collect();
        output::table(&mut out, ["SETTING", "DEFAULT", "MEANING"], &rows)?;
    } else {
        print_reference(&mut out)?;
    }
    Ok(())
}
