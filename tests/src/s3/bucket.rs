//! What the server stores: buckets, objects, uploads in parts. All behind one lock, so that a
//! compare-and-set is one, which few small S3 servers can say.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::{Bytes, BytesMut};
use s3s::dto::{ETag, ETagCondition};

/// Smallest part of an upload except the last one, in bytes: Amazon's rule.
const PART_BYTES_MIN: usize = 5 << 20;

/// Every bucket of the server.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    buckets: BTreeMap<String, Bucket>,
    revision: u64,
}

#[derive(Debug, Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
}

/// One stored object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) content: Bytes,
    pub(super) tag: String,
    pub(super) modified_ms: i64,
}

#[derive(Debug)]
struct Upload {
    key: String,
    begun_ms: i64,
    parts: BTreeMap<i32, (String, Bytes)>,
}

/// Why an operation on the stored state is refused; the handler turns it into S3's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
    NotModified,
    InvalidPart,
    PartTooSmall,
}

/// `If-Match` and `If-None-Match` of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
}

impl Conditions {
    /// For a write: an absent object fails `If-Match` as a missing key, as Amazon's S3 answers.
    fn check_write(&self, current: Option<&Object>) -> Result<(), Refusal> {
        if let Some(wanted) = &self.if_match {
            let current = current.ok_or(Refusal::NoSuchKey)?;
            if !matches(wanted, current) {
                return Err(Refusal::PreconditionFailed);
            }
        }
        match (&self.if_none_match, current) {
            (Some(unwanted), Some(current)) if matches(unwanted, current) => {
                Err(Refusal::PreconditionFailed)
            }
            _ => Ok(()),
        }
    }

    /// For a read.
    pub(super) fn check_read(&self, current: &Object) -> Result<(), Refusal> {
        if self
            .if_match
            .as_ref()
            .is_some_and(|tag| !matches(tag, current))
        {
            return Err(Refusal::PreconditionFailed);
        }
        match &self.if_none_match {
            Some(unwanted) if matches(unwanted, current) => Err(Refusal::NotModified),
            _ => Ok(()),
        }
    }
}

fn matches(condition: &ETagCondition, object: &Object) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(tag) => *tag == ETag::Strong(object.tag.clone()),
    }
}

/// One page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<(String, Object)>,
    pub(super) folders: Vec<String>,
    /// Where the next page begins: after this name.
    pub(super) next_after: Option<String>,
}

/// One page of a listing of uploads.
#[derive(Debug, Default)]
pub(super) struct UploadsPage {
    /// Key, id, and when it was begun.
    pub(super) uploads: Vec<(String, String, i64)>,
    pub(super) is_truncated: bool,
}

impl Buckets {
    pub(super) fn create(&mut self, name: &str) {
        self.buckets.entry(name.to_owned()).or_default();
    }

    pub(super) fn exists(&self, name: &str) -> Result<(), Refusal> {
        self.bucket(name).map(|_| ())
    }

    fn bucket(&self, name: &str) -> Result<&Bucket, Refusal> {
        self.buckets.get(name).ok_or(Refusal::NoSuchBucket)
    }

    fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        self.buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)
    }

    fn next_tag(&mut self) -> String {
        self.revision += 1;
        format!("{:016x}", self.revision)
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Result<&Object, Refusal> {
        self.bucket(bucket)?
            .objects
            .get(key)
            .ok_or(Refusal::NoSuchKey)
    }

    pub(super) fn put(
        &mut self,
        (bucket, key): (&str, &str),
        content: Bytes,
        modified_ms: i64,
        conditions: &Conditions,
    ) -> Result<Object, Refusal> {
        let tag = self.next_tag();
        let objects = &mut self.bucket_mut(bucket)?.objects;
        conditions.check_write(objects.get(key))?;
        let object = Object {
            content,
            tag,
            modified_ms,
        };
        objects.insert(key.to_owned(), object.clone());
        Ok(object)
    }

    pub(super) fn delete(&mut self, bucket: &str, key: &str) -> Result<(), Refusal> {
        self.bucket_mut(bucket)?.objects.remove(key);
        Ok(())
    }

    pub(super) fn keys(&self, bucket: &str) -> Vec<String> {
        let objects = self.bucket(bucket).map(|bucket| &bucket.objects);
        objects
            .map(|objects| objects.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// At most `max` names and folders below `prefix`, after `after`, in the order of their bytes.
    pub(super) fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: Option<&str>,
        after: &str,
        max: usize,
    ) -> Result<Page, Refusal> {
        let objects = &self.bucket(bucket)?.objects;
        let start = match after < prefix {
            true => Bound::Included(prefix),
            false => Bound::Excluded(after),
        };
        let mut page = Page::default();
        let mut last = String::new();
        for (key, object) in objects.range::<str, _>((start, Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            let folder = folder_of(key, prefix, delimiter);
            // All of a folder is one entry, which may have been on the page before.
            if folder.is_some_and(|folder| folder == last || after.starts_with(folder)) {
                continue;
            }
            if page.objects.len() + page.folders.len() == max {
                page.next_after = Some(last);
                break;
            }
            last = folder.unwrap_or(key).to_owned();
            match folder {
                Some(folder) => page.folders.push(folder.to_owned()),
                None => page.objects.push((key.clone(), object.clone())),
            }
        }
        Ok(page)
    }

    pub(super) fn begin_upload(
        &mut self,
        bucket: &str,
        key: &str,
        begun_ms: i64,
    ) -> Result<String, Refusal> {
        let id = self.next_tag();
        let upload = Upload {
            key: key.to_owned(),
            begun_ms,
            parts: BTreeMap::new(),
        };
        self.bucket_mut(bucket)?.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    fn upload_mut(&mut self, bucket: &str, key: &str, id: &str) -> Result<&mut Upload, Refusal> {
        let upload = self.bucket_mut(bucket)?.uploads.get_mut(id);
        upload
            .filter(|upload| upload.key == key)
            .ok_or(Refusal::NoSuchUpload)
    }

    pub(super) fn put_part(
        &mut self,
        (bucket, key): (&str, &str),
        id: &str,
        number: i32,
        content: Bytes,
    ) -> Result<String, Refusal> {
        let tag = self.next_tag();
        let upload = self.upload_mut(bucket, key, id)?;
        upload.parts.insert(number, (tag.clone(), content));
        Ok(tag)
    }

    pub(super) fn complete_upload(
        &mut self,
        (bucket, key): (&str, &str),
        id: &str,
        parts: &[(i32, Option<ETag>)],
        modified_ms: i64,
        conditions: &Conditions,
    ) -> Result<Object, Refusal> {
        let upload = self.upload_mut(bucket, key, id)?;
        let content = joined(upload, parts)?;
        let object = self.put((bucket, key), content, modified_ms, conditions)?;
        self.bucket_mut(bucket)?.uploads.remove(id);
        Ok(object)
    }

    pub(super) fn abort_upload(
        &mut self,
        (bucket, key): (&str, &str),
        id: &str,
    ) -> Result<(), Refusal> {
        self.upload_mut(bucket, key, id)?;
        self.bucket_mut(bucket)?.uploads.remove(id);
        Ok(())
    }

    /// At most `max` uploads of keys that begin with `prefix`, by key and then by id. Without an id to begin behind, all of
    /// the key are passed over, as Amazon does.
    pub(super) fn list_uploads(
        &self,
        bucket: &str,
        prefix: &str,
        (after_key, after_id): (&str, Option<&str>),
        max: usize,
    ) -> Result<UploadsPage, Refusal> {
        let uploads = self.bucket(bucket)?.uploads.iter();
        let told =
            |(id, upload): (&String, &Upload)| (upload.key.clone(), id.clone(), upload.begun_ms);
        let mut all: Vec<_> = uploads.map(told).collect();
        all.retain(|(key, id, _)| {
            let is_after = match after_id {
                Some(after_id) => (key.as_str(), id.as_str()) > (after_key, after_id),
                None => key.as_str() > after_key,
            };
            key.starts_with(prefix) && is_after
        });
        all.sort();
        let is_truncated = all.len() > max;
        all.truncate(max);
        Ok(UploadsPage {
            uploads: all,
            is_truncated,
        })
    }

    pub(super) fn uploads(&self, bucket: &str) -> usize {
        self.bucket(bucket).map_or(0, |bucket| bucket.uploads.len())
    }

    /// Changes stored bytes behind everybody's back, as a broken disk would.
    pub(super) fn damage(&mut self, bucket: &str, key: &str, position: usize) -> bool {
        let Ok(bucket) = self.bucket_mut(bucket) else {
            return false;
        };
        let Some(object) = bucket.objects.get_mut(key) else {
            return false;
        };
        if position >= object.content.len() {
            return false;
        }
        let mut content = BytesMut::from(object.content.as_ref());
        content[position] ^= 1;
        object.content = content.freeze();
        true
    }
}

/// `prefix/folder/` when `key` is deeper than the next delimiter.
fn folder_of<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let at = key[prefix.len()..].find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

fn joined(upload: &Upload, parts: &[(i32, Option<ETag>)]) -> Result<Bytes, Refusal> {
    let mut content = BytesMut::new();
    for (index, (number, wanted)) in parts.iter().enumerate() {
        let in_order = index == 0 || parts[index - 1].0 < *number;
        let (tag, part) = upload.parts.get(number).ok_or(Refusal::InvalidPart)?;
        let same = wanted.as_ref() == Some(&ETag::Strong(tag.clone()));
        if !in_order || !same {
            return Err(Refusal::InvalidPart);
        }
        if part.len() < PART_BYTES_MIN && index + 1 < parts.len() {
            return Err(Refusal::PartTooSmall);
        }
        content.extend_from_slice(part);
    }
    Ok(content.freeze())
}
