//! The start-up probe: does what a broker does, once, with an object of its own, and says in plain
//! words whether the store is usable and, if not, why and what to do next.
//!
//! Whether conditional PUT works is reported too, but only for people to know: nothing in Alluvium
//! rests on it, because names are unique and the commit is in the metadata store. Several servers
//! accept `If-None-Match: *` and ignore it.

use std::fmt;
use std::time::Duration;

use ::object_store::path::Path;
use ::object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::failure::{Failure, FailureKind};
use crate::rand::Random;

/// Where probe objects live, below the store's prefix.
const FOLDER: &str = "alluvium-probe";

/// Bytes of a probe object: enough for a range inside it, small enough for any link.
const PROBE_BYTES: usize = 4096;

/// Writers that race to create one object.
const RACERS: usize = 8;

/// A passing failure (throttling, a broken connection) is tried this often before it counts.
const ATTEMPTS_MAX: u32 = 4;

/// Pause between such attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);

/// What the probe was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStep {
    /// Storing the probe object.
    Write,
    /// Reading it back.
    Read,
    /// Reading a range of it.
    ReadRange,
    /// Finding it in a listing.
    List,
    /// Deleting it.
    Delete,
}

impl fmt::Display for ProbeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "writing an object",
            Self::Read => "reading an object back",
            Self::ReadRange => "reading a range of an object",
            Self::List => "listing objects",
            Self::Delete => "deleting an object",
        })
    }
}

/// Whether create-if-absent (`If-None-Match: *`) can be trusted at this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalPut {
    /// Of all concurrent writers exactly one won.
    Works,
    /// Several writers were told that they had created the same object.
    Ignored {
        /// How many.
        winners: usize,
    },
    /// The store refuses such requests.
    Refused,
    /// It could not be found out.
    Unknown,
}

/// A usable store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Time to store the probe object.
    pub put: Duration,
    /// Time to read it back.
    pub get: Duration,
    /// For information only.
    pub conditional_put: ConditionalPut,
}

/// An unusable store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the object store {url} cannot be used: {step} failed, {reason}; {advice}")]
pub struct ProbeError {
    /// The store.
    pub url: String,
    /// What failed.
    pub step: ProbeStep,
    /// What kind of failure it was; `None` when answers came but were wrong or never came.
    pub kind: Option<FailureKind>,
    /// What was found.
    pub reason: String,
    /// What to do next.
    pub advice: String,
}

/// Probes `store`, which must be without retries, for at most `time`.
pub async fn probe(
    url: &str,
    store: &dyn ObjectStore,
    random: &dyn Random,
    time: Duration,
) -> Result<ProbeReport, ProbeError> {
    let mut run = Probe {
        url,
        store,
        name: Path::from(format!("{FOLDER}/{}", random.uuid().simple())),
        content: (0..PROBE_BYTES / 8)
            .flat_map(|_| random.next_u64().to_be_bytes())
            .collect(),
        step: ProbeStep::Write,
        last_failure: None,
    };
    match tokio::time::timeout(time, run.all()).await {
        Ok(result) => result,
        Err(_elapsed) => Err(run.out_of_time(time)),
    }
}

struct Probe<'a> {
    url: &'a str,
    store: &'a dyn ObjectStore,
    name: Path,
    content: Bytes,
    step: ProbeStep,
    last_failure: Option<Failure>,
}

