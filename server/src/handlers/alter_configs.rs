//! AlterConfigs: replaces all settings of topics. Old; tools use IncrementalAlterConfigs.

use std::collections::BTreeMap;

use alluvium_metadata::topic_config;
use alluvium_metadata::topics::TopicError;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use alluvium_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use alluvium_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::admin::{Admin, Refusal, outcome, repeated};
use super::config_resources::{TOPIC, check_once, existing_topic, refuse_change};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers AlterConfigs.
pub async fn handle(
    broker: &Broker,
    request: AlterConfigsRequest,
    _info: &RequestInfo,
) -> AlterConfigsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(admin: &Admin<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
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
    AlterConfigsResponse {
        responses,
        ..AlterConfigsResponse::default()
    }
}

async fn alter(
    admin: &Admin<'_>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    if resource.resource_type != TOPIC {
        return Err(refuse_change(
            admin,
            resource.resource_type,
            &resource.resource_name,
        ));
    }
    let topic = existing_topic(admin, &resource.resource_name).await?;
    check_once(resource.configs.iter().map(|config| config.name.as_str()))?;
    let given: BTreeMap<_, _> = resource
        .configs
        .iter()
        .map(pair)
        .collect::<Result<_, _>>()?;
    if validate_only {
        return Ok(topic_config::validate(&given).map_err(TopicError::InvalidConfig)?);
    }
    let replace = |configs: &mut BTreeMap<String, String>| {
        configs.clone_from(&given);
        Ok(())
    };
    admin.topics.alter_configs(&topic.name, replace).await?;
    Ok(())
}

fn pair(config: &AlterableConfig) -> Result<(String, String), Refusal> {
    match &config.value {
        Some(value) => Ok((config.name.as_str().to_owned(), value.as_str().to_owned())),
        None => {
            let message = format!("setting {} has no value", config.name);
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::StrBytes;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    async fn alter(
        scene: &Scene,
        version: i16,
        configs: &[(&'static str, Option<&'static str>)],
        dry: bool,
    ) -> i16 {
        let config = |(name, value): &(&'static str, Option<&'static str>)| AlterableConfig {
            name: StrBytes::from_static(name),
            value: value.map(StrBytes::from_static),
        };
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: configs.iter().map(config).collect(),
        };
        let request = AlterConfigsRequest {
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
    async fn all_settings_are_replaced_in_every_version() {
        for version in 0..=2 {
            let scene = Scene::new().await;
            scene.create("t", 1).await;
            assert_eq!(
                alter(&scene, version, &[("retention.ms", Some("7"))], false).await,
                0
            );
            assert_eq!(
                alter(&scene, version, &[("segment.ms", Some("8"))], true).await,
                0
            );
            assert_eq!(scene.topic("t").configs.len(), 1, "a dry run");
            assert_eq!(
                alter(&scene, version, &[("segment.ms", Some("8"))], false).await,
                0
            );
            let configs = scene.topic("t").configs;
            assert_eq!((configs.len(), &*configs["segment.ms"]), (1, "8"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_is_refused() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        for (configs, code) in [
            (&[("no.such", Some("1"))][..], ErrorCode::InvalidConfig),
            (&[("retention.ms", Some("x"))], ErrorCode::InvalidConfig),
            (&[("retention.ms", None)], ErrorCode::InvalidRequest),
            (
                &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
                ErrorCode::InvalidRequest,
            ),
        ] {
            for dry in [true, false] {
                assert_eq!(
                    alter(&scene, 2, configs, dry).await,
                    code.code(),
                    "{configs:?}"
                );
            }
        }
        assert!(scene.topic("t").configs.is_empty());
    }
}
