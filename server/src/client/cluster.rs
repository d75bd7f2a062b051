//! A cluster of brokers: requests go to whom they concern, and follow leaders and coordinators that move.
//!
//! What a broker says of the others is believed for one attempt. When an answer says that it was wrong, or a connection
//! breaks, the cluster is asked anew, for a bounded time.

use std::collections::{BTreeMap, HashMap};

use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::metadata_response::MetadataResponseTopic;
use alluvium_protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use alluvium_protocol::{ErrorCode, Request, StrBytes};
use futures::future::join_all;

use super::retries::{Retries, passes, refused};
use super::{Bootstrap, ClientError, Connection};
use crate::config::Endpoint;

/// Kafka's number for groups as what is coordinated.
const GROUP: i8 = 0;

/// A request in a version of the caller's choice; `None`: the newest that both sides know.
#[derive(Debug, Clone)]
pub struct Call<R> {
    /// The request.
    pub request: R,
    /// Its version.
    pub version: Option<i16>,
}

/// The brokers of a cluster, and connections to them.
#[derive(Debug)]
pub struct Cluster {
    bootstrap: Bootstrap,
    client_id: String,
    /// As the cluster said last.
    brokers: BTreeMap<i32, Endpoint>,
    idle: HashMap<Endpoint, Connection>,
}

impl Cluster {
    /// Connects to one of the brokers in `bootstrap`. This is not tried again: wrong addresses are told at once.
    ///
    /// # Errors
    /// None of them can be reached.
    pub async fn open(bootstrap: &Bootstrap, client_id: &str) -> Result<Self, ClientError> {
        let mut cluster = Self {
            bootstrap: bootstrap.clone(),
            client_id: client_id.to_owned(),
            brokers: BTreeMap::new(),
            idle: HashMap::new(),
        };
        let (endpoint, connection) = cluster.connect_any().await?;
        cluster.idle.insert(endpoint, connection);
        Ok(cluster)
    }

    /// The brokers as the cluster said last.
    pub fn brokers(&self) -> impl Iterator<Item = i32> {
        self.brokers.keys().copied().collect::<Vec<_>>().into_iter()
    }

