//! IncrementalAlterConfigs (KIP-339): changes single settings of topics and brokers.

use alluvium_metadata::topic_config::{self, ConfigChange};
use alluvium_metadata::topics::TopicError;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use alluvium_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use alluvium_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::admin::{Admin, Refusal, outcome, repeated};
use super::broker_settings;
use super::config_resources::{BROKER, TOPIC, check_once, existing_topic, refuse_change};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers IncrementalAlterConfigs.
pub async fn handle(
    broker: &Broker,
    request: IncrementalAlterConfigsRequest,
    _info: &RequestInfo,
) -> IncrementalAlterConfigsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(
    admin: &Admin<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let of =
        |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let twice = repeated(request.resources.iter().map(of));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let altered = match twice.contains(&of(&resource)) {
            true => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the request names the resource twice",
            )),
            false => alter(admin, &resource, request.validate_only).await,
        };
        let (error_code, error_message) = outcome(&altered);
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        });
    }
    IncrementalAlterConfigsResponse {
        responses,
        ..IncrementalAlterConfigsResponse::default()
    }
}

async fn alter(
    admin: &Admin<'_>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    if resource.resource_type == BROKER {
        let name = &resource.resource_name;
        return broker_settings::alter(admin, name, &resource.configs, validate_only).await;
    }
    if resource.resource_type != TOPIC {
        return Err(refuse_change(
            admin,
            resource.resource_type,
            &resource.resource_name,
        ));
    }
    let topic = existing_topic(admin, &resource.resource_name).await?;
    check_once(resource.configs.iter().map(|config| config.name.as_str()))?;
    let changes: Vec<_> = resource
        .configs
        .iter()
        .map(change)
        .collect::<Result<_, _>>()?;
    let apply = |configs: &mut _| {
        for (name, change) in &changes {
            topic_config::change(configs, admin.topics.defaults(), name, change)?;
        }
        Ok(())
    };
    if validate_only {
        let mut configs = topic.configs.clone();
        let checked = apply(&mut configs).and_then(|()| topic_config::validate(&configs));
        return Ok(checked.map_err(TopicError::InvalidConfig)?);
    }
    admin.topics.alter_configs(&topic.name, apply).await?;
    Ok(())
}

fn change(config: &AlterableConfig) -> Result<(String, ConfigChange), Refusal> {
    let value = || match &config.value {
        Some(value) => Ok(value.as_str().to_owned()),
        None => {
            let message = format!("setting {} has no value", config.name);
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
    };
    // `org.apache.kafka.clients.admin.AlterConfigOp.OpType`.
    let change = match config.config_operation {
        0 => ConfigChange::Set(value()?),
        1 => ConfigChange::Delete,
        2 => ConfigChange::Append(value()?),
        3 => ConfigChange::Subtract(value()?),
        other => {
            let message = format!("unknown operation {other} for setting {}", config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    };
    Ok((config.name.as_str().to_owned(), change))
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::StrBytes;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    fn config(
        name: &'static str,
        config_operation: i8,
        value: Option<&'static str>,
    ) -> AlterableConfig {
        AlterableConfig {
            name: name.into(),
            config_operation,
            value: value.map(StrBytes::from_static),
        }
    }

    async fn alter(scene: &Scene, version: i16, configs: Vec<AlterableConfig>, dry: bool) -> i16 {
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs,
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![resource],
            validate_only: dry,
        };
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.admin(), request).await
        })
        .await;
        response.responses[0].error_code
    }

    #[tokio::test(start_paused = true)]
    async fn settings_change_in_every_version() {
        for version in 0..=1 {
            let scene = Scene::new().await;
            scene.create("t", 1).await;
            let changes = || {
                vec![
                    config("retention.ms", 0, Some("1000")),
                    config("cleanup.policy", 2, Some("compact")),
                ]
            };
            assert_eq!(alter(&scene, version, changes(), true).await, 0);
            assert!(scene.topic("t").configs.is_empty(), "a dry run");
            assert_eq!(alter(&scene, version, changes(), false).await, 0);
            assert_eq!(
                alter(&scene, version, changes(), false).await,
                0,
                "the same again"
            );
            let configs = scene.topic("t").configs;
            assert_eq!(
                (&*configs["retention.ms"], &*configs["cleanup.policy"]),
                ("1000", "delete,compact")
            );
            let back = vec![
                config("retention.ms", 1, None),
                config("cleanup.policy", 3, Some("delete")),
            ];
            assert_eq!(alter(&scene, version, back, false).await, 0);
            let configs = scene.topic("t").configs;
            assert_eq!(
                (configs.get("retention.ms"), &*configs["cleanup.policy"]),
                (None, "compact")
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_is_refused_as_a_whole() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        for (refused, code) in [
            (config("no.such", 0, Some("1")), ErrorCode::InvalidConfig),
            (
                config("segment.bytes", 0, Some("x")),
                ErrorCode::InvalidConfig,
            ),
            (
                config("segment.bytes", 2, Some("1")),
                ErrorCode::InvalidConfig,
            ),
            (
                config("cleanup.policy", 3, Some("delete")),
                ErrorCode::InvalidConfig,
            ),
            (config("segment.bytes", 0, None), ErrorCode::InvalidRequest),
            (
                config("segment.bytes", 9, Some("1")),
                ErrorCode::InvalidRequest,
            ),
            (config("retention.ms", 1, None), ErrorCode::InvalidRequest),
        ] {
            for dry in [true, false] {
                let changes = vec![config("retention.ms", 0, Some("7")), refused.clone()];
                assert_eq!(
                    alter(&scene, 1, changes, dry).await,
                    code.code(),
                    "{refused:?}"
                );
            }
        }
        assert!(scene.topic("t").configs.is_empty());
        let resource = |resource_type, name: &'static str| AlterConfigsResource {
            resource_type,
            resource_name: name.into(),
            configs: vec![config("num.partitions", 0, Some("2"))],
        };
        let resources = vec![
            resource(BROKER, "7"),
            resource(TOPIC, "none"),
            resource(1, "x"),
        ];
        let request = IncrementalAlterConfigsRequest {
            resources,
            validate_only: false,
        };
        let response = answer(&scene.admin(), request).await;
        let codes: Vec<_> = response
            .responses
            .iter()
            .map(|response| response.error_code)
            .collect();
        let invalid = ErrorCode::InvalidRequest.code();
        assert_eq!(
            codes,
            [invalid, ErrorCode::UnknownTopicOrPartition.code(), invalid]
        );
    }
}
