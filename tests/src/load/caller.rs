//! One client's connections, each given up at the first trouble.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use alluvium_protocol::Request;
use tokio::time::timeout;

use super::REQUEST_PATIENCE;
use super::router::{Broker, Router};
use crate::client::Client;

/// No answer: whether the request was carried out is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnswer;

#[derive(Debug)]
pub(super) struct Caller {
    pub router: Arc<Router>,
    clients: HashMap<i32, Client>,
}

impl Caller {
    pub(super) fn new(router: Arc<Router>) -> Self {
        Self {
            router,
            clients: HashMap::new(),
        }
    }

    /// Asks `broker`.
    pub(super) async fn call<R: Request>(
        &mut self,
        broker: &Broker,
        request: &R,
        version: i16,
    ) -> Result<R::Response, NoAnswer> {
        let answer = timeout(REQUEST_PATIENCE, self.try_call(broker, request, version)).await;
        match answer {
            Ok(Some(response)) => Ok(response),
            _ => {
                self.clients.remove(&broker.id);
                Err(NoAnswer)
            }
        }
    }

    /// Asks whichever broker answers, one after the other. Only for what may be done twice.
    pub(super) async fn call_any<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, NoAnswer> {
        for endpoint in self.router.in_turn() {
            let asking = async {
                let mut client = Client::try_connect(&endpoint).await.ok()?;
                client.try_call(request, version).await.ok()
            };
            if let Ok(Some(answer)) = timeout(REQUEST_PATIENCE, asking).await {
                return Ok(answer);
            }
        }
        Err(NoAnswer)
    }

    async fn try_call<R: Request>(
        &mut self,
        broker: &Broker,
        request: &R,
        version: i16,
    ) -> Option<R::Response> {
        let client = match self.clients.entry(broker.id) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(free) => {
                let client = Client::try_connect(&broker.endpoint).await.ok()?;
                free.insert(client)
            }
        };
        client.try_call(request, version).await.ok()
    }
}
