//! The token that an etcd with authentication wants with every call.
//!
//! It is asked for with user and password, kept until etcd does not know it any more (it forgets those that were not
//! used for some minutes, and all when it restarts), and then asked for again.

use tokio::sync::Mutex;
use tonic::metadata::{Ascii, MetadataValue};

use alluvium_common::error::Outcome;

use super::error::{Class, Failure};
use super::options::Credentials;
use super::proto::AuthenticateRequest;
use super::wire::Wire;

#[derive(Debug)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    /// Locked while it is asked for, so that one call asks and the others wait.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Missing,
    /// etcd runs without authentication.
    NotNeeded,
    Held(MetadataValue<Ascii>),
}

impl Auth {
    pub(super) fn new(credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            state: Mutex::default(),
        }
    }

    /// Adds the token to `wire`, asking for it over `wire` if there is none. A failure means that the call it was
    /// wanted for was not made.
    pub(super) async fn sign(&self, wire: Wire) -> Result<Wire, Failure> {
        let Some(credentials) = &self.credentials else {
            return Ok(wire);
        };
        let mut state = self.state.lock().await;
        if let State::Missing = *state {
            *state = ask(&wire, credentials).await.map_err(Failure::not_done)?;
        }
        let token = match &*state {
            State::Held(token) => Some(token.clone()),
            State::Missing | State::NotNeeded => None,
        };
        Ok(Wire { token, ..wire })
    }

    /// etcd did not accept what `wire` was signed with. Whether there is hope that another will be.
    pub(super) async fn reject(&self, rejected: &Wire) -> bool {
        let mut state = self.state.lock().await;
        let still_held = match (&*state, &rejected.token) {
            (State::Held(held), Some(rejected)) => held == rejected,
            (State::NotNeeded, None) => true,
            _ => false,
        };
        if still_held {
            *state = State::Missing;
        }
        self.credentials.is_some()
    }
}

async fn ask(wire: &Wire, credentials: &Credentials) -> Result<State, Failure> {
    let request = AuthenticateRequest {
        name: credentials.user.clone(),
        password: credentials.password.clone(),
    };
    let answer = match wire.clone().authenticate(request).await {
        Ok(answer) => answer,
        Err(status) => {
            let failure = Failure::of(&status);
            return match failure.class {
                Class::AuthNotEnabled => Ok(State::NotNeeded),
                _ => Err(failure),
            };
        }
    };
    let token = answer.token.parse().map_err(|_| Failure {
        class: Class::Refused,
        outcome: Outcome::NotDone,
        reason: "etcd answered with a token that cannot be sent".to_owned(),
    })?;
    Ok(State::Held(token))
}
