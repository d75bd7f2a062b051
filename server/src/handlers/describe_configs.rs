//! DescribeConfigs: all settings of topics and of this broker, with their sources; of other brokers, whether they are
//! drained and what they do.

use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use alluvium_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::admin::{Admin, Refusal, outcome};
use super::broker_settings::{KNOWN_TO_ALL, broker_id, compactors_entry, drain_entry, roles_entry};
use super::config_entries::{self, ConfigEntry, ConfigType};
use super::config_resources::{
    BROKER, CLIENT_METRICS, GROUP, TOPIC, existing_topic, this_broker, unsupported,
};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers DescribeConfigs.
pub async fn handle(
    broker: &Broker,
    request: DescribeConfigsRequest,
    _info: &RequestInfo,
) -> DescribeConfigsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(admin: &Admin<'_>, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let keys = resource.configuration_keys.filter(|keys| !keys.is_empty());
        let name = &resource.resource_name;
        let entries = entries(admin, resource.resource_type, name, keys.as_deref()).await;
        let (error_code, error_message) = outcome(&entries);
        let wanted = |entry: &ConfigEntry| {
            keys.as_ref()
                .is_none_or(|keys| keys.iter().any(|key| key == &entry.name))
        };
        let shown = entries.unwrap_or_default().into_iter().filter(wanted);
        results.push(DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs: shown
                .map(|entry| show(entry, synonyms, documentation))
                .collect(),
        });
    }
    DescribeConfigsResponse {
        results,
        ..DescribeConfigsResponse::default()
    }
}

async fn entries(
    admin: &Admin<'_>,
    resource_type: i8,
    name: &str,
    keys: Option<&[StrBytes]>,
) -> Result<Vec<ConfigEntry>, Refusal> {
    match resource_type {
        TOPIC => {
            let topic = existing_topic(admin, name).await?;
            let defaults = admin.topics.defaults();
            Ok(config_entries::of_topic(&topic.configs, defaults))
        }
        // Without a name: what was set for all brokers while they run, which is nothing.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER => of_broker(admin, name, keys),
        // Tools ask for all kinds; there is nothing to show.
        GROUP | CLIENT_METRICS => Ok(Vec::new()),
        other => Err(unsupported(other)),
    }
}

/// All settings of this broker; of another one only those that every broker knows.
fn of_broker(
    admin: &Admin<'_>,
    name: &str,
    keys: Option<&[StrBytes]>,
) -> Result<Vec<ConfigEntry>, Refusal> {
    let is_known = |key: &StrBytes| KNOWN_TO_ALL.iter().any(|known| key == *known);
    let known_to_all = keys.is_some_and(|keys| keys.iter().all(is_known));
    match broker_id(name) {
        Some(id) if known_to_all && id != admin.identity.broker_id => {
            let mut entries = vec![compactors_entry(admin), drain_entry(admin, id)];
            entries.extend(roles_entry(admin, id));
            return Ok(entries);
        }
        _ => this_broker(admin, name)?,
    }
    let mut entries = config_entries::of_broker(admin.loaded, admin.topics.defaults());
    for more in [
        compactors_entry(admin),
        drain_entry(admin, admin.identity.broker_id),
    ] {
        let place = entries.partition_point(|entry| entry.name < more.name);
        entries.insert(place, more);
    }
    Ok(entries)
}

fn show(entry: ConfigEntry, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    // Kafka shows no value of these either.
    let is_sensitive = entry.config_type == ConfigType::Password;
    let shown = |value: String| (!is_sensitive).then(|| value.into());
    let synonym = |synonym: config_entries::Synonym| DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: shown(synonym.value),
        source: synonym.source as i8,
    };
    let listed = if synonyms { entry.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: entry.name.into(),
        value: shown(entry.value),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive,
        synonyms: listed.into_iter().map(synonym).collect(),
        config_type: entry.config_type as i8,
        documentation: documentation.then(|| entry.documentation.into()),
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::ErrorCode;

    use std::collections::BTreeMap;

    use alluvium_protocol::messages::describe_configs_request::DescribeConfigsResource;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    fn resource(resource_type: i8, name: &'static str) -> DescribeConfigsResource {
        DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: None,
        }
    }

    async fn describe(
        scene: &Scene,
        version: i16,
        resource: DescribeConfigsResource,
    ) -> DescribeConfigsResult {
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: version >= 3,
        };
        let mut response = over_the_wire_async(version, request, async |request| {
            answer(&scene.admin(), request).await
        })
        .await;
        response.results.remove(0)
    }

    #[tokio::test(start_paused = true)]
    async fn topics_are_described_in_every_version() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 1).await;
        let set = |configs: &mut BTreeMap<String, String>| {
            configs.insert("retention.ms".to_owned(), "1000".to_owned());
            Ok(())
        };
        scene.topics.alter_configs(&topic.name, set).await.unwrap();
        for version in 1..=4 {
            let described = describe(&scene, version, resource(TOPIC, "t")).await;
            let count = alluvium_metadata::topic_config::definitions().len();
            assert_eq!((described.error_code, described.configs.len()), (0, count));
            let find = |name: &str| {
                described
                    .configs
                    .iter()
                    .find(|config| config.name == *name)
                    .unwrap()
            };
            let retention = find("retention.ms");
            assert_eq!(
                (retention.value.as_deref(), retention.config_source),
                (Some("1000"), 1)
            );
            assert_eq!(retention.synonyms.len(), 2);
            if version >= 3 {
                assert!(
                    retention
                        .documentation
                        .as_ref()
                        .is_some_and(|text| !text.is_empty())
                );
            }
            assert_eq!(find("max.message.bytes").config_source, 5);
        }
        let mut one = resource(TOPIC, "t");
        one.configuration_keys = Some(vec![StrBytes::from_static("retention.ms")]);
        assert_eq!(describe(&scene, 4, one).await.configs.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn this_broker_is_described_others_are_not() {
        let scene = Scene::new().await;
        let described = describe(&scene, 4, resource(BROKER, "7")).await;
        let find = |name: &str| described.configs.iter().find(|config| config.name == *name);
        assert_eq!(find("num.partitions").unwrap().value.as_deref(), Some("1"));
        assert!(find("log.retention.ms").unwrap().read_only);
        assert!(!find("alluvium.drain").unwrap().read_only);
        assert!(described.configs.is_sorted_by(|a, b| a.name < b.name));
        assert!(
            describe(&scene, 4, resource(BROKER, ""))
                .await
                .configs
                .is_empty()
        );
        let asked = |keys: &[&'static str]| DescribeConfigsResource {
            configuration_keys: Some(keys.iter().map(|key| StrBytes::from_static(key)).collect()),
            ..resource(BROKER, "8")
        };
        let drain = describe(&scene, 4, asked(&["alluvium.drain"]))
            .await
            .configs;
        assert_eq!((drain.len(), drain[0].value.as_deref()), (1, Some("false")));
        let more = describe(&scene, 4, asked(&["alluvium.drain", "num.partitions"])).await;
        assert_eq!(more.error_code, ErrorCode::InvalidRequest.code());
        for (refused, code) in [
            (resource(BROKER, "8"), ErrorCode::InvalidRequest),
            (resource(TOPIC, "none"), ErrorCode::UnknownTopicOrPartition),
            (resource(TOPIC, "a/b"), ErrorCode::InvalidTopicException),
            (resource(99, "x"), ErrorCode::InvalidRequest),
        ] {
            assert_eq!(describe(&scene, 4, refused).await.error_code, code.code());
        }
    }
}
