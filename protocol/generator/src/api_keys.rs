//! The table of APIs, from the requests' schemas.

use std::fmt::Write;

use crate::emit::MARK;
use crate::model::Message;

/// The `api_keys` module. `requests` must be in the order of their keys.
pub fn module(requests: &[&Message]) -> String {
    let mut out = format!(
        "{MARK}\n//! The APIs that a broker's listener can meet, by number.\n\n\
         use crate::api_key::{{ApiDescription, UnknownApiKey}};\n\n"
    );
    enumeration(&mut out, requests);
    lookups(&mut out, requests);
    each_api_macro(&mut out, requests);
    out
}

fn api(request: &Message) -> (&str, i16) {
    let name = request
        .name
        .strip_suffix("Request")
        .expect("requests are called so");
    (name, request.api_key.expect("requests have a key"))
}

fn enumeration(out: &mut String, requests: &[&Message]) {
    out.push_str("/// An API of Kafka's protocol; the number is the one on the wire.\n");
    out.push_str("#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]\n#[repr(i16)]\npub enum ApiKey {\n");
    for request in requests {
        let (name, key) = api(request);
        let _ = writeln!(
            out,
            "/// `{name}`, versions {}.\n{name} = {key},",
            request.versions.describe()
        );
    }
    out.push_str("}\n\n");
}

fn lookups(out: &mut String, requests: &[&Message]) {
    out.push_str(
        "impl ApiKey {\n/// Every API, by ascending number.\npub const ALL: &'static [ApiKey] = &[",
    );
    for request in requests {
        let _ = write!(out, "ApiKey::{}, ", api(request).0);
    }
    out.push_str("];\n\npub(crate) fn describe(self) -> ApiDescription {\nmatch self {\n");
    for request in requests {
        let flexible = match request.flexible.is_empty() {
            true => "None".to_owned(),
            false => format!("Some({})", request.flexible.low),
        };
        let (name, versions) = (api(request).0, request.versions);
        let _ = writeln!(
            out,
            "ApiKey::{name} => ApiDescription::new({name:?}, {}, {}, {flexible}),",
            versions.low, versions.high
        );
    }
    out.push_str("}\n}\n}\n\nimpl TryFrom<i16> for ApiKey {\ntype Error = UnknownApiKey;\n\n");
    out.push_str("fn try_from(key: i16) -> Result<Self, UnknownApiKey> {\nOk(match key {\n");
    for request in requests {
        let (name, key) = api(request);
        let _ = writeln!(out, "{key} => ApiKey::{name},");
    }
    out.push_str("_ => return Err(UnknownApiKey(key)),\n})\n}\n}\n\n");
}

fn each_api_macro(out: &mut String, requests: &[&Message]) {
    out.push_str(
        "/// Calls the macro `$then` with `(Api, ApiRequest, ApiResponse)` for every API: for tables and for tests.\n\
         #[macro_export]\nmacro_rules! with_each_api {\n($then:ident) => {\n$then! {\n",
    );
    for request in requests {
        let name = api(request).0;
        let _ = writeln!(out, "({name}, {name}Request, {name}Response)");
    }
    out.push_str("}\n};\n}\n");
}
