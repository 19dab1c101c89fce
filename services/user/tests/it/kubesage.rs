//! KubeSage's bodies for `/auth/*` and `/users/*` under both prefixes.

use serde_json::json;

use crate::rig::{members, rig};

const USER: [&str; 10] = [
    "id",
    "username",
    "email",
    "first_name",
    "last_name",
    "is_active",
    "roles",
    "created_at",
    "updated_at",
    "confirmed",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_log_in() {
    let rig = rig().await;
    rig.register("john.doe").await;
    for prefix in ["", "/api/v1.0"] {
        for path in ["/auth/token", "/auth/login"] {
            let url = format!("{prefix}{path}");
            let form = rig.request("POST", &url).form(&[
                ("username", "john.doe"),
                ("password", "password123"),
                ("grant_type", "password"),
            ]);
            let by_form = rig.send(form).await;
            let by_json = rig.post(&url, json!({"username": "john.doe", "password": "password123"})).await;
            for answer in [by_form, by_json] {
                assert_eq!(answer.status, 200, "{url} {}", answer.body);
                for member in ["access_token", "refresh_token", "token_type", "expires_in", "expires_at", "session_id"]
                {
                    assert!(members(&answer.body).contains(&member), "{url} {member}");
                }
                assert_eq!((&answer.body["token_type"], &answer.body["expires_in"]), (&json!("bearer"), &json!(3600)));
                let me = rig.get(&answer.text("access_token"), &format!("{prefix}/users/me")).await;
                assert_eq!((me.status, members(&me.body)), (200, USER.to_vec()));
            }
            // Not 500 "Database connection failed".
            let wrong = rig.post(&url, json!({"username": "john.doe", "password": "wrong-password"})).await;
            assert_eq!((wrong.status, wrong.detail()), (401, "Incorrect username or password"));
            assert_eq!(wrong.headers["www-authenticate"], "Bearer");
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn me_has_the_seeds_types() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let me = rig.get(&token, "/users/me").await.body;
    assert_eq!(
        me,
        json!({
            "id": 1, "username": "ada", "email": "ada@example.com", "first_name": null, "last_name": null,
            "is_active": true, "roles": "Developer", "created_at": "2027-01-15T08:00:00Z",
            "updated_at": "2027-01-15T08:00:00Z", "confirmed": true
        })
    );
    let check = rig.get(&token, "/auth/check-admin").await;
    assert_eq!(check.body, json!({"is_admin": false, "roles": "Developer", "username": "ada"}));
    let exists = rig.send(rig.request("GET", "/api/v1.0/auth/check-admin-exists")).await;
    assert_eq!(exists.body, json!({"admin_exists": false}));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_and_logout() {
    let rig = rig().await;
    let login = rig.account("ada").await;
    let mut refresh = login.text("refresh_token");
    for path in ["/auth/refresh", "/auth/token/refresh", "/api/v1.0/auth/refresh", "/api/v1.0/auth/token/refresh"] {
        let answer = rig.post(path, json!({"refresh_token": refresh})).await;
        assert_eq!((answer.status, &answer.body["token_type"]), (200, &json!("bearer")), "{path}");
        refresh = answer.text("refresh_token");
        // Used, so that the token before it is spent for good.
        assert_eq!(rig.get(&answer.text("access_token"), "/users/me").await.status, 200);
    }
    let out = rig.as_bearer(&login.text("access_token"), "POST", "/auth/logout", None).await;
    assert_eq!((out.status, &out.body), (200, &json!({"message": "Successfully logged out"})));
    // The refresh token goes with the session.
    assert_eq!(rig.post("/auth/refresh", json!({"refresh_token": refresh})).await.status, 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn register_answers_the_account() {
    let rig = rig().await;
    let body = json!({
        "username": "ada", "email": "ada@example.com", "password": "password123", "first_name": "Ada",
        "last_name": "Lovelace", "is_active": true, "roles": "Developer"
    });
    let made = rig.post("/api/v1.0/auth/register", body).await;
    assert_eq!((made.status, members(&made.body)), (201, USER.to_vec()));
    assert_eq!((&made.body["first_name"], &made.body["last_name"]), (&json!("Ada"), &json!("Lovelace")));
    let short =
        rig.post("/auth/register", json!({"username": "bob", "email": "bob@example.com", "password": "short"})).await;
    assert_eq!((short.status, short.code()), (422, "validation_failed"));
    assert_eq!(short.body["errors"][0]["loc"], json!(["body", "password"]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_lists_accounts_in_the_seeds_envelope() {
    let rig = rig().await;
    let owner = rig.owner().await;
    for name in ["ada", "bob", "cyd"] {
        rig.register(name).await;
    }
    // The web UI's own call: trailing slash and all.
    let list = rig.as_key(owner.api_key.expose(), "GET", "/api/v1.0/users/?skip=0&limit=100", None).await;
    assert_eq!((list.status, members(&list.body)), (200, vec!["users", "roles_options"]));
    assert_eq!(members(&list.body["users"][0]), USER);
    assert_eq!(
        list.body["roles_options"],
        json!(["Super Admin", "Platform Engineer", "DevOps", "Developer", "Security Engineer"])
    );
    assert_eq!(list.headers["x-total-count"], "4");
    let page = rig.as_key(owner.api_key.expose(), "GET", "/users?skip=1&limit=2", None).await;
    let names: Vec<_> =
        page.body["users"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["bob", "ada"]);
    for bad in ["skip=-1", "limit=0", "limit=-1", "limit=x", "limit=100000", "skip=99999999999999999999"] {
        let answer = rig.as_key(owner.api_key.expose(), "GET", &format!("/users?{bad}"), None).await;
        assert_eq!(answer.status, 422, "{bad}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_of_roles() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let words = |role: &'static str| {
        let (rig, token) = (&rig, &token);
        async move { rig.get(token, &format!("/users/permissions?role={role}")).await.body["permissions"].clone() }
    };
    assert_eq!(words("Super%20Admin").await, json!(["all"]));
    assert!(words("platform_engineer").await.as_array().unwrap().contains(&json!("clusters")));
    assert_eq!(words("nobody").await, json!([]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_doors_of_the_seed_are_shut() {
    let rig = rig().await;
    rig.owner().await;
    // Seeds-wire K7: the first caller set the admin's password.
    let answer =
        rig.post("/auth/reset-admin-password", json!({"new_password": "password123", "skip_reset": false})).await;
    assert_eq!(answer.status, 401);
    let answer = rig
        .post("/auth/change-password/1", json!({"new_password": "password123", "confirm_password": "password123"}))
        .await;
    assert_eq!(answer.status, 401);
    let body = json!({"username": "eve", "email": "eve@example.com", "password": "password123"});
    assert_eq!(rig.post("/auth/register-admin", body).await.status, 401);
    rig.stop().await;
}