impl Probe<'_> {
    async fn all(&mut self) -> Result<ProbeReport, ProbeError> {
        let (store, name, content) = (self.store, self.name.clone(), self.content.clone());

        let started = Instant::now();
        self.attempt(ProbeStep::Write, || {
            store.put(&name, content.clone().into())
        })
        .await?;
        let put = started.elapsed();

        let started = Instant::now();
        let read = self
            .attempt(ProbeStep::Read, || async {
                store.get(&name).await?.bytes().await
            })
            .await?;
        let get = started.elapsed();
        self.same(&read, &content)?;

        let middle = PROBE_BYTES as u64 / 4..PROBE_BYTES as u64 / 2;
        let part = self
            .attempt(ProbeStep::ReadRange, || {
                store.get_range(&name, middle.clone())
            })
            .await?;
        self.same(&part, &content[PROBE_BYTES / 4..PROBE_BYTES / 2])?;

        self.list_and_delete().await?;
        Ok(ProbeReport {
            put,
            get,
            conditional_put: self.conditional_put().await,
        })
    }

    async fn list_and_delete(&mut self) -> Result<(), ProbeError> {
        let (store, name) = (self.store, self.name.clone());
        let folder = Path::from(FOLDER);
        let listed = self
            .attempt(ProbeStep::List, || async {
                let found = store.list(Some(&folder));
                found
                    .try_any(|meta| std::future::ready(meta.location == name))
                    .await
            })
            .await?;
        if !listed {
            return Err(self.stale("the listing does not show an object that was just written"));
        }
        self.attempt(ProbeStep::Delete, || store.delete(&name))
            .await?;
        match store.head(&name).await {
            Err(Error::NotFound { .. }) => Ok(()),
            Ok(_) => Err(self.stale("an object is still there after it was deleted")),
            Err(error) => Err(self.failed(Failure::of(&error))),
        }
    }

    /// Runs one step, again after passing failures.
    async fn attempt<T, F, Fut>(&mut self, step: ProbeStep, mut action: F) -> Result<T, ProbeError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = ::object_store::Result<T>>,
    {
        self.step = step;
        self.last_failure = None;
        let mut attempt = 1;
        loop {
            let failure = match action().await {
                Ok(done) => return Ok(done),
                Err(error) => Failure::of(&error),
            };
            if attempt == ATTEMPTS_MAX || !failure.is_retryable() {
                return Err(self.failed(failure));
            }
            self.last_failure = Some(failure);
            attempt += 1;
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
    }

    fn same(&self, got: &[u8], wanted: &[u8]) -> Result<(), ProbeError> {
        if got == wanted {
            return Ok(());
        }
        Err(self.stale("the bytes read are not those just written"))
    }

    async fn conditional_put(&self) -> ConditionalPut {
        let name = Path::from(format!("{}-race", self.name));
        let create = |_| {
            let options = PutOptions::from(PutMode::Create);
            self.store
                .put_opts(&name, self.content.clone().into(), options)
        };
        let results: Vec<_> = futures::stream::iter(0..RACERS)
            .map(create)
            .buffer_unordered(RACERS)
            .collect()
            .await;
        // A left-over is removed by nobody, so the name must not stay behind.
        let _ = self.store.delete(&name).await;
        judge(&results)
    }

    fn failed(&self, failure: Failure) -> ProbeError {
        ProbeError {
            url: self.url.to_owned(),
            step: self.step,
            kind: Some(failure.kind),
            advice: advice(self.step, failure.kind),
            reason: failure.message,
        }
    }

    fn stale(&self, reason: &str) -> ProbeError {
        ProbeError {
            url: self.url.to_owned(),
            step: self.step,
            kind: None,
            reason: reason.to_owned(),
            advice: "this store is not consistent after a write; use one that is, and no caching \
                     proxy in front of it"
                .to_owned(),
        }
    }

    fn out_of_time(&self, time: Duration) -> ProbeError {
        let last = self.last_failure.as_ref();
        let kind = last.map_or(FailureKind::TimedOut, |failure| failure.kind);
        let reason = match last {
            Some(failure) => format!("no success within {time:?}, lastly: {}", failure.message),
            None => format!("no answer within {time:?}"),
        };
        ProbeError {
            url: self.url.to_owned(),
            step: self.step,
            kind: Some(kind),
            reason,
            advice: advice(self.step, kind),
        }
    }
}

fn judge<T>(results: &[::object_store::Result<T>]) -> ConditionalPut {
    let winners = results.iter().filter(|result| result.is_ok()).count();
    let kinds: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(|error| Failure::of(error).kind)
        .collect();
    let all_lost_fairly = kinds.iter().all(|kind| {
        matches!(
            kind,
            // A server may answer racing writers with a conflict instead of a lost condition.
            FailureKind::AlreadyExists | FailureKind::Precondition | FailureKind::ServerFault
        )
    });
    match winners {
        1 if all_lost_fairly => ConditionalPut::Works,
        0 if kinds.contains(&FailureKind::Unsupported) => ConditionalPut::Refused,
        0 | 1 => ConditionalPut::Unknown,
        winners => ConditionalPut::Ignored { winners },
    }
}