    /// Asks any broker, once: for what must not be done twice.
    ///
    /// # Errors
    /// No broker can be reached, or the one that was asked does not answer.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let (endpoint, mut connection) = self.connect_any().await?;
        let response = connection.call(request).await?;
        self.idle.insert(endpoint, connection);
        Ok(response)
    }

    /// Asks any broker, and another when that one does not answer or `refusal` finds an error that may pass.
    ///
    /// # Errors
    /// An error that does not pass, or not in time.
    pub async fn ask<R: Request>(
        &mut self,
        request: &R,
        refusal: impl Fn(&R::Response) -> Option<ClientError>,
    ) -> Result<R::Response, ClientError> {
        let mut retries = Retries::default();
        loop {
            let answered = self.call(request).await;
            let failed = match answered {
                Ok(response) => match refusal(&response) {
                    None => return Ok(response),
                    Some(error) => error,
                },
                Err(error) => error,
            };
            pass(&mut retries, failed).await?;
        }
    }

    /// All topics, or the named ones, and the brokers.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, ClientError> {
        let wanted = |name: &&str| MetadataRequestTopic {
            name: Some(StrBytes::copy_of(name)),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().map(wanted).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let response = self.ask(&request, |_| None).await?;
        let brokers = response.brokers.iter();
        self.brokers = brokers
            .map(|broker| (broker.node_id, endpoint(&broker.host, broker.port)))
            .collect();
        Ok(response)
    }

    /// One topic.
    ///
    /// # Errors
    /// It does not exist and is not created, or no broker answers in time.
    pub async fn topic(
        &mut self,
        name: &str,
        create: bool,
    ) -> Result<MetadataResponseTopic, ClientError> {
        let mut retries = Retries::default();
        loop {
            let response = self.metadata(Some(&[name]), create).await?;
            let topic = response.topics.into_iter().next();
            let topic =
                topic.ok_or_else(|| ClientError::BadAnswer("no topic in the answer".to_owned()))?;
            let code = ErrorCode::from(topic.error_code);
            match refused(code, format!("topic {name:?}")) {
                None => return Ok(topic),
                // Who misspelt a name should not have to wait.
                Some(error) if code == ErrorCode::UnknownTopicOrPartition => return Err(error),
                Some(error) => pass(&mut retries, error).await?,
            }
        }
    }

    /// The broker's answers to one request each, asked at the same time.
    pub async fn call_each<R: Request>(
        &mut self,
        calls: Vec<(i32, Call<R>)>,
    ) -> Vec<(i32, Result<R::Response, ClientError>)> {
        let mut waiting = Vec::with_capacity(calls.len());
        for (broker, call) in calls {
            let endpoint = self.brokers.get(&broker).cloned();
            let idle = endpoint.as_ref().and_then(|at| self.idle.remove(at));
            let client_id = self.client_id.clone();
            waiting.push(async move {
                let answered = call_at(endpoint, idle, &client_id, broker, &call).await;
                (broker, answered)
            });
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for (broker, answered) in join_all(waiting).await {
            answers.push((
                broker,
                answered.map(|(response, endpoint, connection)| {
                    self.idle.insert(endpoint, connection);
                    response
                }),
            ));
        }
        answers
    }

    /// Asks the coordinator of `group`, wherever it moves; `code` finds the error code of an answer.
    ///
    /// # Errors
    /// No coordinator answers in time.
    pub async fn ask_coordinator<R: Request>(
        &mut self,
        group: &str,
        call: &Call<R>,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        let mut retries = Retries::default();
        loop {
            let coordinator = self.coordinator(group).await?;
            let idle = self.idle.remove(&coordinator);
            let asked = call_at(Some(coordinator), idle, &self.client_id, -1, call).await;
            let failed = match asked {
                Ok((response, endpoint, connection)) => {
                    self.idle.insert(endpoint, connection);
                    let code = ErrorCode::from(code(&response));
                    match refused(code, format!("group {group:?}")) {
                        Some(error) if passes(&error) => error,
                        // What does not pass is the caller's to tell.
                        _ => return Ok(response),
                    }
                }
                Err(error) => error,
            };
            pass(&mut retries, failed).await?;
        }
    }

    async fn coordinator(&mut self, group: &str) -> Result<Endpoint, ClientError> {
        let request = FindCoordinatorRequest {
            key_type: GROUP,
            coordinator_keys: vec![StrBytes::copy_of(group)],
            ..FindCoordinatorRequest::default()
        };
        let response = self
            .ask(&request, |response| {
                let first = response.coordinators.first()?;
                refused(
                    ErrorCode::from(first.error_code),
                    format!("group {group:?}"),
                )
            })
            .await?;
        let coordinator = response.coordinators.into_iter().next();
        let coordinator = coordinator
            .ok_or_else(|| ClientError::BadAnswer("no coordinator in the answer".to_owned()))?;
        Ok(endpoint(&coordinator.host, coordinator.port))
    }

    /// A connection to a broker that is there: an open one if there is one.
    async fn connect_any(&mut self) -> Result<(Endpoint, Connection), ClientError> {
        if let Some(endpoint) = self.idle.keys().next().cloned()
            && let Some(connection) = self.idle.remove(&endpoint)
        {
            return Ok((endpoint, connection));
        }
        let known = self.brokers.values().chain(self.bootstrap.endpoints());
        let mut failed = None;
        for endpoint in known {
            match Connection::open(endpoint, &self.client_id).await {
                Ok(connection) => return Ok((endpoint.clone(), connection)),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| ClientError::BadAnswer("there are no brokers".to_owned())))
    }
}

/// Waits, unless the failure is one that does not pass.
pub(super) async fn pass(retries: &mut Retries, failed: ClientError) -> Result<(), ClientError> {
    match passes(&failed) {
        true => retries.wait(failed).await,
        false => Err(failed),
    }
}

/// A connection that fails is not used again.
async fn call_at<R: Request>(
    endpoint: Option<Endpoint>,
    idle: Option<Connection>,
    client_id: &str,
    broker: i32,
    call: &Call<R>,
) -> Result<(R::Response, Endpoint, Connection), ClientError> {
    let endpoint = endpoint.ok_or_else(|| ClientError::NoLeader {
        what: format!("broker {broker} is not known"),
    })?;
    let mut connection = match idle {
        Some(idle) => idle,
        None => Connection::open(&endpoint, client_id).await?,
    };
    let version = match call.version {
        Some(version) => version,
        None => connection.version::<R>()?,
    };
    let response = connection.call_version(&call.request, version).await?;
    Ok((response, endpoint, connection))
}

fn endpoint(host: &str, port: i32) -> Endpoint {
    Endpoint {
        host: host.to_owned(),
        port: u16::try_from(port).unwrap_or_default(),
    }
}
