//! Metrics: names of clusters are for those who may see them all.

use crate::rig::Rig;

#[tokio::test]
async fn no_cluster_is_named_to_strangers() {
    let rig = Rig::new().await;
    rig.world.add_cluster("secret-name", rig.operator.principal.user_id);
    let path = "/api/v1/metrics";
    let full = rig.get(path, Some(&rig.admin.key)).await;
    assert_eq!(full.status, 200);
    assert!(full.text.contains("mckmt_cluster_status{") && full.text.contains("secret-name"), "{}", full.text);
    for key in [None, Some(rig.operator.key.as_str()), Some(rig.viewer.key.as_str())] {
        let answer = rig.get(path, key).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains("secret-name"));
        assert!(answer.text.contains("mckmt_clusters_total{mode=\"agent\",status=\"connected\"} 1"), "{}", answer.text);
        assert!(answer.text.contains("mckmt_http_requests_total{"));
    }
    assert_eq!(rig.get(path, Some("wrong")).await.status, 401);
    assert!(!rig.get("/metrics", Some(&rig.admin.key)).await.text.contains("secret-name"));
}

#[tokio::test]
async fn series_do_not_grow_with_paths() {
    let rig = Rig::env(&[("RATE_LIMIT_ENABLED", "false")]).await;
    let series = |text: &str| text.lines().filter(|line| line.starts_with("mckmt_http_requests_total")).count();
    rig.get("/nowhere", None).await;
    rig.get("/api/v1/clusters/x", Some(&rig.admin.key)).await;
    let before = series(&rig.metrics.render());
    for number in 0..50 {
        rig.get(&format!("/nowhere/{number}"), None).await;
        rig.get(&format!("/api/v1/clusters/x-{number}"), Some(&rig.admin.key)).await;
        rig.send_with(&format!("METHOD{number}"), "/nowhere", &[], None).await;
    }
    assert!(series(&rig.metrics.render()) <= before + 1, "{}", rig.metrics.render());
}
