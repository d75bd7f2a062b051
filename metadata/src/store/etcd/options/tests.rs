use super::*;

fn parse(url: &str) -> EtcdOptions {
    EtcdOptions::parse(url).unwrap()
}

#[test]
fn a_url_names_all_there_is() {
    let url = "etcd://al%40ice:p%3Aw@one:2379,[::1]:2380/a/b%20?tls=true&ca=/c.pem&cert=/d.pem&key=/e.pem";
    let options = parse(url);
    assert_eq!(options.endpoints, ["one:2379", "[::1]:2380"]);
    assert_eq!(options.prefix, "/a/b ");
    let user = options.credentials.clone().unwrap();
    assert_eq!((&*user.user, &*user.password), ("al@ice", "p:w"));
    let tls = TlsOptions {
        ca: Some("/c.pem".into()),
        identity: Some(("/d.pem".into(), "/e.pem".into())),
    };
    assert_eq!(options.tls, Some(tls));
    assert!(!format!("{options:?}").contains("p:w"), "no password");
}

#[test]
fn most_of_it_may_be_left_out() {
    let options = parse("etcd://127.0.0.1:2379");
    assert_eq!(options, EtcdOptions::new(["127.0.0.1:2379"]));
    assert_eq!(parse("etcd://h:1/").prefix, "");
    assert_eq!(parse("etcd://h:1?tls=false").tls, None);
    assert_eq!(
        parse("etcd://h:1?tls=true").tls,
        Some(TlsOptions::default())
    );
    assert!(parse("etcd://h:1?ca=x").tls.is_some(), "a file implies TLS");
}

#[test]
fn what_is_wrong_is_named() {
    for (url, words) in [
        ("http://h:1", "not an etcd URL"),
        ("etcd://", "\"\" is not HOST:PORT"),
        ("etcd://host", "\"host\""),
        ("etcd://h:1,", "\"\""),
        ("etcd://h:0", "\"h:0\""),
        ("etcd://::1:2379", "\"::1:2379\""),
        ("etcd://http://h:1", "\"http:\""),
        ("etcd://user@h:1", "user without password"),
        ("etcd://:secret@h:1", "empty user"),
        ("etcd://h:1?tls=yes", "true or false"),
        ("etcd://h:1?cert=x", "cert and key go together"),
        ("etcd://h:1?ca=", "names no file"),
        ("etcd://h:1?tls=false&ca=x", "tls=false"),
        ("etcd://h:1?timeout=1", "\"timeout\""),
        ("etcd://u:secret@h", "\"h\""),
    ] {
        let text = EtcdOptions::parse(url).unwrap_err().to_string();
        assert!(text.contains(words), "{url}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
