//! garage, a real S3 server, as a process of its own. The script `tests/garage/garage` builds it once
//! from cargo's registry and caches it; this module starts one node in a temporary folder and stops it.
//!
//! garage accepts conditional PUTs and ignores them, which makes it a good test of the claim that
//! nothing in Alluvium rests on them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alluvium_common::object_store::{
    Environment, ObjectStoreExt, StoreComponents, StoreMetrics, StoreSettings, open,
};
use alluvium_common::rand::SeededRandom;
use anyhow::{Context, bail};
use object_store::path::Path as ObjectPath;
use tempfile::TempDir;

/// The bucket that the node has from the start.
pub const BUCKET: &str = "alluvium-test";

const REGION: &str = "garage";
/// garage wants `GK` and 24 hexadecimal digits.
const ACCESS_KEY: &str = "GK0123456789abcdef01234567";
/// garage wants 64 hexadecimal digits.
const SECRET_KEY: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2";

/// Time for a node to answer. It takes about a second; a loaded CI machine takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Ports are picked free and then let go for garage to bind; somebody else may be faster.
const START_ATTEMPTS: usize = 3;

/// A running node. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub struct Garage {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl Garage {
    /// Builds garage if it is not cached (minutes, once) and starts a node with [`BUCKET`].
    pub async fn start() -> anyhow::Result<Self> {
        build().await?;
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            match Self::start_once().await {
                Ok(garage) => return Ok(garage),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    async fn start_once() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for garage")?;
        let [port, rpc_port] = free_ports()?;
        let process = Command::new(script())
            .arg("run")
            .arg(folder.path())
            .env("GARAGE_S3_PORT", port.to_string())
            .env("GARAGE_RPC_PORT", rpc_port.to_string())
            .env("GARAGE_BUCKET", BUCKET)
            .env("GARAGE_REGION", REGION)
            .env("GARAGE_ACCESS_KEY", ACCESS_KEY)
            .env("GARAGE_SECRET_KEY", SECRET_KEY)
            // The script ends garage when this pipe closes, so it also ends when this process is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("run garage")?;
        let mut garage = Self {
            port,
            process,
            _folder: folder,
        };
        tokio::time::timeout(START_TIMEOUT, garage.until_ready())
            .await
            .context("garage does not answer in time")??;
        Ok(garage)
    }

    /// Returns when the bucket is there and the key may write to it.
    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let settings = StoreSettings {
            environment: self.environment(),
            ..StoreSettings::default()
        };
        let components = StoreComponents::new(SeededRandom::new(0), StoreMetrics::default());
        let store = open(&self.url(""), &settings, &components).await?.bare;
        let name = ObjectPath::from("ready");
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("garage ended by itself: {status}");
            }
            if store.put(&name, "ready".into()).await.is_ok() {
                return Ok(store.delete(&name).await?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `http://127.0.0.1:port`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What to give as `--object-store` for `prefix` in the bucket.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The variables that point S3 clients at this node.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }

    /// The same, for [`alluvium_common::object_store::open`].
    pub fn environment(&self) -> Environment {
        self.variables().into_iter().collect()
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("garage/garage")
}

async fn build() -> anyhow::Result<()> {
    let mut build = Command::new(script());
    build
        .arg("build")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = tokio::task::spawn_blocking(move || build.status())
        .await?
        .context("run tests/garage/garage build")?;
    if !status.success() {
        bail!("tests/garage/garage build failed: {status}");
    }
    Ok(())
}

fn free_ports() -> anyhow::Result<[u16; 2]> {
    // Both are held until both are known, so that they differ.
    let one = TcpListener::bind("127.0.0.1:0")?;
    let two = TcpListener::bind("127.0.0.1:0")?;
    Ok([one.local_addr()?.port(), two.local_addr()?.port()])
}
