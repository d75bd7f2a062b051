//! ListConfigResources (KIP-1142): what has settings.

use alluvium_protocol::messages::list_config_resources_response::ConfigResource;
use alluvium_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::admin::Admin;
use super::config_resources::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::shape;

/// Answers ListConfigResources.
pub async fn handle(
    broker: &Broker,
    request: ListConfigResourcesRequest,
    info: &RequestInfo,
) -> ListConfigResourcesResponse {
    answer(&Admin::from(broker), &request, info.version)
}

fn answer(
    admin: &Admin<'_>,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    // Version 0 asks for client metrics only; of those there are none.
    let mut wanted = request.resource_types.clone();
    if version == 0 {
        wanted = vec![CLIENT_METRICS];
    } else if wanted.is_empty() {
        wanted = vec![TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    }
    let known = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    if wanted.iter().any(|wanted| !known.contains(wanted)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..ListConfigResourcesResponse::default()
        };
    }
    let mut config_resources = Vec::new();
    let mut add = |resource_name, resource_type| {
        config_resources.push(ConfigResource {
            resource_name,
            resource_type,
        });
    };
    if wanted.contains(&TOPIC) {
        for topic in admin.view.topics().all() {
            add(StrBytes::copy_of(topic.name.as_str()), TOPIC);
        }
    }
    for kind in [BROKER, BROKER_LOGGER] {
        if wanted.contains(&kind) {
            for broker in shape::brokers(&admin.view.picture()) {
                add(broker.broker_id.to_string().into(), kind);
            }
        }
    }
    ListConfigResourcesResponse {
        config_resources,
        ..ListConfigResourcesResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire;

    #[tokio::test(start_paused = true)]
    async fn kinds_are_listed_as_asked() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        let list = |version, resource_types| {
            let request = ListConfigResourcesRequest { resource_types };
            over_the_wire(version, request, |request| {
                answer(&scene.admin(), &request, version)
            })
        };
        assert!(list(0, vec![]).config_resources.is_empty());
        let names = |types| -> Vec<_> {
            let listed = list(1, types).config_resources;
            listed
                .into_iter()
                .map(|resource| (resource.resource_name, resource.resource_type))
                .collect()
        };
        let topic = ("t".into(), TOPIC);
        assert_eq!(names(vec![TOPIC]), std::slice::from_ref(&topic));
        assert_eq!(
            names(vec![]),
            [topic, ("7".into(), BROKER), ("7".into(), BROKER_LOGGER)]
        );
        assert_eq!(
            list(1, vec![99]).error_code,
            ErrorCode::UnsupportedVersion.code()
        );
    }
}
