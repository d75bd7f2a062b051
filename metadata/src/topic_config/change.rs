//! Changing single settings of a topic (KIP-339).

use std::collections::BTreeMap;

use super::{InvalidConfig, Kind, by_name};

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Gives it a value.
    Set(String),
    /// Takes its value away: it stands at its default again.
    Delete,
    /// Adds items to a list that are not in it yet.
    Append(String),
    /// Takes items out of a list.
    Subtract(String),
}

/// Applies a change to the settings that a topic was given. `defaults` are the broker-wide ones: a list that the
/// topic does not set is changed from what it stands at. Doing it twice is doing it once.
///
/// # Errors
/// When a list operation meets a setting that is no list, or that does not exist. Values are not checked: see
/// [`super::validate`], once all changes are applied.
pub fn change(
    configs: &mut BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
    name: &str,
    change: &ConfigChange,
) -> Result<(), InvalidConfig> {
    match change {
        ConfigChange::Set(value) => {
            configs.insert(name.to_owned(), value.clone());
        }
        ConfigChange::Delete => {
            configs.remove(name);
        }
        ConfigChange::Append(added) => {
            let mut items = list(configs, defaults, name)?;
            for item in split(added) {
                if !items.contains(&item) {
                    items.push(item);
                }
            }
            configs.insert(name.to_owned(), items.join(","));
        }
        ConfigChange::Subtract(taken) => {
            let mut items = list(configs, defaults, name)?;
            let taken = split(taken);
            items.retain(|item| !taken.contains(item));
            configs.insert(name.to_owned(), items.join(","));
        }
    }
    Ok(())
}

fn list(
    configs: &BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
    name: &str,
) -> Result<Vec<String>, InvalidConfig> {
    let definition = by_name(name).ok_or_else(|| InvalidConfig::Unknown(name.to_owned()))?;
    if !matches!(definition.kind, Kind::ListOf(_) | Kind::Text) {
        return Err(InvalidConfig::NotAList(name.to_owned()));
    }
    let value = configs.get(name).or_else(|| defaults.get(name));
    Ok(split(value.map_or(definition.default, String::as_str)))
}

fn split(list: &str) -> Vec<String> {
    let items = list.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(
        configs: &[(&str, &str)],
        name: &str,
        by: ConfigChange,
    ) -> Result<Option<String>, InvalidConfig> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut configs = configs.iter().map(pair).collect();
        change(&mut configs, &BTreeMap::new(), name, &by)?;
        let once = configs.clone();
        change(&mut configs, &BTreeMap::new(), name, &by)?;
        assert_eq!(configs, once, "twice is once");
        Ok(configs.remove(name))
    }

    #[test]
    fn settings_are_set_and_deleted() {
        let set = changed(&[], "retention.ms", ConfigChange::Set("7".to_owned()));
        assert_eq!(set, Ok(Some("7".to_owned())));
        assert_eq!(
            changed(
                &[("retention.ms", "7")],
                "retention.ms",
                ConfigChange::Delete
            ),
            Ok(None)
        );
    }

    #[test]
    fn lists_grow_and_shrink_from_where_they_stand() {
        let policy = |configs: &[(&str, &str)], by| changed(configs, "cleanup.policy", by);
        let both = Ok(Some("delete,compact".to_owned()));
        assert_eq!(
            policy(&[], ConfigChange::Append("compact".to_owned())),
            both,
            "the default is delete"
        );
        let set = [("cleanup.policy", "delete, compact")];
        assert_eq!(
            policy(&set, ConfigChange::Append("compact,delete".to_owned())),
            both
        );
        let compact = Ok(Some("compact".to_owned()));
        assert_eq!(
            policy(&set, ConfigChange::Subtract("delete".to_owned())),
            compact
        );
    }

    #[test]
    fn only_lists_are_lists() {
        let append = ConfigChange::Append("7".to_owned());
        let error = changed(&[], "retention.ms", append.clone());
        assert_eq!(
            error,
            Err(InvalidConfig::NotAList("retention.ms".to_owned()))
        );
        let error = changed(&[], "no.such", append);
        assert_eq!(error, Err(InvalidConfig::Unknown("no.such".to_owned())));
    }
}
