//! Single sign-on as people have it: a real Keycloak, a real browser, the real programs.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use roadstead_mesh_tests::{Api, Layout, Page, TestMesh, Tuning, answers};
use roadstead_testkit::browser::Browser;
use roadstead_testkit::keycloak::Keycloak;
use serde_json::{Value, json};

const REALM: &str = include_str!("../../keycloak/realm.json");
const SECRET: &str = "secret-of-the-hub-at-keycloak-0123456789";
/// A JVM that starts beside a compiler on two cores takes a minute.
const KEYCLOAK_LIMIT: Duration = Duration::from_secs(180);
/// A logout that Keycloak tells of comes within a second; busy cores are slower.
const TOLD: Duration = Duration::from_secs(30);
const PROFILE: &str = "/api/v1/auth/profile";
const LOGIN: &str = "/api/v1/auth/oidc/login";

/// Keycloak's administrator.
struct Admin {
    api: Api,
}

impl Admin {
    async fn log_in(keycloak: &Keycloak) -> Result<Self> {
        let form = [
            ("client_id", "admin-cli"),
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", keycloak.password.as_str()),
        ];
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("{}/realms/master/protocol/openid-connect/token", keycloak.url);
        let answer: Value = client.post(url).form(&form).send().await?.error_for_status()?.json().await?;
        let token = answer["access_token"].as_str().context("no token of the administrator")?;
        Ok(Self { api: Api::new(&keycloak.url)?.token(token) })
    }

    async fn make_realm(&self, hub: &str) -> Result<()> {
        let realm = REALM.replace("{{hub}}", hub).replace("{{client_secret}}", SECRET);
        self.api.post("/admin/realms", &serde_json::from_str(&realm)?).await?.expect(201).map(|_| ())
    }

    /// Another key signs from now on.
    async fn rotate_keys(&self) -> Result<()> {
        let realm = self.api.get("/admin/realms/roadstead").await?.expect(200)?;
        let key = json!({
            "name": "rotated", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": realm["id"], "config": { "priority": ["1000"], "keySize": ["2048"], "algorithm": ["RS256"] },
        });
        self.api.post("/admin/realms/roadstead/components", &key).await?.expect(201).map(|_| ())
    }

    /// Ends every session of a person at Keycloak.
    async fn throw_out(&self, name: &str) -> Result<()> {
        let found =
            self.api.get(&format!("/admin/realms/roadstead/users?username={name}&exact=true")).await?.expect(200)?;
        let id = found[0]["id"].as_str().context("no such person")?;
        self.api.post(&format!("/admin/realms/roadstead/users/{id}/logout"), &json!({})).await?.expect(204).map(|_| ())
    }
}

/// Fills Keycloak's page.
async fn fill(page: &mut Page, name: &str, password: &str) -> Result<()> {
    page.until("document.querySelector('#kc-form-login')").await?;
    let script = format!(
        "document.querySelector('#username').value = '{name}'; document.querySelector('#password').value = '{password}'; \
         document.querySelector('#kc-login').click();"
    );
    // The click leaves the page, so its answer may never come.
    let _ = page.eval(&script).await;
    Ok(())
}

