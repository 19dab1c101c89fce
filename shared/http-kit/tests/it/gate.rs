use std::sync::atomic::Ordering;

use roadstead_http_kit::RateSettings;

use crate::door::{Door, Options};

#[tokio::test]
async fn rights_are_the_tables() {
    let door = Door::open(Options::default());
    let missing = door.send("GET /api/v1/mine", &[]).await;
    assert_eq!((missing.status, missing.code().as_str()), (401, "unauthenticated"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    for headers in [
        &[("x-api-key", "nobody")][..],
        &[("authorization", "Bearer")],
        &[("authorization", "Basic YTpi")],
        &[("x-api-key", "viewer"), ("x-api-key", "viewer")],
        &[("x-api-key", "viewer"), ("authorization", "Bearer viewer")],
    ] {
        let refused = door.send("GET /api/v1/mine", headers).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_credential"), "{headers:?}");
    }
    let huge = format!("Bearer {}", "x".repeat(64 * 1024));
    assert_eq!(door.send("GET /api/v1/mine", &[("authorization", &huge)]).await.status, 401);
    assert_eq!(door.send("GET /api/v1/mine?api_key=viewer&x-api-key=viewer", &[]).await.status, 401);
    let known = door.send("GET /api/v1/mine", &[("authorization", "Bearer viewer")]).await;
    assert_eq!((known.status, known.body.as_str()), (200, "viewer"));
    let low = door.send("DELETE /api/v1/mine", &[("x-api-key", "viewer")]).await;
    assert_eq!((low.status, low.code().as_str()), (403, "forbidden"));
    assert_eq!(door.send("DELETE /api/v1/mine", &[("x-api-key", "admin")]).await.status, 204);
}

#[tokio::test]
async fn quotas_are_counted_by_credential() {
    let rates = RateSettings { seed: 3, ..RateSettings::default() };
    let door = Door::open(Options { rates, ..Options::default() });
    for left in ["2", "1", "0"] {
        let answer = door.send("GET /api/v1/mine", &[("x-api-key", "viewer"), ("user-agent", left)]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
        assert_eq!(answer.header("ratelimit-remaining"), Some(left));
        assert!(answer.header("ratelimit-reset").is_some());
    }
    let over = door.send("GET /api/v1/mine", &[("x-api-key", "viewer"), ("x-forwarded-for", "9.9.9.9")]).await;
    assert_eq!((over.status, over.code().as_str()), (429, "rate_limited"));
    assert!(over.body.contains("Rate limit exceeded. Maximum 3 requests per 60 seconds."));
    assert!(over.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(over.header("ratelimit-remaining"), Some("0"));
    // Another class of the same caller has its own count.
    assert_eq!(door.send("DELETE /api/v1/mine", &[("x-api-key", "viewer")]).await.status, 403);
}

#[tokio::test]
async fn guessing_ends_and_does_not_shut_others_out_for_good() {
    let rates = RateSettings { seed: 5, ..RateSettings::default() };
    let door = Door::open(Options { rates, ..Options::default() });
    let mut statuses = Vec::new();
    for number in 0..12 {
        let key = format!("guess-{number}");
        statuses.push(door.send("GET /api/v1/mine", &[("x-api-key", &key)]).await.status);
    }
    assert_eq!(&statuses[..5], &[401; 5]);
    assert!(statuses[6..].iter().all(|status| *status == 429), "{statuses:?}");
    assert!(door.keys.asked.load(Ordering::SeqCst) <= 6);
}
