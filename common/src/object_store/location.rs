//! Which store a URL names.

use std::path::PathBuf;

use ::object_store::ObjectStoreScheme;
use ::object_store::path::Path;
use url::Url;

use super::OpenError;

/// A store's place, parsed from what `--object-store` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of the local file system.
    Local(PathBuf),
    /// Memory of this process; for tests, gone when the process ends.
    Memory,
    /// A bucket or container of a cloud store, or of a server that speaks its protocol.
    Cloud {
        /// Whose protocol.
        provider: Provider,
        /// The URL as given, without the prefix' meaning: bucket and account are in its host.
        url: Url,
        /// Everything is kept below this prefix within the bucket.
        prefix: Path,
    },
}

/// The cloud stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3 and the many servers that speak its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Location {
    /// Understands `text`: `file:///path`, a plain path, `memory:`, `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `az://container/prefix` or `abfss://...`.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        let invalid = |reason: String| OpenError::InvalidUrl {
            url: without_secrets(text),
            reason,
        };
        if text.is_empty() {
            return Err(invalid("it is empty".into()));
        }
        if text == "memory:" || text == "memory:///" {
            return Ok(Self::Memory);
        }
        if !has_scheme(text) {
            return Ok(Self::Local(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        if url.scheme() == "file" {
            // `file:data` would silently become `/data`.
            let path = match text.starts_with("file:///") {
                true => url.to_file_path().ok(),
                false => None,
            };
            return path.map(Self::Local).ok_or_else(|| {
                invalid("a file URL has three slashes and an absolute path: file:///path".into())
            });
        }
        cloud(url, invalid)
    }
}

fn cloud(url: Url, invalid: impl Fn(String) -> OpenError) -> Result<Location, OpenError> {
    if url.password().is_some() {
        let reason = "credentials come from the environment, never from the URL";
        return Err(invalid(reason.into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        let reason = "settings such as endpoint and region come from the environment \
                      (AWS_ENDPOINT_URL, AWS_REGION), not from the URL";
        return Err(invalid(reason.into()));
    }
    if matches!(url.scheme(), "http" | "https") {
        let reason = "name the bucket as s3://bucket/prefix and give the server's address as \
                      AWS_ENDPOINT_URL in the environment";
        return Err(invalid(reason.into()));
    }
    let known = "use a path, file:///path, s3://bucket/prefix, gs://bucket/prefix, \
                 az://container/prefix or memory:";
    let (scheme, prefix) =
        ObjectStoreScheme::parse(&url).map_err(|error| invalid(format!("{error}; {known}")))?;
    let provider = match scheme {
        ObjectStoreScheme::AmazonS3 => Provider::S3,
        ObjectStoreScheme::GoogleCloudStorage => Provider::Gcs,
        ObjectStoreScheme::MicrosoftAzure => Provider::Azure,
        _ => return Err(invalid(known.into())),
    };
    Ok(Location::Cloud {
        provider,
        url,
        prefix,
    })
}

/// `C:\data` is no URL either, but we do not run there.
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// `text` fit for a log: what stands between `//` and `@` may be a secret, and so may a query.
fn without_secrets(text: &str) -> String {
    let text = text.split_once('?').map_or(text, |(before, _)| before);
    match (text.find("//"), text.find('@')) {
        (Some(slashes), Some(at)) if slashes < at => {
            format!("{}//***{}", &text[..slashes], &text[at..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(path: &str) -> Location {
        Location::Local(PathBuf::from(path))
    }

    #[test]
    fn folders() {
        for (text, path) in [
            ("file:///var/lib/alluvium", "/var/lib/alluvium"),
            ("file:///with%20space", "/with space"),
            ("/data", "/data"),
            ("./data", "./data"),
            ("data/x:y", "data/x:y"),
        ] {
            assert_eq!(Location::parse(text).expect(text), local(path), "{text}");
        }
        assert_eq!(
            Location::parse("memory:").expect("memory"),
            Location::Memory
        );
    }

    #[test]
    fn buckets_and_prefixes() {
        for (text, provider, prefix) in [
            ("s3://bucket", Provider::S3, ""),
            ("s3://bucket/", Provider::S3, ""),
            ("s3://bucket/a/b/", Provider::S3, "a/b"),
            ("gs://bucket/a", Provider::Gcs, "a"),
            ("az://container/a", Provider::Azure, "a"),
            (
                "abfss://files@account.dfs.core.windows.net/a",
                Provider::Azure,
                "a",
            ),
        ] {
            match Location::parse(text).expect(text) {
                Location::Cloud {
                    provider: p,
                    prefix: x,
                    ..
                } => assert_eq!((p, x.as_ref()), (provider, prefix), "{text}"),
                other => panic!("{text} became {other:?}"),
            }
        }
    }

    #[test]
    fn wrong_urls_say_what_to_write_instead() {
        for (text, word) in [
            ("", "empty"),
            ("file://host/path", "file:///path"),
            ("file:relative", "file:///path"),
            ("http://127.0.0.1:9000/bucket", "AWS_ENDPOINT_URL"),
            ("s3://key:secret@bucket", "environment"),
            ("s3://bucket?region=eu", "AWS_REGION"),
            ("ftp://x/y", "s3://bucket/prefix"),
            ("s3:///prefix", "s3://bucket/prefix"),
        ] {
            let error = Location::parse(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
