//! Passkeys as people have them: a real browser with an authenticator of its own, and the real programs.

use anyhow::{Context as _, Result, ensure};
use roadstead_mesh_tests::{Layout, Page, TestMesh, Tuning};
use roadstead_testkit::browser::Browser;

const SIGN_IN: &str = "/api/v1/auth/sign-in";
const OUT: &str = "!document.getElementById('out').hidden";
const IN: &str = "!document.getElementById('in').hidden";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium"]
async fn a_passkey_in_a_real_browser() {
    let _alone = crate::alone().await;
    scenario().await.unwrap();
}

async fn scenario() -> Result<()> {
    let mesh =
        TestMesh::start(Layout::OneProcess, Tuning::default().with("ROADSTEAD_PUBLIC_URL", "{named_door}")).await?;
    let folder = mesh.folder().to_owned();
    let browser = tokio::task::spawn_blocking(move || Browser::start(&folder)).await??;
    let hub = mesh.doors.first().context("no door")?.replace("127.0.0.1", "localhost");
    let (name, password) = mesh.admin.clone();
    let mut page = Page::as_served(&browser.address).await?;
    page.add_authenticator().await?;
    page.goto(&format!("{hub}{SIGN_IN}")).await?;

    // The password is enough, until there is a passkey.
    page.until(OUT).await?;
    fill(&mut page, &[("username", &name), ("password", &password)]).await?;
    click(&mut page, "with-password").await?;
    page.until(IN).await?;
    let session = page.cookies(&hub).await?;
    let session = session.iter().find(|cookie| cookie["name"] == "roadstead_session").context("no session")?;
    ensure!(session["httpOnly"] == true && session["sameSite"] == "Lax", "{session}");
    ensure!(page.eval("document.cookie").await? == "", "scripts read nothing");
    fill(&mut page, &[("name", "telephone"), ("current", &password)]).await?;
    click(&mut page, "add").await?;
    page.until("document.querySelectorAll('#passkeys li').length === 1").await?;
    let codes = page.eval("document.getElementById('codes').textContent.split('\\n').length").await?;
    ensure!(codes == 10, "{codes} recovery codes");

    // Then it is not.
    leave(&mut page).await?;
    fill(&mut page, &[("username", &name), ("password", &password)]).await?;
    click(&mut page, "with-password").await?;
    page.until("document.getElementById('said').textContent.includes('a passkey')").await?;
    click(&mut page, "with-both").await?;
    page.until(IN).await?;

    // Alone, with nothing typed.
    leave(&mut page).await?;
    click(&mut page, "with-passkey").await?;
    page.until(IN).await?;
    let who = page.eval("document.getElementById('who').textContent").await?;
    ensure!(who == name.as_str(), "{who}");

    // Removed here, the authenticator still has it: it is refused.
    page.eval("[...document.querySelectorAll('#passkeys button')].find(b => b.textContent === 'Remove').click()")
        .await?;
    page.until("document.querySelectorAll('#passkeys li').length === 0").await?;
    leave(&mut page).await?;
    click(&mut page, "with-passkey").await?;
    page.until("document.getElementById('said').textContent.includes('refused')").await?;

    // At another address the browser itself has no passkey of this hub.
    let by_number = hub.replace("localhost", "127.0.0.1");
    page.goto(&format!("{by_number}{SIGN_IN}")).await?;
    page.until(&format!("location.origin === '{by_number}' && {OUT}")).await?;
    click(&mut page, "with-passkey").await?;
    page.until("document.getElementById('said').textContent !== ''").await?;
    ensure!(page.eval("document.getElementById('in').hidden").await? == true, "signed in elsewhere");

    // The hub says 401 to whoever is not signed in; nothing else was complained of, no policy was in the way.
    let odd: Vec<&String> =
        page.complaints.iter().filter(|words| !words.starts_with("Failed to load resource")).collect();
    ensure!(odd.is_empty(), "{odd:?}");
    let foreign: Vec<&String> =
        page.requested.iter().filter(|url| !url.starts_with(&hub) && !url.starts_with(&by_number)).collect();
    ensure!(foreign.iter().all(|url| url.starts_with("about:")), "asked elsewhere: {foreign:?}");
    browser.stop()?;
    mesh.end();
    Ok(())
}

async fn fill(page: &mut Page, fields: &[(&str, &str)]) -> Result<()> {
    for (id, value) in fields {
        page.eval(&format!("document.getElementById('{id}').value = '{value}'")).await?;
    }
    Ok(())
}

async fn click(page: &mut Page, id: &str) -> Result<()> {
    page.eval(&format!("document.getElementById('{id}').click()")).await.map(|_| ())
}

async fn leave(page: &mut Page) -> Result<()> {
    click(page, "leave").await?;
    page.until(OUT).await
}
