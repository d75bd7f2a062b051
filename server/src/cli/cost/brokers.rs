//! What brokers say of themselves: prices, and where their metrics are.

use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::describe_configs_request::DescribeConfigsResource;
use alluvium_protocol::messages::describe_configs_response::DescribeConfigsResult;
use alluvium_protocol::messages::metadata_response::MetadataResponseBroker;
use alluvium_protocol::messages::{DescribeConfigsRequest, MetadataResponse};

use super::bill::Prices;
use crate::client::{Call, ClientError, Cluster, check};
use crate::config::{Endpoint, Price, SettingValue};

/// Kafka's number for a broker as the owner of settings.
const RESOURCE_BROKER: i8 = 4;

const HTTP: &str = "http";
const CURRENCY: &str = "price.currency";
const GIB_MONTH: &str = "price.storage.gib.month";
const THOUSAND_PUTS: &str = "price.put.per.thousand";
const THOUSAND_GETS: &str = "price.get.per.thousand";

/// The settings of one broker that matter here.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerSettings {
    /// Its number.
    pub broker: i32,
    /// Its price table.
    pub prices: Prices,
    /// Where its metrics are; or why nobody can know.
    pub metrics: Result<Endpoint, String>,
}

/// Asks each broker. Those that do not answer are told with the reason.
pub async fn ask(
    cluster: &mut Cluster,
    told: &MetadataResponse,
) -> Vec<(i32, Result<BrokerSettings, ClientError>)> {
    let keys = [HTTP, CURRENCY, GIB_MONTH, THOUSAND_PUTS, THOUSAND_GETS];
    let call = |broker: &MetadataResponseBroker| {
        let resource = DescribeConfigsResource {
            resource_type: RESOURCE_BROKER,
            resource_name: broker.node_id.to_string().into(),
            configuration_keys: Some(keys.map(StrBytes::from_static).into()),
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            ..DescribeConfigsRequest::default()
        };
        let version = None;
        (broker.node_id, Call { request, version })
    };
    let calls = told.brokers.iter().map(call).collect();
    let answers = cluster.call_each(calls).await.into_iter();
    let mut settings: Vec<_> = answers
        .map(|(broker, answered)| {
            let host = told.brokers.iter().find(|one| one.node_id == broker);
            let host = host.map_or("", |one| one.host.as_str());
            let settings = answered.and_then(|response| {
                let result = response.results.first();
                let result =
                    result.ok_or_else(|| ClientError::BadAnswer("no settings".to_owned()))?;
                check(result.error_code, &format!("settings of broker {broker}"))?;
                of_result(broker, host, result)
            });
            (broker, settings)
        })
        .collect();
    settings.sort_by_key(|(broker, _)| *broker);
    settings
}

fn of_result(
    broker: i32,
    host: &str,
    result: &DescribeConfigsResult,
) -> Result<BrokerSettings, ClientError> {
    let value = |key: &str| {
        let configs = result.configs.iter();
        let mut found = configs.filter(|config| config.name == *key);
        let value = found.next().and_then(|config| config.value.as_deref());
        value.ok_or_else(|| {
            let what =
                format!("broker {broker} has no setting {key}: it is older than this program");
            ClientError::BadAnswer(what)
        })
    };
    let price = |key: &str| {
        let parsed = Price::parse(value(key)?).map_err(ClientError::BadAnswer)?;
        Ok::<_, ClientError>(parsed.0)
    };
    Ok(BrokerSettings {
        broker,
        prices: Prices {
            currency: value(CURRENCY)?.to_owned(),
            gib_month: price(GIB_MONTH)?,
            thousand_puts: price(THOUSAND_PUTS)?,
            thousand_gets: price(THOUSAND_GETS)?,
        },
        metrics: reachable(value(HTTP)?, host),
    })
}

/// Where the metrics of a broker are that binds `http` and that clients know as `host`.
fn reachable(http: &str, host: &str) -> Result<Endpoint, String> {
    if http.is_empty() {
        return Err("it serves no metrics: its setting http is empty".to_owned());
    }
    let mut endpoint: Endpoint = http.parse()?;
    if endpoint.port == 0 {
        return Err("its setting http says any free port".to_owned());
    }
    if matches!(endpoint.host.as_str(), "0.0.0.0" | "::") {
        host.clone_into(&mut endpoint.host);
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

    use super::*;

    fn result(settings: &[(&'static str, &'static str)]) -> DescribeConfigsResult {
        let config = |(name, value): &(&'static str, &'static str)| DescribeConfigsResourceResult {
            name: StrBytes::from_static(name),
            value: Some(StrBytes::from_static(value)),
            ..DescribeConfigsResourceResult::default()
        };
        DescribeConfigsResult {
            configs: settings.iter().map(config).collect(),
            ..DescribeConfigsResult::default()
        }
    }

    #[test]
    fn prices_and_metrics_are_found() {
        let settings = [
            (HTTP, "0.0.0.0:9644"),
            (CURRENCY, "EUR"),
            (GIB_MONTH, "0.02"),
            (THOUSAND_PUTS, "0.006"),
            (THOUSAND_GETS, "0"),
        ];
        let found = of_result(2, "kafka-2", &result(&settings)).expect("all there");
        assert_eq!(
            found.metrics.map(|at| at.to_string()).as_deref(),
            Ok("kafka-2:9644")
        );
        let prices = Prices {
            currency: "EUR".to_owned(),
            gib_month: 0.02,
            thousand_puts: 0.006,
            thousand_gets: 0.0,
        };
        assert_eq!(found.prices, prices);
        let older = of_result(2, "kafka-2", &result(&settings[..3]));
        let older = older.expect_err("a setting is missing").to_string();
        assert!(older.contains("older"), "{older}");
    }

    #[test]
    fn metrics_that_cannot_be_found_say_why() {
        let at = |http: &str| reachable(http, "kafka-2").map(|at| at.to_string());
        assert_eq!(at("127.0.0.1:9644").as_deref(), Ok("127.0.0.1:9644"));
        assert_eq!(at("[::]:9644").as_deref(), Ok("kafka-2:9644"));
        assert!(at("").expect_err("none").contains("empty"));
        assert!(at("127.0.0.1:0").expect_err("any").contains("free port"));
    }
}
