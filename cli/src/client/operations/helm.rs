//! `roadstead helm`: releases of charts, as operations.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::super::ended::Ended;
use super::super::hub::Hub;
use super::apply::Query;
use super::confirm::{revision, several};
use super::files::{Manifest, fields, read};
use super::submit::{Request, Stay, begin, clusters, finish};
use crate::args::OutputFormat;
use crate::args::operations::{DryRun, HelmCommand, HelmInstallArgs, ReleaseArgs};

/// Runs `helm`.
pub(in crate::client) async fn run(hub: &mut Hub, command: &HelmCommand, format: OutputFormat) -> Result<()> {
    match command {
        HelmCommand::Install(args) => install(hub, args, format).await,
        HelmCommand::Rollback { release, revision: to, yes } => {
            let back = format!("back to {}", revision(*to));
            change(hub, release, "rollback", *to, ("Take", back.as_str(), *yes), format).await
        }
        HelmCommand::Uninstall { release, yes } => {
            change(hub, release, "uninstall", None, ("Remove", "with everything of it", *yes), format).await
        }
    }
}

async fn install(hub: &mut Hub, args: &HelmInstallArgs, format: OutputFormat) -> Result<()> {
    let is_address = args.chart.starts_with("https://") || args.chart.starts_with("http://");
    let mut files: Vec<(&str, Manifest)> = Vec::new();
    if !is_address {
        let path = Path::new(&args.chart);
        if path.is_dir() {
            let said = format!("{} is a folder; give what `helm package {0}` writes", path.display());
            return Err(Ended::usage(said).into());
        }
        files.extend(read(&[PathBuf::from(path)])?.into_iter().map(|file| ("chart", file)));
    }
    for path in &args.values {
        files.extend(read(std::slice::from_ref(path))?.into_iter().map(|file| ("values", file)));
    }
    let clusters = clusters(hub, &args.release.target).await?;
    let (kind, body) = fields(&files);
    let dry_run = args.dry_run == DryRun::Server;
    let wait = args.release.wait;
    let mut query = Query::default();
    query.add("release", Some(&args.release.release));
    query.add("namespace", Some(&args.release.namespace));
    query.add("chart", is_address.then_some(args.chart.as_str()));
    query.add("create_namespace", args.create_namespace.then_some("true"));
    query.add("dry_run", dry_run.then_some("server"));
    query.add("wait", wait.wait.then_some("true"));
    query.add("deadline_seconds", wait.timeout.map(|seconds| seconds.to_string()).as_deref());
    let begun = begin(hub, clusters, &Request::Chart { query: query.text(), kind: &kind, body: &body }).await;
    let stay = match (dry_run, wait.wait) {
        (true, _) => Stay::ShowDiffs,
        (false, true) => Stay::UntilEnd,
        (false, false) => Stay::No,
    };
    finish(hub, begun, stay, format).await
}

/// `asked` are the words before and after the release's name, and whether the answer is known to be yes.
async fn change(
    hub: &mut Hub,
    args: &ReleaseArgs,
    action: &str,
    revision: Option<u32>,
    asked: (&str, &str, bool),
    format: OutputFormat,
) -> Result<()> {
    let clusters = clusters(hub, &args.target).await?;
    let (verb, how, yes) = asked;
    let what = format!("{verb} the release {} of the namespace {} {how},", args.release, args.namespace);
    several(&what, &clusters, yes)?;
    let work = json!({
        "kind": "helm",
        "action": action,
        "release": args.release,
        "namespace": args.namespace,
        "revision": revision,
        "wait": args.wait.wait,
        "deadline_seconds": args.wait.timeout,
    });
    let begun = begin(hub, clusters, &Request::Work(&work)).await;
    finish(hub, begun, if args.wait.wait { Stay::UntilEnd } else { Stay::No }, format).await
}
