use hyper::header::HeaderValue;

use super::*;

fn map(rows: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in rows {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

#[test]
fn the_tail_goes_on_as_it_came() {
    let found = target("/k/prod/api/v1/namespaces/a/services/https:b:443/proxy/x", Some("watch=true&x=%2F..")).unwrap();
    assert_eq!(found.cluster, "prod");
    assert_eq!(found.tail, "/api/v1/namespaces/a/services/https:b:443/proxy/x?watch=true&x=%2F..");
    assert_eq!(target("/k/7", None).unwrap().tail, "/");
}

#[test]
fn p11_numbers_beyond_reason_are_made_smaller() {
    let tail = |query: &str| target("/k/c/api/v1/pods", Some(query)).unwrap().tail;
    assert_eq!(tail("limit=1000000000&timeoutSeconds=1000000000"), "/api/v1/pods?limit=50000&timeoutSeconds=86400");
    assert_eq!(tail("timeoutSeconds=99999999999999999999999"), "/api/v1/pods?timeoutSeconds=86400");
    for query in
        ["limit=500&timeoutSeconds=600", "limit=", "limit=-1", "limit=x", "xlimit=1000000000", "labelSelector=a%3Db"]
    {
        assert_eq!(tail(query), format!("/api/v1/pods?{query}"));
    }
}

/// As the API server reads them: escapes are undone before a key or a number is looked at.
#[test]
fn regression_an_escape_in_the_query_hides_nothing() {
    let of = |query: &str| target("/k/c/api/v1/pods", Some(query)).unwrap();
    assert_eq!(
        of("l%69mit=%39999999&%74imeoutSeconds=1000000000").tail,
        "/api/v1/pods?limit=50000&timeoutSeconds=86400"
    );
    assert_eq!(of("limit=%2B9999999").tail, "/api/v1/pods?limit=50000");
    for query in ["w%61tch=true", "watch=tru%65", "watch", "watch=yes"] {
        assert_eq!(of(query).pace, Pace::Watch, "{query}");
    }
    for query in ["watch=False", "watch=0&watch=1", "watch=%30"] {
        assert_eq!(of(query).pace, Pace::Plain, "{query}");
    }
    assert!(of("limit=%30").bulk && of("limit=0&limit=5").bulk && !of("%6cimit=500").bulk);
}

#[test]
fn whole_lists_and_streams_are_bulk() {
    let bulk = |path: &str, query| target(path, query).unwrap().bulk;
    for path in
        ["/k/c/api/v1/pods", "/k/c/api/v1/namespaces/a/pods", "/k/c/apis/apps/v1/deployments", "/k/c/api/v1/namespaces"]
    {
        assert!(bulk(path, None) && bulk(path, Some("limit=0")) && !bulk(path, Some("a=b&limit=500")), "{path}");
    }
    assert!(bulk("/k/c/api/v1/namespaces/a/pods/b/log", None));
    for path in
        ["/k/c/version", "/k/c/api", "/k/c/apis/apps/v1", "/k/c/api/v1/namespaces/a", "/k/c/api/v1/namespaces/a/pods/b"]
    {
        assert!(!bulk(path, None), "{path}");
    }
}

#[test]
fn the_path_tells_the_pace() {
    let pace = |path: &str, query| target(path, query).unwrap().pace;
    assert_eq!(pace("/k/c/api/v1/pods", Some("limit=500")), Pace::Plain);
    assert_eq!(pace("/k/c/api/v1/pods", Some("a=b&watch=true")), Pace::Watch);
    assert_eq!(pace("/k/c/api/v1/watch/pods", None), Pace::Watch);
    assert_eq!(pace("/k/c/apis/apps/v1/watch/deployments", None), Pace::Watch);
    assert_eq!(pace("/k/c/api/v1/namespaces/a/pods/b/log", Some("tailLines=5")), Pace::Long);
    for query in ["follow=true", "f%6Fllow=1&tailLines=5", "follow"] {
        assert_eq!(pace("/k/c/api/v1/namespaces/a/pods/b/log", Some(query)), Pace::Follow, "{query}");
        assert_eq!(pace("/k/c/api/v1/namespaces/a/pods/b/l%6Fg", Some(query)), Pace::Follow, "{query}");
        assert_eq!(pace("/k/c/api/v1/namespaces/a/services/b/proxy/log", Some(query)), Pace::Long, "{query}");
        assert_eq!(pace("/k/c/api/v1/namespaces/a/pods", Some(query)), Pace::Plain, "{query}");
    }
    assert_eq!(pace("/k/c/api/v1/namespaces/a/pods/b/log", Some("follow=false&follow=true")), Pace::Long);
}

#[test]
fn p03_paths_with_two_meanings_are_refused() {
    for tail in [
        "/../x",
        "/a/..",
        "/./a",
        "/a%2e%2e%2fb",
        "/a/%2E%2E/b",
        "/a..;/b",
        "/%252e",
        "/a\\b",
        "//a",
        "/a//b",
        "/a%00",
        "/a%5cb",
    ] {
        assert_eq!(target(&format!("/k/c{tail}"), None).unwrap_err().code, Code::BadRequest, "{tail}");
    }
    for path in ["/k/", "/k", "/x/c/api", "/k//api"] {
        assert_eq!(target(path, None).unwrap_err().code, Code::NotFound, "{path}");
    }
    for path in ["/k/a@evil/api", "/k/a%2fb/api", "/k/a:b/api", "/k/../x"] {
        assert!(target(path, None).is_err(), "{path}");
    }
}

#[test]
fn p01_impersonation_is_read_in_the_hubs_names_and_never_forwarded() {
    for name in ["impersonate-group", "IMPERSONATE-UID", "Impersonate-Extra-x", "impersonate-x"] {
        let refused = acts_as(&map(&[("impersonate-user", "bob"), (name, "x")])).unwrap_err();
        assert_eq!(refused.code, Code::ImpersonationDenied, "{name}");
    }
    for user in ["system:admin", "roadstead:system:admin", "", "a,b", "a/b", "roadstead:", &"x".repeat(200)] {
        assert!(acts_as(&map(&[("impersonate-user", user)])).is_err(), "{user}");
    }
    assert!(acts_as(&map(&[("impersonate-group", "viewer")])).is_err(), "a group without a user");
    assert!(acts_as(&map(&[("impersonate-user", "a"), ("Impersonate-User", "b")])).is_err());
    assert!(acts_as(&map(&[("impersonate-user", "a"), ("impersonate-group", "system:masters")])).is_err());
    for (user, group) in [("bob", "viewer"), ("roadstead:bob", "roadstead:viewer")] {
        let sent = map(&[("IMPERSONATE-USER", user), ("impersonate-group", group), ("accept", "a/b")]);
        let asked = acts_as(&sent).unwrap().unwrap();
        assert_eq!((asked.user.as_str(), asked.roles), ("bob", BTreeSet::from([Role::Viewer])));
        assert_eq!(headers(&sent).len(), 1, "the hub puts its own in their place");
    }
    assert_eq!(acts_as(&map(&[("accept", "a/b")])), Ok(None));
}

#[test]
fn p02_credentials_and_hops_stay_here() {
    let sent = map(&[
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("x-api-key", "k"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
        ("connection", "keep-alive, x-mine"),
        ("x-mine", "1"),
        ("te", "trailers"),
        ("accept", "application/json"),
        ("content-type", "application/apply-patch+yaml"),
        ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
    ]);
    let kept = headers(&sent);
    let names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["accept", "content-type", "sec-websocket-protocol"]);
    assert_eq!(kept["sec-websocket-protocol"], "v5.channel.k8s.io");
}

#[test]
fn p07_only_two_protocols_are_carried() {
    let asked = |rows: &[(&str, &str)]| upgrade(&map(rows));
    assert_eq!(asked(&[]), Ok(None));
    assert_eq!(asked(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]), Ok(Some(Upgrade::Spdy)));
    assert_eq!(asked(&[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")]), Ok(Some(Upgrade::WebSocket)));
    for rows in [
        &[("connection", "upgrade"), ("upgrade", "h2c")][..],
        &[("connection", "upgrade"), ("upgrade", "foo")],
        &[("upgrade", "websocket")],
        &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "SPDY/3.1")],
        &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
    ] {
        assert_eq!(asked(rows).unwrap_err().code, Code::BadRequest, "{rows:?}");
    }
}
