//! Users and certificates.

use alluvium_common::error::Outcome;
use alluvium_metadata::store::etcd::{Credentials, TlsOptions};
use alluvium_metadata::store::{
    EtcdOptions, EtcdStore, KeyRange, MetadataStore, MetadataStoreExt, StoreError, WatchRequest,
};
use alluvium_tests::etcd::{ClusterOptions, EtcdCluster, skipped};

/// An etcd with authentication, whose user `alluvium` may use keys that begin with `/alluvium/`.
pub(crate) async fn guarded() -> EtcdCluster {
    let cluster = ClusterOptions::single().start().await;
    for arguments in [
        &["user", "add", "root:rootpw"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "broker"],
        &[
            "role",
            "grant-permission",
            "broker",
            "--prefix=true",
            "readwrite",
            "/alluvium/",
        ],
        &["user", "add", "alluvium:pw"],
        &["user", "grant-role", "alluvium", "broker"],
        &["auth", "enable"],
    ] {
        cluster.ctl_ok(arguments).await;
    }
    cluster
}

fn with(cluster: &EtcdCluster, user: &str, password: &str) -> EtcdOptions {
    EtcdOptions {
        credentials: Some(Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        ..cluster.options()
    }
}

#[tokio::test]
async fn a_user_does_what_it_may() {
    if skipped() {
        return;
    }
    let mut cluster = guarded().await;
    let options = with(&cluster, "alluvium", "pw");
    let store = cluster.store_with(&options).await;
    let ours = KeyRange::prefix("/alluvium/");
    let mut watch = store.watch(WatchRequest::new(ours)).await.expect("a watch");
    let first = store.put("/alluvium/k", "v").await.expect("allowed");
    assert_eq!(watch.next().await.expect("seen").revision, first);
    let error = store.put("/other/k", "v").await.expect_err("not allowed");
    assert!(
        matches!(&error, StoreError::Refused { reason } if reason.contains("permission denied")),
        "{error}"
    );
    assert_eq!(error.outcome(), Outcome::NotDone);

    // It forgets all tokens; a new one is asked for, by calls and by the watch.
    cluster.kill(0);
    cluster.restart(0).await;
    let second = store.put("/alluvium/k", "w").await.expect("a new token");
    assert_eq!(watch.next().await.expect("seen").revision, second);
}

#[tokio::test]
async fn wrong_users_are_told_at_the_start() {
    if skipped() {
        return;
    }
    let cluster = guarded().await;
    let wrong = with(&cluster, "alluvium", "not-it");
    let error = EtcdStore::open(&wrong).await.expect_err("a wrong password");
    let text = error.to_string();
    assert!(text.contains("invalid user ID or password"), "{text}");
    assert!(!text.contains("not-it"), "{text}");
    let nobody = cluster.store().await;
    let error = nobody.get("/alluvium/k").await.expect_err("no user");
    assert!(
        matches!(&error, StoreError::Refused { reason } if reason.contains("user and a password")),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_may_be_given_before_etcd_wants_one() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single().start().await;
    let options = with(&cluster, "root", "rootpw");
    let store = cluster.store_with(&options).await;
    store.put("k", "v").await.expect("nobody is asked");
    cluster.ctl_ok(&["user", "add", "root:rootpw"]).await;
    cluster
        .ctl_ok(&["user", "grant-role", "root", "root"])
        .await;
    cluster.ctl_ok(&["auth", "enable"]).await;
    store.put("k", "w").await.expect("the user is known");
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single().tls().start().await;
    let options = cluster.options();
    let store = cluster.store_with(&options).await;
    let first = store.put("k", "v").await.expect("put");
    let request = WatchRequest::new(KeyRange::key("k")).from(first);
    let mut watch = store.watch(request).await.expect("a watch");
    assert_eq!(watch.next().await.expect("seen").revision, first);

    let good = options.tls.clone().expect("with TLS");
    let other = |ca: &str, client: &str| TlsOptions {
        ca: Some(cluster.file(ca)),
        identity: Some((
            cluster.file(&format!("{client}.pem")),
            cluster.file(&format!("{client}-key.pem")),
        )),
    };
    for (tls, words) in [
        (other("other-ca.pem", "client"), "invalid peer certificate"),
        (other("ca.pem", "other-client"), "etcd at"),
        (
            TlsOptions {
                identity: None,
                ..good
            },
            "etcd at",
        ),
        (other("missing.pem", "client"), "missing.pem"),
    ] {
        let options = EtcdOptions {
            tls: Some(tls),
            ..options.clone()
        };
        let error = EtcdStore::open(&options).await.expect_err("not trusted");
        assert!(error.to_string().contains(words), "{error}");
    }
}
