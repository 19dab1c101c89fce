//! No secret where it does not belong (reliability row L01): not in the database files, answers or events.

use serde_json::json;

use crate::rig::{BOOTSTRAP, rig};

#[tokio::test(flavor = "multi_thread")]
async fn canaries_are_nowhere_to_be_found() {
    let rig = rig().await;
    let password = "canary-password-7f3a";
    let body = json!({"username": "ada", "email": "ada@example.com", "password": password});
    assert_eq!(rig.post("/api/v1/auth/register", body).await.status, 201);
    let login = rig.login("ada", password).await;
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let key = rig.as_bearer(&access, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await.text("api_key");
    // `rsk_ID_SECRET`; the secret may hold the same character.
    let secret_half = |text: &str| text.splitn(3, '_').nth(2).unwrap().to_owned();
    // Malformed and misplaced ones too.
    let mut echoes = vec![
        rig.login(password, "x").await.body,
        rig.post("/api/v1/auth/login", json!({"username": {"a": password}})).await.body,
        rig.post("/auth/login", json!({"username": "ada", "password": [password]})).await.body,
        rig.post("/auth/refresh", json!({"refresh_token": {"a": &refresh}})).await.body,
        rig.post("/api/v1/auth/refresh", json!({"refresh_token": format!("{refresh}x")})).await.body,
        rig.as_key(&format!("{key}x"), "GET", "/users/me", None).await.body,
        rig.get(&format!("{access}x"), "/users/me").await.body,
        rig.get(&access, "/api-keys").await.body,
        rig.get(&access, "/api/v1/auth/sessions").await.body,
    ];
    let form = rig.request("POST", "/auth/token").form(&[("password", password)]);
    echoes.push(rig.send(form).await.body);
    let metrics = rig.send(rig.request("GET", "/metrics")).await.body;
    echoes.push(metrics);
    let canaries =
        [password.to_owned(), secret_half(&refresh), secret_half(&key), access.clone(), BOOTSTRAP.to_owned()];
    for echo in &echoes {
        for canary in &canaries {
            assert!(!echo.to_string().contains(canary), "{echo}");
        }
    }
    let folder = rig.stop().await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        // The database's helper files go while it is closed.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for canary in &canaries {
            assert!(!text.contains(canary.as_str()), "{}", path.display());
        }
        // Digests are sealed: who reads the database cannot show them as proofs.
        for secret in [secret_half(&refresh), secret_half(&key)] {
            assert!(!text.contains(&roadstead_auth::token::digest(&secret)), "{}", path.display());
        }
    }
}
