//! The types that settings have, and how each is read from and printed as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use alluvium_metadata::model::{Role, Roles};
use alluvium_metadata::store::EtcdOptions;
use alluvium_metadata::store::etcd::ETCD_SCHEME;

/// A value a setting can have: read from text, printed as the text that would be read back.
pub trait SettingValue: Sized {
    /// What the value is, for the reference page: "bytes", "milliseconds".
    const KIND: &'static str;
    /// Reads it; the error says what would be accepted.
    fn parse(text: &str) -> Result<Self, String>;
    /// The text that [`SettingValue::parse`] reads back to the same value.
    fn print(&self) -> String;
}

/// A number of bytes. Written plainly or with a unit: `1048576`, `1MiB`, `64 KiB`, `1GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// As a length in memory; saturates where `usize` is smaller.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const BYTE_UNITS: [(&str, u64); 8] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("b", 1),
];

/// A whole number, with or without one of `units`; `None` if it is neither or too large.
fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| lower.strip_suffix(unit).map(|rest| (rest, *factor)))
        .unwrap_or((lower.as_str(), 1));
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

impl SettingValue for ByteSize {
    const KIND: &'static str = "bytes";

    fn parse(text: &str) -> Result<Self, String> {
        parse_with_unit(text, &BYTE_UNITS)
            .map(ByteSize)
            .ok_or_else(|| "expected a number of bytes such as 1048576 or 1MiB".to_owned())
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}

/// A duration in milliseconds, as all of Kafka's `.ms` settings. Also written `5s`, `10m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// As the standard library's type.
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

const TIME_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl SettingValue for Millis {
    const KIND: &'static str = "milliseconds";

    fn parse(text: &str) -> Result<Self, String> {
        parse_with_unit(text, &TIME_UNITS)
            .map(Millis)
            .ok_or_else(|| "expected milliseconds such as 500, or 5s, 10m, 1h".to_owned())
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}

/// A sum of money, in whatever currency: not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Price(pub f64);

impl SettingValue for Price {
    const KIND: &'static str = "decimal number";

    fn parse(text: &str) -> Result<Self, String> {
        let price = text.trim().parse().ok();
        let price = price.filter(|price: &f64| price.is_finite() && *price >= 0.0);
        price
            .map(Self)
            .ok_or_else(|| "expected a decimal number such as 0.023".to_owned())
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}

/// `HOST:PORT`. An IPv6 host stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port; 0 asks the system for a free one.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("expected HOST:PORT such as 127.0.0.1:9092, not {text:?}");
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wanted)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wanted());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wanted())?,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl SettingValue for Endpoint {
    const KIND: &'static str = "HOST:PORT";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for Roles {
    const KIND: &'static str = "list";

    fn parse(text: &str) -> Result<Self, String> {
        let known = |name: &str| Role::ALL.into_iter().find(|role| role.name() == name);
        let roles = text.split(',').map(|name| {
            let name = name.trim();
            known(name)
                .ok_or_else(|| format!("{name:?} is no role; roles are broker, compactor, query"))
        });
        Ok(Self(roles.collect::<Result<_, _>>()?))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// Where the metadata is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataLocation {
    /// In the data folder.
    Embedded,
    /// In an etcd.
    Etcd(Box<EtcdOptions>),
}

impl SettingValue for MetadataLocation {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        if !text.starts_with(ETCD_SCHEME) {
            return Err("expected embedded or etcd://HOST:PORT,...".to_owned());
        }
        let options = EtcdOptions::parse(text).map_err(|error| error.to_string())?;
        Ok(Self::Etcd(Box::new(options)))
    }

    /// Of an etcd only what no secret can be in: the value is shown to every client that asks.
    fn print(&self) -> String {
        match self {
            Self::Embedded => "embedded".to_owned(),
            Self::Etcd(options) => {
                let prefix = String::from_utf8_lossy(&options.prefix);
                format!("{ETCD_SCHEME}{}{prefix}", options.endpoints.join(","))
            }
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for whom it is meant.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl SettingValue for Secret {
    const KIND: &'static str = "password";

    /// As it is: spaces may belong to it.
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        "[hidden]".to_owned()
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "boolean";

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.trim().to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

/// The empty text means "not set".
impl<T: SettingValue> SettingValue for Option<T> {
    const KIND: &'static str = T::KIND;

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        T::parse(text).map(Some)
    }

    fn print(&self) -> String {
        self.as_ref().map(T::print).unwrap_or_default()
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl SettingValue for $number {
            const KIND: &'static str = "number";

            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| {
                    format!("expected a whole number from {} to {}", <$number>::MIN, <$number>::MAX)
                })
            }

            fn print(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_numbers!(i16, i32, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_take_units() {
        assert_eq!(ByteSize::parse("64 KiB"), Ok(ByteSize(65_536)));
        assert_eq!(ByteSize::parse("1GB"), Ok(ByteSize(1_000_000_000)));
        assert_eq!(ByteSize::parse("17"), Ok(ByteSize(17)));
        assert!(ByteSize::parse("-1").is_err());
        assert!(ByteSize::parse("99999999999TiB").is_err());
        assert_eq!(Millis::parse("250"), Ok(Millis(250)));
        assert_eq!(Millis::parse("10m"), Ok(Millis(600_000)));
        assert_eq!(Millis::parse("250ms"), Ok(Millis(250)));
    }

    #[test]
    fn prices_are_decimal_and_not_negative() {
        for text in ["0.0004", "0", "17"] {
            assert_eq!(
                Price::parse(text).map(|price| price.print()).as_deref(),
                Ok(text)
            );
        }
        for text in ["-1", "NaN", "inf", "0,5", ""] {
            assert!(Price::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_know_ipv6() {
        let endpoint: Endpoint = "[::1]:9092".parse().expect("endpoint");
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 9092));
        assert_eq!(endpoint.to_string(), "[::1]:9092");
        assert!("9092".parse::<Endpoint>().is_err());
        assert!(":9092".parse::<Endpoint>().is_err());
    }

    #[test]
    fn passwords_are_never_shown() {
        let url = "etcd://alice:secret@one:2379,two:2379/p?tls=true";
        let location = MetadataLocation::parse(url).expect("a URL");
        assert_eq!(location.print(), "etcd://one:2379,two:2379/p");
        let password = Secret::parse("secret").expect("a password");
        let shown = format!("{location:?} {password:?} {}", password.print());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(MetadataLocation::parse("etcd://one").is_err());
        assert!(MetadataLocation::parse("zookeeper").is_err());
    }

    #[test]
    fn roles_are_named() {
        assert_eq!(
            Roles::parse("query, broker").map(|r| r.print()),
            Ok("broker,query".into())
        );
        assert!(Roles::parse("brokr").is_err());
    }
}
