//! S3's ListMultipartUploads: what is asked, and what is answered. Pure.

use ::object_store::path::Path;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

use super::{UnfinishedUpload, UploadMarker, UploadPage};

/// How names are told that XML cannot hold.
const URL_ENCODING: &str = "url";

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListingError {
    #[error("the listing of uploads cannot be read: {0}")]
    Xml(#[from] quick_xml::DeError),
    #[error("the listing of uploads goes on, and does not say where")]
    NoMarker,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListMultipartUploadsResult {
    #[serde(default)]
    is_truncated: bool,
    encoding_type: Option<String>,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
}

/// The request for a page: `bucket` with a query. Names begin with `prefix`.
pub(super) fn request(bucket: &Url, prefix: &str, after: Option<&UploadMarker>) -> Url {
    let mut url = bucket.clone();
    let mut query = url.query_pairs_mut();
    query.append_pair("uploads", "");
    query.append_pair("encoding-type", URL_ENCODING);
    query.append_pair("prefix", prefix);
    if let Some(after) = after {
        query.append_pair("key-marker", &after.key);
        if let Some(id) = &after.id {
            query.append_pair("upload-id-marker", id);
        }
    }
    drop(query);
    // What a form writes for a space, a signature does not mean.
    let query = url.query().unwrap_or_default().replace('+', "%20");
    url.set_query(Some(&query));
    url
}

/// The answer. Names are given relative to `root`; what is not below it, or is no path, is left out.
pub(super) fn page(xml: &str, root: &Path) -> Result<UploadPage, ListingError> {
    let told: ListMultipartUploadsResult = quick_xml::de::from_str(xml)?;
    let is_encoded = told.encoding_type.as_deref() == Some(URL_ENCODING);
    let decoded = |name: String| match is_encoded {
        true => decode(&name),
        false => Some(name),
    };
    let next = match (told.is_truncated, told.next_key_marker) {
        (false, _) => None,
        (true, marker) => Some(UploadMarker {
            key: marker.and_then(decoded).ok_or(ListingError::NoMarker)?,
            id: told.next_upload_id_marker.filter(|id| !id.is_empty()),
        }),
    };
    let uploads = told.uploads.into_iter().filter_map(|upload| {
        let path = Path::parse(decoded(upload.key)?).ok()?;
        let location = path.prefix_match(root)?.collect();
        let id = upload.upload_id;
        Some(UnfinishedUpload { location, id })
    });
    Ok(UploadPage {
        uploads: uploads.collect(),
        next,
    })
}

/// Amazon writes a space as a plus here, as forms do.
fn decode(name: &str) -> Option<String> {
    let spaced = name.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Amazon's documentation shows it, with two uploads of one object, and one of somebody else's.
    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Bucket>bucket</Bucket>
  <KeyMarker></KeyMarker>
  <UploadIdMarker></UploadIdMarker>
  <EncodingType>url</EncodingType>
  <NextKeyMarker>a/my%20file%2B.x</NextKeyMarker>
  <NextUploadIdMarker>YW55IGlkZWE.-_/+=</NextUploadIdMarker>
  <MaxUploads>3</MaxUploads>
  <IsTruncated>true</IsTruncated>
  <Upload>
    <Key>a/my+file%2B.x</Key>
    <UploadId>XMgbGlrZSBl&amp;</UploadId>
    <Initiator><ID>arn:aws:iam::1:user/u</ID><DisplayName>u</DisplayName></Initiator>
    <Owner><ID>75aa57f0</ID><DisplayName>OwnerDisplayName</DisplayName></Owner>
    <StorageClass>STANDARD</StorageClass>
    <Initiated>2010-11-10T20:48:33.000Z</Initiated>
  </Upload>
  <Upload><Key>a/my+file%2B.x</Key><UploadId>2</UploadId></Upload>
  <Upload><Key>ab/x</Key><UploadId>3</UploadId></Upload>
</ListMultipartUploadsResult>"#;

    fn upload(location: &str, id: &str) -> UnfinishedUpload {
        UnfinishedUpload {
            location: Path::parse(location).expect("a path"),
            id: id.to_owned(),
        }
    }

    #[test]
    fn an_answer_is_understood() {
        let page = page(PAGE, &Path::from("a")).expect("a page");
        let name = "my file+.x";
        assert_eq!(
            page.uploads,
            [upload(name, "XMgbGlrZSBl&"), upload(name, "2")]
        );
        let next = UploadMarker {
            key: "a/my file+.x".to_owned(),
            id: Some("YW55IGlkZWE.-_/+=".to_owned()),
        };
        assert_eq!(page.next, Some(next));
    }

    #[test]
    fn the_last_page_is_the_last() {
        let xml = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><NextKeyMarker/>\
                   </ListMultipartUploadsResult>";
        let last = page(xml, &Path::default()).expect("a page");
        assert_eq!(last, UploadPage::default());
        // Who does not encode does not say so.
        let xml = "<ListMultipartUploadsResult><Upload><Key>a%2Bb</Key><UploadId>1</UploadId></Upload>\
                   </ListMultipartUploadsResult>";
        let plain = page(xml, &Path::default()).expect("a page");
        assert_eq!(plain.uploads, [upload("a%2Bb", "1")]);
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        let root = Path::default();
        assert!(page("<html>", &root).is_err());
        let endless = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>\
                       </ListMultipartUploadsResult>";
        assert!(matches!(page(endless, &root), Err(ListingError::NoMarker)));
    }

    #[test]
    fn requests_are_what_s3_signs() {
        let bucket = Url::parse("http://host:1/bucket").expect("a URL");
        let first = request(&bucket, "a b/", None);
        let expected = "http://host:1/bucket?uploads=&encoding-type=url&prefix=a%20b%2F";
        assert_eq!(first.as_str(), expected);
        let after = UploadMarker {
            key: "a b/+".to_owned(),
            id: Some("i=&d".to_owned()),
        };
        let next = request(&bucket, "a b/", Some(&after));
        let expected = format!("{expected}&key-marker=a%20b%2F%2B&upload-id-marker=i%3D%26d");
        assert_eq!(next.as_str(), expected);
    }
}
