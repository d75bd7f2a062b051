//! DeleteTopics: by name, or by id (KIP-516). A deleted topic's data is gone for ever, also when a topic of the same
//! name is created again.

use alluvium_common::topic::{TopicId, TopicName};
use alluvium_protocol::messages::delete_topics_request::DeleteTopicState;
use alluvium_protocol::messages::delete_topics_response::DeletableTopicResult;
use alluvium_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::admin::{Admin, Refusal, outcome, repeated, topic_named};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// From this version on topics may be named by id.
const ID_VERSION: i16 = 6;

/// Answers DeleteTopics.
pub async fn handle(
    broker: &Broker,
    request: DeleteTopicsRequest,
    info: &RequestInfo,
) -> DeleteTopicsResponse {
    answer(&Admin::from(broker), request, info.version).await
}

async fn answer(
    admin: &Admin<'_>,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState {
        name: Some(name),
        topic_id: Uuid::nil(),
    };
    let wanted: Vec<_> = match version >= ID_VERSION {
        true => request.topics,
        false => request.topic_names.into_iter().map(by_name).collect(),
    };
    let mut found = Vec::with_capacity(wanted.len());
    for topic in &wanted {
        found.push(find(admin, topic).await);
    }
    let twice = repeated(found.iter().flatten().cloned());
    let mut responses = Vec::with_capacity(wanted.len());
    for (topic, found) in wanted.into_iter().zip(found) {
        let deleted = match found {
            Err(refusal) => Err(refusal),
            Ok(name) if twice.contains(&name) => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the request names the topic twice",
            )),
            Ok(name) => delete(admin, &name).await,
        };
        responses.push(show(topic, deleted));
    }
    DeleteTopicsResponse {
        responses,
        ..DeleteTopicsResponse::default()
    }
}

async fn find(admin: &Admin<'_>, topic: &DeleteTopicState) -> Result<TopicName, Refusal> {
    match &topic.name {
        Some(name) if topic.topic_id.is_nil() => Ok(topic_named(admin, name).await?.name.clone()),
        None if !topic.topic_id.is_nil() => admin
            .view
            .topics()
            .with_id(TopicId(topic.topic_id))
            .map(|record| record.name.clone())
            .ok_or_else(|| {
                Refusal::new(ErrorCode::UnknownTopicId, "there is no topic with this id")
            }),
        _ => {
            let message = "a topic is named either by name or by id";
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

async fn delete(admin: &Admin<'_>, name: &TopicName) -> Result<(TopicName, Uuid), Refusal> {
    let record = admin.topics.delete(name).await?;
    Ok((record.name, record.topic_id.0))
}

fn show(
    topic: DeleteTopicState,
    deleted: Result<(TopicName, Uuid), Refusal>,
) -> DeletableTopicResult {
    let (error_code, error_message) = outcome(&deleted);
    let (name, topic_id) = match deleted {
        Ok((name, topic_id)) => (Some(StrBytes::copy_of(name.as_str())), topic_id),
        Err(_) => (topic.name, topic.topic_id),
    };
    DeletableTopicResult {
        name,
        topic_id,
        error_code,
        error_message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    fn request(version: i16, names: &[&'static str]) -> DeleteTopicsRequest {
        let names: Vec<_> = names
            .iter()
            .map(|name| StrBytes::from_static(name))
            .collect();
        let by_name = |name| DeleteTopicState {
            name: Some(name),
            topic_id: Uuid::nil(),
        };
        match version >= ID_VERSION {
            true => DeleteTopicsRequest {
                topics: names.into_iter().map(by_name).collect(),
                ..DeleteTopicsRequest::default()
            },
            false => DeleteTopicsRequest {
                topic_names: names,
                ..DeleteTopicsRequest::default()
            },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn topics_are_deleted_in_every_version() {
        for version in 1..=6 {
            let scene = Scene::new().await;
            let old = scene.create("t", 2).await;
            let request = request(version, &["t", "none"]);
            let response = over_the_wire_async(version, request, async |request| {
                answer(&scene.admin(), request, version).await
            })
            .await;
            let codes: Vec<_> = response
                .responses
                .iter()
                .map(|topic| topic.error_code)
                .collect();
            assert_eq!(
                codes,
                [0, ErrorCode::UnknownTopicOrPartition.code()],
                "version {version}"
            );
            assert!(scene.logs.is_empty(), "its partitions are closed");
            let new = scene.create("t", 1).await;
            assert_ne!(new.topic_id, old.topic_id);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ids_name_topics_too() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 1).await;
        scene.create("u", 1).await;
        let state = |name: Option<&'static str>, topic_id| DeleteTopicState {
            name: name.map(StrBytes::from_static),
            topic_id,
        };
        let id = topic.topic_id.0;
        let topics = vec![
            state(None, id),
            state(None, Uuid::from_u128(99)),
            state(Some("t"), id),
            state(None, Uuid::nil()),
            state(Some("u"), Uuid::nil()),
            state(Some("u"), Uuid::nil()),
        ];
        let request = DeleteTopicsRequest {
            topics,
            ..DeleteTopicsRequest::default()
        };
        let response = answer(&scene.admin(), request, 6).await;
        let codes: Vec<_> = response
            .responses
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        let invalid = ErrorCode::InvalidRequest.code();
        let unknown = ErrorCode::UnknownTopicId.code();
        assert_eq!(codes, [0, unknown, invalid, invalid, invalid, invalid]);
        assert_eq!(response.responses[0].name.as_deref(), Some("t"));
        assert!(scene.view.topics().named("u").is_some());
    }
}
