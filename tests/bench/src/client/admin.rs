//! Topics for the runs.

use anyhow::{Context, Result, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::{REQUEST_TIMEOUT, config};

/// Creates `topic` with `configs`.
pub fn create_topic(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    configs: &[(String, String)],
) -> Result<()> {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        new = new.set(key, value);
    }
    run(bootstrap, async |admin, options| {
        let results = admin.create_topics([&new], options).await?;
        check(results).with_context(|| format!("creating topic {topic}"))
    })
}

/// Deletes `topic`, so that what one run wrote does not fill the disk during the next.
pub fn delete_topic(bootstrap: &str, topic: &str) -> Result<()> {
    run(bootstrap, async |admin, options| {
        let results = admin.delete_topics(&[topic], options).await?;
        check(results).with_context(|| format!("deleting topic {topic}"))
    })
}

fn run(
    bootstrap: &str,
    action: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let admin: AdminClient<_> = config(bootstrap).create()?;
    let options = AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT));
    runtime.block_on(action(&admin, &options))
}

fn check(results: Vec<rdkafka::admin::TopicResult>) -> Result<()> {
    for result in results {
        result.map_err(|(topic, code)| anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}
