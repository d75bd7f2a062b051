//! The reference page of the settings, generated from their definitions.

use std::io::{self, Write};

use alluvium_metadata::topic_config::{self, Effect};

use super::settings::definitions;

/// Writes all settings with documentation and defaults, as a configuration file that may be used as it is.
pub fn print_reference(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# Settings of `alluvium serve` and their defaults.")?;
    writeln!(
        out,
        "# Each may also be given as an environment variable (ALLUVIUM_ and the key in capitals,"
    )?;
    writeln!(
        out,
        "# dots as underscores) or as a flag (--set KEY=VALUE). Flags win over the environment, the"
    )?;
    writeln!(
        out,
        "# environment over the file, the file over these defaults."
    )?;
    for definition in definitions() {
        comment(out, &definition.documentation)?;
        writeln!(out, "# Type: {}.", definition.kind)?;
        let plain = matches!(
            definition.kind,
            "number" | "decimal number" | "boolean" | "bytes" | "milliseconds"
        );
        if plain && !definition.default.is_empty() {
            writeln!(out, "{} = {}", definition.key, definition.default)?;
        } else {
            writeln!(out, "{} = {:?}", definition.key, definition.default)?;
        }
    }
    print_topic_defaults(out)
}

/// The settings of topics that act may be given a default for all topics, by the names that Kafka has for that.
fn print_topic_defaults(out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    writeln!(
        out,
        "# Defaults for topics that do not set these themselves."
    )?;
    let effective = topic_config::definitions()
        .iter()
        .filter(|definition| definition.effect == Effect::Effective);
    for definition in effective {
        if let Some(key) = definition.broker_synonym {
            comment(out, definition.documentation)?;
            writeln!(out, "# Of topics: {}.", definition.name)?;
            let in_clusters = topic_config::CLUSTER_DEFAULTS.iter();
            let mut in_clusters = in_clusters.filter(|(name, _)| *name == definition.name);
            match in_clusters.next() {
                // Written out it would be the same for both.
                Some((_, value)) => writeln!(
                    out,
                    "# {key} = {:?} # with etcd {value:?}",
                    definition.default
                )?,
                None => writeln!(out, "{key} = {:?}", definition.default)?,
            }
        }
    }
    Ok(())
}

fn comment(out: &mut impl Write, documentation: &str) -> io::Result<()> {
    writeln!(out)?;
    for line in wrap(documentation, 98) {
        writeln!(out, "# {line}")?;
    }
    Ok(())
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("starts with one line");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};

    #[test]
    fn the_reference_is_a_configuration_file_of_the_defaults() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        super::print_reference(&mut file.as_file()).expect("written");
        let loaded = load(Some(file.path()), [], &[]).expect("reads back");
        assert_eq!(loaded.config, Config::default());
    }
}
