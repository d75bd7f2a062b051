//! Where etcd is and how to speak to it, read from a URL.
//!
//! ```text
//! etcd://[user:password@]host:port[,host:port...][/prefix][?tls=true&ca=FILE&cert=FILE&key=FILE]
//! ```
//!
//! `ca`, `cert` and `key` are PEM files and imply `tls=true`; without `ca` the system's certificates count. User, password, prefix
//! and file names may be percent-encoded.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

/// What a URL of an etcd begins with.
pub const ETCD_SCHEME: &str = "etcd://";

/// Longest time of any call of the store, all attempts at all endpoints included. Then it fails. Shorter than
/// a broker's session is by default; a call that outlives a shorter one meets the session's comparison (F1).
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time of one attempt of a call that may be repeated; then another endpoint is asked.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// Longest time to open a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a URL of an etcd cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; expected etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][/PREFIX][?tls=true&ca=FILE&cert=FILE&key=FILE]"
)]
pub struct EtcdUrlError(String);

/// How to reach an etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// `host:port` of its members, at least one. The first that works is used.
    pub endpoints: Vec<String>,
    /// Stands before every key; may be empty.
    pub prefix: Bytes,
    /// For an etcd with authentication.
    pub credentials: Option<Credentials>,
    /// For an etcd with TLS.
    pub tls: Option<TlsOptions>,
    /// See [`CALL_TIMEOUT`].
    pub call_timeout: Duration,
    /// See [`ATTEMPT_TIMEOUT`].
    pub attempt_timeout: Duration,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
}

/// A user of etcd. Printing it hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Files of a TLS connection, all PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Certificates that the server's is checked against; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl EtcdOptions {
    /// An etcd without prefix, authentication and TLS.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: Bytes::new(),
            credentials: None,
            tls: None,
            call_timeout: CALL_TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// Reads a URL. Errors never repeat the part that may hold a password.
    ///
    /// # Errors
    /// What of it cannot be understood.
    pub fn parse(url: &str) -> Result<Self, EtcdUrlError> {
        let rest = url
            .strip_prefix(ETCD_SCHEME)
            .ok_or_else(|| error("not an etcd URL"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(parse_credentials(user)?), hosts),
            None => (None, authority),
        };
        let endpoints = hosts
            .split(',')
            .map(parse_endpoint)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            prefix: parse_prefix(prefix)?,
            credentials,
            tls: parse_query(query)?,
            ..Self::new(endpoints)
        })
    }
}

fn error(what: impl Into<String>) -> EtcdUrlError {
    EtcdUrlError(what.into())
}

fn decode(text: &str, what: &str) -> Result<String, EtcdUrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| error(format!("{what} is not percent-encoded UTF-8")))
}

/// Keys begin with a slash, and so does what stands before them.
fn parse_prefix(path: &str) -> Result<Bytes, EtcdUrlError> {
    let path = decode(path, "the prefix")?;
    Ok(match path.trim_end_matches('/') {
        "" => Bytes::new(),
        path => format!("/{path}").into(),
    })
}

fn parse_credentials(text: &str) -> Result<Credentials, EtcdUrlError> {
    let (user, password) = text
        .split_once(':')
        .ok_or_else(|| error("a user without password before the @"))?;
    let credentials = Credentials {
        user: decode(user, "the user")?,
        password: decode(password, "the password")?,
    };
    if credentials.user.is_empty() {
        return Err(error("an empty user before the @"));
    }
    Ok(credentials)
}

fn parse_endpoint(text: &str) -> Result<String, EtcdUrlError> {
    let wrong = || error(format!("endpoint {text:?} is not HOST:PORT"));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ipv6 = bare.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let name = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if port == 0 || !(ipv6 || name) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

fn parse_query(query: &str) -> Result<Option<TlsOptions>, EtcdUrlError> {
    let (mut tls, mut files) = (None, TlsOptions::default());
    let (mut cert, mut key) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| error(format!("parameter {pair:?} has no value")))?;
        let file = || -> Result<Option<PathBuf>, EtcdUrlError> {
            let path = decode(value, name)?;
            if path.is_empty() {
                return Err(error(format!("parameter {name:?} names no file")));
            }
            Ok(Some(path.into()))
        };
        match name {
            "tls" => {
                let on = value
                    .parse::<bool>()
                    .map_err(|_| error(format!("tls is true or false, not {value:?}")))?;
                tls = Some(on);
            }
            "ca" => files.ca = file()?,
            "cert" => cert = file()?,
            "key" => key = file()?,
            other => return Err(error(format!("unknown parameter {other:?}"))),
        }
    }
    files.identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(error("cert and key go together")),
    };
    let named = files != TlsOptions::default();
    if named && tls == Some(false) {
        return Err(error("tls=false, and yet files for TLS"));
    }
    Ok((named || tls == Some(true)).then_some(files))
}

#[cfg(test)]
mod tests;
