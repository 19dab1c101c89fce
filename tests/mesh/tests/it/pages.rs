//! The pages that the hub serves, in a real browser.

use anyhow::{Result, ensure};
use roadstead_mesh_tests::{Layout, Page, TestMesh, Tuning};
use roadstead_testkit::browser::Browser;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium"]
async fn swagger_ui_works_and_loads_nothing_from_elsewhere() {
    let _alone = crate::alone().await;
    swagger().await.unwrap();
}

async fn swagger() -> Result<()> {
    let mesh = TestMesh::start(Layout::OneProcess, Tuning::default()).await?;
    let folder = mesh.folder().to_owned();
    let browser = tokio::task::spawn_blocking(move || Browser::start(&folder)).await??;
    let hub = mesh.doors[0].clone();
    let mut page = Page::as_served(&browser.address).await?;
    page.goto(&format!("{hub}/swagger/index.html")).await?;
    page.until("document.querySelectorAll('.opblock').length > 50").await?;
    let title = page.eval("document.querySelector('.info .title').innerText").await?;
    ensure!(title.as_str().is_some_and(|title| title.contains("Roadstead")), "{title}");

    // A newcomer tries the first thing that needs no credential.
    let health =
        "document.getElementById(document.querySelector('[data-path=\"/api/v1/health\"]').closest('.opblock').id)";
    for (button, then) in [
        (".opblock-summary-control", ".try-out__btn"),
        (".try-out__btn", ".execute"),
        (".execute", ".live-responses-table .response-col_status"),
    ] {
        page.eval(&format!("{health}.querySelector('{button}').click()")).await?;
        page.until(&format!("{health}.querySelector('{then}')")).await?;
    }
    let status = format!("{health}.querySelector('.live-responses-table .response .response-col_status').innerText");
    let status = page.eval(&status).await?;
    ensure!(status.as_str().is_some_and(|status| status.starts_with("200")), "{status}");

    let elsewhere = |url: &&String| !url.starts_with(&hub) && !url.starts_with("data:") && !url.starts_with("blob:");
    let foreign: Vec<&String> = page.requested.iter().filter(elsewhere).collect();
    ensure!(foreign.is_empty(), "asked elsewhere: {foreign:?}");
    ensure!(page.complaints.is_empty(), "{:?}", page.complaints);
    browser.stop()?;
    mesh.end();
    Ok(())
}
