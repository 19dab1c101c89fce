//! The first admin: by the first start of `up`, or by the bootstrap token of a mesh. There is no default password.

use roadstead_contracts::identity::{Reach, Role};
use serde_json::json;

use crate::rig::{BOOTSTRAP, rig, rig_with};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_the_owner_once() {
    let rig = rig().await;
    let owner = rig.owner().await;
    assert_eq!((owner.username.as_str(), owner.principal.highest_role()), ("owner", Role::Admin));
    assert_eq!(owner.principal.reach, Reach::All);
    assert!(owner.password.expose().len() >= 20);
    assert!(!format!("{owner:?}").contains(owner.password.expose()));
    assert!(rig.service.first_start().await.unwrap().is_none());
    let login = rig.login("owner", owner.password.expose()).await;
    assert_eq!((login.status, &login.body["user"]["roles"][0]["name"]), (200, &json!("admin")));
    let check = rig.as_key(owner.api_key.expose(), "GET", "/auth/check-admin", None).await;
    assert_eq!(check.body, json!({"is_admin": true, "roles": "Super Admin", "username": "owner"}));
    for (name, password) in [("admin", "admin123"), ("admin", "admin"), ("owner", "owner"), ("owner", "password123")] {
        assert_eq!(rig.login(name, password).await.status, 401, "{name}");
    }
    // The bootstrap token is worth nothing any more.
    let body = json!({"username": "root", "email": "root@example.com", "password": "password123"});
    let late = rig.request("POST", "/auth/register-admin").header("X-Bootstrap-Token", BOOTSTRAP).json(&body);
    assert_eq!(rig.send(late).await.status, 409);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_makes_one_admin() {
    for path in ["/auth/register-admin", "/api/v1.0/auth/register-admin", "/api/v1/auth/register"] {
        // Registration is closed: the token opens it for this one account.
        let rig = rig_with(&[("ROADSTEAD_USER_REGISTRATION", "closed")]).await;
        let body =
            |name: &str| json!({"username": name, "email": format!("{name}@example.com"), "password": "password123"});
        let send = |token: &str, name: &str| {
            rig.send(rig.request("POST", path).header("X-Bootstrap-Token", token).json(&body(name)))
        };
        for wrong in ["", "x", &BOOTSTRAP[1..], &format!("{BOOTSTRAP}x")] {
            assert_eq!(send(wrong, "root").await.status, 401, "{path} {wrong}");
        }
        let two =
            rig.request("POST", path).header("X-Bootstrap-Token", BOOTSTRAP).header("X-Bootstrap-Token", BOOTSTRAP);
        assert_eq!(rig.send(two.json(&body("root"))).await.status, 401, "{path}");
        let made = send(BOOTSTRAP, "root").await;
        assert_eq!(made.status, 201, "{path} {}", made.body);
        let login = rig.login("root", "password123").await;
        assert_eq!(login.body["user"]["roles"][0]["name"], "admin");
        let again = send(BOOTSTRAP, "root2").await;
        assert_eq!((again.status, again.detail()), (409, "an admin exists already"), "{path}");
        let exists = rig.send(rig.request("GET", "/auth/check-admin-exists")).await;
        assert_eq!(exists.body, json!({"admin_exists": true}));
        assert!(rig.service.first_start().await.unwrap().is_none());
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_make_one_admin() {
    let rig = rig().await;
    let send = |name: &str| {
        let body = json!({"username": name, "email": format!("{name}@example.com"), "password": "password123"});
        rig.send(rig.request("POST", "/auth/register-admin").header("X-Bootstrap-Token", BOOTSTRAP).json(&body))
    };
    let (one, two) = tokio::join!(send("root-one"), send("root-two"));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bootstrap_token_there_is_no_such_door() {
    let rig = rig_with(&[("ROADSTEAD_BOOTSTRAP_TOKEN", "")]).await;
    let body = json!({"username": "root", "email": "root@example.com", "password": "password123"});
    for token in ["", "x"] {
        let request = rig.request("POST", "/auth/register-admin").header("X-Bootstrap-Token", token).json(&body);
        assert_eq!(rig.send(request).await.status, 401);
    }
    rig.stop().await;
}
