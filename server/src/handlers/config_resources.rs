//! What has settings, as requests name it, and how requests that change settings are answered.

use std::sync::Arc;

use alluvium_metadata::model::TopicRecord;
use alluvium_protocol::ErrorCode;

use super::admin::{Admin, Refusal, topic_name};

/// Kinds of resources (`org.apache.kafka.common.config.ConfigResource.Type`).
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

/// A topic that exists.
pub async fn existing_topic(admin: &Admin<'_>, name: &str) -> Result<Arc<TopicRecord>, Refusal> {
    Ok(admin.topics.find(&topic_name(name)?).await?)
}

/// This broker, or all brokers: the empty name.
pub fn this_broker(admin: &Admin<'_>, name: &str) -> Result<(), Refusal> {
    let id = admin.identity.broker_id.to_string();
    if name.is_empty() || name == id {
        return Ok(());
    }
    let message = format!("this is broker {id}, not {name:?}");
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}

/// Settings that are changed must be named once each.
pub fn check_once<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let twice = super::admin::repeated(names);
    if twice.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = twice.into_iter().collect();
    let message = format!("settings named twice: {}", names.join(", "));
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}

/// Anything but a topic cannot be changed while the broker runs.
pub fn refuse_change(admin: &Admin<'_>, resource_type: i8, name: &str) -> Refusal {
    match resource_type {
        BROKER => this_broker(admin, name).err().unwrap_or_else(|| {
            let message = "settings of the broker are read at its start: change its configuration and restart it";
            Refusal::new(ErrorCode::InvalidRequest, message)
        }),
        _ => unsupported(resource_type),
    }
}

/// No settings of this kind are kept here.
pub fn unsupported(resource_type: i8) -> Refusal {
    let what = match resource_type {
        BROKER_LOGGER => "loggers have no settings of their own, see log.filter".to_owned(),
        CLIENT_METRICS => "client metrics are not collected".to_owned(),
        GROUP => "groups have no settings of their own".to_owned(),
        other => format!("unknown type of resource {other}"),
    };
    Refusal::new(ErrorCode::InvalidRequest, what)
}
