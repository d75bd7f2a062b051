//! The settings of brokers that change while they run: `alluvium.drain`, of any broker and through any of them; and what
//! every broker knows of others beside that: their roles, and which processes are no brokers.

use alluvium_common::epoch::BrokerId;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::incremental_alter_configs_request::AlterableConfig;

use super::admin::{Admin, Refusal};
use super::config_entries::{ConfigEntry, ConfigSource, ConfigType, Synonym};
use super::config_resources::{BROKER, check_once, refuse_change};
use crate::config::Endpoint;

/// Whether a broker shall lead nothing.
pub const DRAIN: &str = "alluvium.drain";

/// What a broker does.
pub const ROLES: &str = "roles";

/// Which processes of the cluster compact only.
pub const COMPACTORS: &str = "alluvium.compactors";

/// What every broker knows of every other.
pub const KNOWN_TO_ALL: [&str; 3] = [DRAIN, ROLES, COMPACTORS];

/// `org.apache.kafka.clients.admin.AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;

const DRAIN_DOCUMENTATION: &str = "Whether the broker shall lead nothing: true has all that it leads moved to other \
    brokers, and nothing given to it, until this is false again. Kept when the broker restarts. \
    (boolean; default false)";

const COMPACTORS_DOCUMENTATION: &str = "The processes of the cluster that compact only and are no brokers, each as \
    NUMBER@HOST:PORT/RACK with the address of its metrics, and without /RACK where it has none. Cannot be set. (list)";

/// What a broker does, if it is there.
pub fn roles_entry(admin: &Admin<'_>, broker_id: BrokerId) -> Option<ConfigEntry> {
    let picture = admin.view.picture();
    let roles = picture.brokers.get(broker_id)?.record.roles.to_string();
    Some(told(ROLES, roles, "What the broker does. (list)"))
}

/// The processes that compact only.
pub fn compactors_entry(admin: &Admin<'_>) -> ConfigEntry {
    let picture = admin.view.picture();
    let shown = picture.brokers.workers().map(|worker| {
        let record = &worker.record;
        let rack = record.rack.as_ref().map(|rack| format!("/{rack}"));
        let rack = rack.unwrap_or_default();
        let address = Endpoint {
            host: record.host.clone(),
            port: record.port,
        };
        format!("{}@{address}{rack}", record.broker_id)
    });
    let shown = shown.collect::<Vec<_>>().join(",");
    told(COMPACTORS, shown, COMPACTORS_DOCUMENTATION)
}

/// Something that is as it is, and cannot be set.
fn told(name: &str, value: String, documentation: &str) -> ConfigEntry {
    let source = ConfigSource::StaticBroker;
    ConfigEntry {
        name: name.to_owned(),
        value: value.clone(),
        source,
        read_only: true,
        config_type: ConfigType::List,
        synonyms: vec![Synonym {
            name: name.to_owned(),
            value,
            source,
        }],
        documentation: documentation.to_owned(),
    }
}

/// The setting as DescribeConfigs shows it.
pub fn drain_entry(admin: &Admin<'_>, broker_id: BrokerId) -> ConfigEntry {
    let synonym = |value: &str, source| Synonym {
        name: DRAIN.to_owned(),
        value: value.to_owned(),
        source,
    };
    let drained = admin.view.picture().brokers.is_drained(broker_id);
    let given = drained.then(|| synonym("true", ConfigSource::DynamicBroker));
    let default = synonym("false", ConfigSource::Default);
    let synonyms: Vec<_> = given.into_iter().chain([default]).collect();
    ConfigEntry {
        name: DRAIN.to_owned(),
        value: synonyms[0].value.clone(),
        source: synonyms[0].source,
        read_only: false,
        config_type: ConfigType::Boolean,
        synonyms,
        documentation: DRAIN_DOCUMENTATION.to_owned(),
    }
}

/// The broker that a resource names; `None`: all brokers, or no possible broker.
pub fn broker_id(name: &str) -> Option<BrokerId> {
    let id = name.parse().ok().filter(|id| *id >= 0)?;
    Some(BrokerId(id))
}

/// Changes settings of the broker that is called `name`.
pub async fn alter(
    admin: &Admin<'_>,
    name: &str,
    configs: &[AlterableConfig],
    validate_only: bool,
) -> Result<(), Refusal> {
    check_once(configs.iter().map(|config| config.name.as_str()))?;
    let mut drained = None;
    for config in configs {
        match config.name.as_str() {
            DRAIN => drained = Some((target(name)?, wanted(config)?)),
            // What was never set is unset as it is. Kafka's reassignment tool takes its throttles back so.
            _ if config.config_operation == DELETE => {}
            _ => return Err(refuse_change(admin, BROKER, name)),
        }
    }
    if let (Some((broker_id, drained)), false) = (drained, validate_only) {
        admin.placement.set_drained(broker_id, drained).await?;
    }
    Ok(())
}

