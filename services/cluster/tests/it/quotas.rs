//! Quotas by class and credential.

use crate::rig::{NO_REDIS, Rig};

#[tokio::test]
async fn classes_have_the_sizes_of_the_settings() {
    let rig = Rig::env(&[("RATE_LIMIT_REQUESTS_PER_MINUTE", "3")]).await;
    let key = Some(rig.operator.key.as_str());
    let path = "/api/v3.0/cluster/agents/connected";
    for left in ["2", "1", "0"] {
        let answer = rig.get(path, key).await;
        assert_eq!(
            (answer.status, answer.header("ratelimit-limit"), answer.header("ratelimit-remaining")),
            (200, "3", left)
        );
    }
    let over = rig.get(path, key).await;
    assert_eq!((over.status, over.code().as_str()), (429, "rate_limited"));
    assert_eq!(over.detail(), "Rate limit exceeded. Maximum 3 requests per 60 seconds.");
    assert!(over.header("retry-after").parse::<u32>().unwrap() >= 1);
    // The same caller's other class, another caller, and the probes go on.
    assert_eq!(rig.get("/api/v1/clusters", key).await.header("ratelimit-limit"), "1200");
    assert_eq!(rig.get(path, Some(&rig.other.key)).await.status, 200);
    for _ in 0..10 {
        assert_eq!(rig.get("/api/v3.0/cluster/health", None).await.status, 200);
    }
    // A new address or user agent is no new quota.
    let headers = [("x-api-key", rig.operator.key.as_str()), ("x-forwarded-for", "9.9.9.9"), ("user-agent", "new")];
    assert_eq!(rig.send_with("GET", path, &headers, None).await.status, 429);
}

/// Row F08: without Redis a replica counts by itself, and a key that was taken away stays so.
#[tokio::test]
async fn f08_without_redis_quotas_are_counted_all_the_same() {
    let rig = Rig::env(&[NO_REDIS, ("RATE_LIMIT_REQUESTS_PER_MINUTE", "3")]).await;
    let path = "/api/v3.0/cluster/agents/connected";
    for status in [200, 200, 200, 429, 429] {
        assert_eq!(rig.get(path, Some(&rig.operator.key)).await.status, status);
    }
    assert_eq!(rig.get(path, Some(&rig.other.key)).await.status, 200);
    assert_eq!(rig.get(path, Some("rsk_nonsense")).await.status, 401);
}

#[tokio::test]
async fn quotas_can_be_switched_off() {
    let rig = Rig::env(&[("RATE_LIMIT_REQUESTS_PER_MINUTE", "1"), ("RATE_LIMIT_ENABLED", "false")]).await;
    for _ in 0..5 {
        let answer = rig.get("/api/v3.0/cluster/agents/connected", Some(&rig.operator.key)).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("ratelimit-limit"));
    }
}
