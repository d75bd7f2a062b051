//! Where a client begins.

use std::str::FromStr;

use crate::config::Endpoint;

/// Some brokers of a cluster: `HOST:PORT,HOST:PORT`. One that answers is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap(Vec<Endpoint>);

impl Bootstrap {
    /// The brokers, in the order given.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.0
    }
}

impl FromStr for Bootstrap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let endpoints: Vec<_> = named.map(str::parse).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err("expected HOST:PORT, or several separated by commas".to_owned());
        }
        Ok(Self(endpoints))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_several() {
        let several: Bootstrap = "a:1, [::1]:2,".parse().expect("two");
        let named: Vec<_> = several
            .endpoints()
            .iter()
            .map(Endpoint::to_string)
            .collect();
        assert_eq!(named, ["a:1", "[::1]:2"]);
        for wrong in ["", ",", "a", "a:1,b"] {
            assert!(wrong.parse::<Bootstrap>().is_err(), "{wrong:?}");
        }
    }
}