fn target(name: &str) -> Result<BrokerId, Refusal> {
    broker_id(name).ok_or_else(|| {
        let message =
            format!("{DRAIN} is a setting of one broker, named by its number, not of {name:?}");
        Refusal::new(ErrorCode::InvalidRequest, message)
    })
}

fn wanted(config: &AlterableConfig) -> Result<bool, Refusal> {
    let value = config.value.as_deref().map(str::trim);
    match (config.config_operation, value) {
        (DELETE, _) => Ok(false),
        (SET, Some(value)) if value.eq_ignore_ascii_case("true") => Ok(true),
        (SET, Some(value)) if value.eq_ignore_ascii_case("false") => Ok(false),
        (SET, Some(value)) => {
            let message = format!("{DRAIN} is true or false, not {value:?}");
            Err(Refusal::new(ErrorCode::InvalidConfig, message))
        }
        (SET, None) => {
            let message = format!("setting {DRAIN} has no value");
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
        _ => {
            let message = format!("{DRAIN} is not a list: it can be set and deleted only");
            Err(Refusal::new(ErrorCode::InvalidConfig, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::StrBytes;

    use super::*;
    use crate::handlers::admin_testing::Scene;

    async fn change(
        scene: &Scene,
        name: &str,
        key: &'static str,
        config_operation: i8,
        value: Option<&'static str>,
    ) -> Result<(), ErrorCode> {
        let config = AlterableConfig {
            name: key.into(),
            config_operation,
            value: value.map(StrBytes::from_static),
        };
        let altered = alter(&scene.admin(), name, &[config], false).await;
        altered.map_err(|refusal| refusal.code)
    }

    #[tokio::test(start_paused = true)]
    async fn any_broker_is_drained_through_any_other() {
        let scene = Scene::new().await;
        // This one, another, and one that nobody has seen.
        scene.cluster.broker(8).await;
        for (name, id) in [("7", 7), ("8", 8), ("99", 99)] {
            let drained = || scene.view.picture().brokers.is_drained(BrokerId(id));
            assert_eq!(change(&scene, name, DRAIN, SET, Some("TRUE")).await, Ok(()));
            assert!(drained());
            let entry = drain_entry(&scene.admin(), BrokerId(id));
            assert_eq!(
                (&*entry.value, entry.source),
                ("true", ConfigSource::DynamicBroker)
            );
            assert_eq!(entry.synonyms.len(), 2);
            assert_eq!(
                change(&scene, name, DRAIN, SET, Some("false")).await,
                Ok(())
            );
            assert!(!drained());
            assert_eq!(change(&scene, name, DRAIN, SET, Some("true")).await, Ok(()));
            assert_eq!(change(&scene, name, DRAIN, DELETE, None).await, Ok(()));
            assert!(!drained());
            let entry = drain_entry(&scene.admin(), BrokerId(id));
            assert_eq!(
                (&*entry.value, entry.source),
                ("false", ConfigSource::Default)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn processes_that_only_compact_are_told_apart_from_brokers() {
        let scene = Scene::new().await;
        assert_eq!(compactors_entry(&scene.admin()).value, "");
        scene.cluster.worker(8).await;
        scene.cluster.worker(9).await;
        let shown = compactors_entry(&scene.admin());
        let expected = "8@broker8.test:9092/rack8,9@broker9.test:9092/rack9";
        assert_eq!((&*shown.value, shown.read_only), (expected, true));
        let roles = |id| roles_entry(&scene.admin(), BrokerId(id)).map(|entry| entry.value);
        assert_eq!(roles(7).as_deref(), Some("broker"));
        assert_eq!(roles(8), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_is_refused() {
        let scene = Scene::new().await;
        let (config, request) = (ErrorCode::InvalidConfig, ErrorCode::InvalidRequest);
        for (name, key, operation, value, code) in [
            ("7", DRAIN, SET, Some("yes"), config),
            ("7", DRAIN, SET, None, request),
            ("7", DRAIN, 2, Some("true"), config),
            ("", DRAIN, SET, Some("true"), request),
            ("-1", DRAIN, SET, Some("true"), request),
            ("7", "num.partitions", SET, Some("2"), request),
            ("8", "num.partitions", SET, Some("2"), request),
        ] {
            let refused = change(&scene, name, key, operation, value).await;
            assert_eq!(refused, Err(code), "{name:?} {key} {operation} {value:?}");
        }
        let throttle = "leader.replication.throttled.rate";
        assert_eq!(change(&scene, "7", throttle, DELETE, None).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_checked_drains_nobody() {
        let scene = Scene::new().await;
        let config = AlterableConfig {
            name: DRAIN.into(),
            config_operation: SET,
            value: Some("true".into()),
        };
        let checked = alter(&scene.admin(), "7", &[config], true).await;
        assert_eq!(checked, Ok(()));
        assert!(!scene.view.picture().brokers.is_drained(BrokerId(7)));
    }
}