/// What to do about a failure of this kind at this step.
fn advice(step: ProbeStep, kind: FailureKind) -> String {
    let text = match kind {
        FailureKind::NoSuchBucket => {
            "create the bucket, or correct its name in the object store's URL"
        }
        FailureKind::BadCredentials => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (GOOGLE_..., AZURE_...) to a valid pair, \
             or give this machine a role that may use the bucket"
        }
        FailureKind::Denied => return permission(step),
        FailureKind::ClockSkew => "set this machine's clock (is an NTP client running?)",
        FailureKind::WrongRegion => "set AWS_REGION to the bucket's region",
        FailureKind::Unreachable => {
            "check the endpoint (AWS_ENDPOINT_URL), its port, name resolution, TLS certificates, \
             proxies and firewalls between here and there"
        }
        FailureKind::TimedOut | FailureKind::Interrupted => {
            "check that the endpoint answers (AWS_ENDPOINT_URL) and that no firewall swallows packets"
        }
        FailureKind::Throttled | FailureKind::ServerFault => {
            "the store itself is failing; look at its status page or its logs, then start again"
        }
        FailureKind::NoSpace => "free disk space, or point the object store at a larger disk",
        FailureKind::Unsupported => {
            "this server lacks an operation that Alluvium needs; use another one"
        }
        FailureKind::NotFound if step == ProbeStep::Write => {
            "create the bucket, or correct its name in the object store's URL"
        }
        FailureKind::NotFound => {
            "an object just written is not found: use a store that is consistent after a write"
        }
        _ => "check the object store's URL and settings",
    };
    text.to_owned()
}

fn permission(step: ProbeStep) -> String {
    let action = match step {
        ProbeStep::Write => "s3:PutObject (and s3:AbortMultipartUpload)",
        ProbeStep::Read | ProbeStep::ReadRange => "s3:GetObject",
        ProbeStep::List => "s3:ListBucket on the bucket itself",
        ProbeStep::Delete => "s3:DeleteObject",
    };
    format!(
        "give these credentials the permission {action}, or write permission on the folder where \
         the store is local"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::object_store::memory::InMemory;

    use super::*;
    use crate::object_store::fault::{Fault, FaultPlan, FaultRule, FaultStore};
    use crate::object_store::{LocalFolder, Operation};
    use crate::rand::SeededRandom;

    const TIME: Duration = Duration::from_secs(30);

    async fn run(store: &dyn ObjectStore) -> Result<ProbeReport, ProbeError> {
        probe("test:", store, SeededRandom::new(1).as_ref(), TIME).await
    }

    fn faulty(rule: FaultRule) -> FaultStore {
        let faults = FaultPlan::new(1);
        faults.add(rule);
        FaultStore::new(Arc::new(InMemory::new()), faults)
    }

    #[tokio::test]
    async fn folders_and_memory_are_usable_and_left_clean() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let local = LocalFolder::open(folder.path(), SeededRandom::new(1).as_ref());
        let local = local.expect("open");
        let memory = InMemory::new();
        for store in [&local as &dyn ObjectStore, &memory] {
            let report = run(store).await.expect("usable");
            assert_eq!(report.conditional_put, ConditionalPut::Works, "{store}");
            let left: Vec<_> = store.list(None).try_collect().await.expect("list");
            assert_eq!(left, [], "{store}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_bytes_are_noticed() {
        let store = faulty(FaultRule::always(Operation::Get, Fault::FlipBit));
        let error = run(&store).await.expect_err("a bit is wrong");
        assert_eq!((error.step, error.kind), (ProbeStep::Read, None));
        assert!(
            error.to_string().contains("not those just written"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn passing_faults_are_forgiven_and_lasting_ones_told() {
        let slow = Fault::Refuse {
            status: 503,
            code: "SlowDown",
        };
        let twice = faulty(FaultRule::next(Operation::Put, 2, slow.clone()));
        run(&twice).await.expect("the third attempt succeeds");
        let always = faulty(FaultRule::always(Operation::List, slow));
        let error = run(&always).await.expect_err("always throttled");
        assert_eq!(error.step, ProbeStep::List);
        assert_eq!(error.kind, Some(FailureKind::Throttled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_ends_the_probe_in_time() {
        let store = faulty(FaultRule::always(Operation::Delete, Fault::Hang));
        let error = run(&store).await.expect_err("it hangs");
        assert_eq!(error.step, ProbeStep::Delete);
        assert_eq!(error.kind, Some(FailureKind::TimedOut));
    }
}