/// What the page's own `fetch` is answered; `null` where the browser does not let it see that.
async fn fetch(page: &mut Page, url: &str, options: &str) -> Result<Value> {
    let script = format!(
        "fetch('{url}', {options}).then(async r => ({{status: r.status, body: await r.text()}})).catch(() => null)"
    );
    page.eval(&script).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs keycloak, chromium"]
async fn keycloak_in_a_real_browser() {
    let _alone = crate::alone().await;
    scenario().await.unwrap();
}

async fn scenario() -> Result<()> {
    let began = Instant::now();
    let lap = |what: &str| println!("{:>6.1} s {what}", began.elapsed().as_secs_f64());
    let folder = roadstead_testkit::environment::folder().join(format!("keycloak-{}", std::process::id()));
    let prepared = folder.clone();
    let keycloak = tokio::task::spawn_blocking(move || Keycloak::prepare(&prepared)).await??;
    lap("keycloak is installed");
    let tuning = Tuning::default()
        .with("ROADSTEAD_AUTH_OIDC_ENABLED", "true")
        .with("ROADSTEAD_AUTH_OIDC_TITLE", "Keycloak")
        .with("ROADSTEAD_AUTH_OIDC_ISSUER", &format!("{}/realms/roadstead", keycloak.url))
        .with("ROADSTEAD_AUTH_OIDC_CLIENT_ID", "roadstead-hub")
        .with("ROADSTEAD_AUTH_OIDC_CLIENT_SECRET", SECRET)
        .with("ROADSTEAD_AUTH_OIDC_REDIRECT_URL", "{door}/api/v1/auth/oidc/callback")
        .with("ROADSTEAD_AUTH_OIDC_ROLE_MAP", "/platform-admins=admin,/everyone=viewer");
    let mesh = TestMesh::start(Layout::OneProcess, tuning).await?;
    lap("the hub is ready");
    away(&mesh).await?;

    let mut keycloak = keycloak;
    keycloak.start()?;
    let outcome = with_keycloak(&mesh, &keycloak, &folder, &lap).await;
    if outcome.is_err() {
        eprintln!("--- keycloak\n{}", keycloak.tail());
    }
    keycloak.kill()?;
    outcome?;
    // Nobody there again: whoever has a password goes on.
    mesh.login().await?;
    mesh.end();
    let _ = std::fs::remove_dir_all(&folder);
    lap("over");
    Ok(())
}

/// A provider that does not answer is told as such, and passwords work.
async fn away(mesh: &TestMesh) -> Result<()> {
    let answer = mesh.caller(0)?.get(LOGIN).await?;
    ensure!(answer.status == 503 && answer.code() == "provider_unavailable", "{answer:?}");
    mesh.login().await.map(|_| ())
}

async fn with_keycloak(
    mesh: &TestMesh,
    keycloak: &Keycloak,
    folder: &std::path::Path,
    lap: &impl Fn(&str),
) -> Result<()> {
    let hub = mesh.doors[0].as_str();
    let at = folder.to_owned();
    let browser = tokio::task::spawn_blocking(move || Browser::start(&at)).await??;
    let url = format!("{}/realms/master", keycloak.url);
    let alive = || {
        ensure!(keycloak.is_alive(), "it ended");
        Ok(())
    };
    answers("keycloak is ready", &url, KEYCLOAK_LIMIT, alive).await?;
    lap("keycloak is ready");
    let admin = Admin::log_in(keycloak).await?;
    admin.make_realm(hub).await?;
    lap("the realm is there");

    let mut ada = Page::open(&browser.address).await?;
    log_in(&mut ada, hub).await?;
    lap("ada is logged in");
    other_sites(&mut ada, hub, &keycloak.url).await?;
    replay(&mut ada, hub).await?;
    lap("other sites and replays are refused");
    command_line(mesh, &mut ada).await?;
    lap("the command line is logged in");

    admin.rotate_keys().await?;
    let mut bob = Page::open(&browser.address).await?;
    bob.goto(&format!("{hub}{LOGIN}?next={PROFILE}")).await?;
    fill(&mut bob, "bob", "lantern-quay-18").await?;
    let profile = bob.json_at(PROFILE).await?;
    ensure!(profile["username"] == "bob" && profile["roles"] == json!(["viewer"]), "{profile}");
    lap("bob is logged in by a rotated key");

    log_out(&mut ada, hub).await?;
    lap("ada is logged out");
    admin.throw_out("bob").await?;
    let began = Instant::now();
    loop {
        let seen = fetch(&mut bob, PROFILE, "{}").await?;
        if seen["status"] == 401 {
            break;
        }
        ensure!(began.elapsed() < TOLD, "the hub did not end the session that keycloak ended: {seen}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lap("bob was thrown out at keycloak");
    browser.stop()
}

/// Through Keycloak's page to a session in a cookie, with roles by the groups' exact names.
async fn log_in(page: &mut Page, hub: &str) -> Result<()> {
    page.goto(&format!("{hub}{LOGIN}?next={PROFILE}")).await?;
    fill(page, "ada", "lantern-quay-17").await?;
    let profile = page.json_at(PROFILE).await?;
    ensure!(profile["username"] == "ada" && profile["auth_source"] == "oidc", "{profile}");
    ensure!(profile["roles"] == json!(["viewer", "admin"]), "{profile}");
    let cookies = page.cookies(hub).await?;
    let session = cookies.iter().find(|cookie| cookie["name"] == "roadstead_session").context("no session")?;
    ensure!(session["httpOnly"] == true && session["sameSite"] == "Lax", "{session}");
    ensure!(!cookies.iter().any(|cookie| cookie["name"] == "roadstead_login"), "the login's own cookie is gone");
    ensure!(page.eval("document.cookie").await? == "", "scripts read nothing");
    Ok(())
}

/// A page of another origin on the same host: its browser sends the cookie, the hub refuses the change.
async fn other_sites(page: &mut Page, hub: &str, keycloak: &str) -> Result<()> {
    page.goto(&format!("{keycloak}/realms/roadstead")).await?;
    page.until(&format!("location.href.startsWith('{keycloak}')")).await?;
    let logout = format!("{hub}/api/v1/auth/logout");
    let options = "{method: 'POST', mode: 'no-cors', credentials: 'include'}";
    fetch(page, &logout, options).await?;
    let key = format!("{hub}/api-keys");
    let body = "{method: 'POST', credentials: 'include', headers: {'content-type': 'application/json'}, body: '{\"key_name\":\"evil\"}'}";
    ensure!(fetch(page, &key, body).await?.is_null(), "no answer for other origins");
    // Read across origins: the browser is given no leave.
    ensure!(fetch(page, &format!("{hub}{PROFILE}"), "{credentials: 'include'}").await?.is_null());
    page.goto(&format!("{hub}{PROFILE}")).await?;
    ensure!(page.json_at(PROFILE).await?["username"] == "ada", "the session stands");
    let own = "{method: 'POST', headers: {'content-type': 'application/json'}, body: '{\"key_name\":\"mine\"}'}";
    let made = fetch(page, "/api-keys", own).await?;
    ensure!(made["status"] == 201, "{made}");
    let keys = fetch(page, "/api-keys", "{}").await?;
    let keys: Value = serde_json::from_str(keys["body"].as_str().unwrap_or_default())?;
    ensure!(keys.as_array().is_some_and(|keys| keys.len() == 1), "{keys}");
    Ok(())
}

/// The way back from Keycloak counts once.
async fn replay(page: &mut Page, hub: &str) -> Result<()> {
    const CALLBACK: &str = "/api/v1/auth/oidc/callback";
    let back = page.requested.iter().find(|url| url.contains(CALLBACK)).context("no callback was seen")?.clone();
    ensure!(back.contains("&code=") && back.contains("state="), "{back}");
    page.goto(&back).await?;
    let answer = page.json_at(CALLBACK).await?;
    ensure!(answer["code"] == "login_refused" && answer["status"] == 401, "{answer}");
    page.goto(&format!("{hub}{PROFILE}")).await?;
    page.json_at(PROFILE).await.map(|_| ())
}

/// `roadstead login --sso`: the browser is logged in at Keycloak already, so it only goes there and back.
async fn command_line(mesh: &TestMesh, page: &mut Page) -> Result<()> {
    let profile = mesh.folder().join("sso-profile.json");
    let mut command = mesh.client(0, "")?;
    command
        .args(["login", "--sso", "--no-browser"])
        .env_remove("ROADSTEAD_API_KEY")
        .env("ROADSTEAD_CONFIG", &profile)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("failed to start the command line")?;
    let errors = child.stderr.take().context("no standard error")?;
    let (send, receive) = tokio::sync::oneshot::channel();
    // A thread, because the pipe blocks; it ends with the program.
    let reader = std::thread::spawn(move || {
        let mut send = Some(send);
        let mut text = String::new();
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            if let Some(url) = line.trim().strip_prefix("http").filter(|_| send.is_some()) {
                let _ = send.take().map(|send| send.send(format!("http{url}")));
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    });
    let url = tokio::time::timeout(Duration::from_secs(30), receive).await.context("no address was printed")??;
    page.goto(&url).await?;
    page.until("location.hostname === '127.0.0.1' && document.body.innerText.includes('You are logged in')").await?;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    let errors = reader.join().unwrap_or_default();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && text.contains("as ada"), "{text}{errors}");
    ensure!(!text.contains("eyJ") && !errors.contains("eyJ"), "no token is printed");
    let kept: Value = serde_json::from_slice(&std::fs::read(&profile)?)?;
    let token = kept["access_token"].as_str().context("no token was kept")?;
    ensure!(mesh.caller(0)?.token(token).get(PROFILE).await?.expect(200)?["username"] == "ada");
    Ok(())
}

/// Ends the session here and Keycloak's, and comes back to the hub.
async fn log_out(page: &mut Page, hub: &str) -> Result<()> {
    page.goto(&format!("{hub}{PROFILE}")).await?;
    page.json_at(PROFILE).await?;
    let out = fetch(page, "/api/v1/auth/oidc/logout", "{method: 'POST'}").await?;
    ensure!(out["status"] == 200, "{out}");
    let out: Value = serde_json::from_str(out["body"].as_str().unwrap_or_default())?;
    let url = out["logout_url"].as_str().context("no way to end keycloak's session")?.to_owned();
    page.goto(&url).await?;
    page.until(&format!("location.origin === '{hub}' && location.pathname === '/'")).await?;
    ensure!(fetch(page, PROFILE, "{}").await?["status"] == 401, "the session is over");
    // Keycloak asks again who it is.
    page.goto(&format!("{hub}{LOGIN}?next={PROFILE}")).await?;
    page.until("document.querySelector('#kc-form-login')").await
}
