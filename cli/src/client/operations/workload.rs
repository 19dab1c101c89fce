//! `roadstead scale`, `restart`, `rollback`.

use anyhow::Result;
use serde_json::{Value, json};

use super::super::ended::Ended;
use super::super::hub::Hub;
use super::confirm::{revision, several};
use super::submit::{Request, Stay, begin, clusters, finish};
use crate::args::OutputFormat;
use crate::args::operations::{RollbackArgs, ScaleArgs, WorkloadArgs};

/// Kinds by the words that kubectl has for them.
const KINDS: [(&[&str], &str); 4] = [
    (&["deployment", "deployments", "deploy"], "Deployment"),
    (&["statefulset", "statefulsets", "sts"], "StatefulSet"),
    (&["daemonset", "daemonsets", "ds"], "DaemonSet"),
    (&["replicaset", "replicasets", "rs"], "ReplicaSet"),
];

/// Runs `scale`.
pub(in crate::client) async fn scale(hub: &mut Hub, args: &ScaleArgs, format: OutputFormat) -> Result<()> {
    // Any other number leaves something running.
    let stops = (args.replicas == 0).then_some(("Scale", "to 0"));
    change(hub, &args.workload, json!({ "kind": "scale", "replicas": args.replicas }), stops, format).await
}

/// Runs `restart`.
pub(in crate::client) async fn restart(hub: &mut Hub, args: &WorkloadArgs, format: OutputFormat) -> Result<()> {
    change(hub, args, json!({ "kind": "restart" }), Some(("Restart", "pod after pod")), format).await
}

/// Runs `rollback`.
pub(in crate::client) async fn rollback(hub: &mut Hub, args: &RollbackArgs, format: OutputFormat) -> Result<()> {
    let back = format!("back to {}", revision(args.revision));
    let work = json!({ "kind": "rollback", "revision": args.revision });
    change(hub, &args.workload, work, Some(("Take", back.as_str())), format).await
}

/// `stops` are the words before and after the workload's name, of a change that removes or stops something.
async fn change(
    hub: &mut Hub,
    args: &WorkloadArgs,
    mut work: Value,
    stops: Option<(&str, &str)>,
    format: OutputFormat,
) -> Result<()> {
    work["object"] = object(&args.object, &args.namespace)?;
    work["wait"] = json!(args.wait.wait);
    work["deadline_seconds"] = json!(args.wait.timeout);
    let clusters = clusters(hub, &args.target).await?;
    if let Some((verb, how)) = stops {
        let what = format!("{verb} {} of the namespace {} {how},", args.object, args.namespace);
        several(&what, &clusters, args.yes)?;
    }
    let begun = begin(hub, clusters, &Request::Work(&work)).await;
    finish(hub, begun, if args.wait.wait { Stay::UntilEnd } else { Stay::No }, format).await
}

/// `deploy/web`, or `Kind.version.group/web` for what is not Kubernetes' own.
fn object(text: &str, namespace: &str) -> Result<Value> {
    let fault = || Ended::usage(format!("'{text}' is not KIND/NAME such as deploy/web"));
    let (kind, name) =
        text.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty()).ok_or_else(fault)?;
    let lower = kind.to_lowercase();
    let known = KINDS.iter().find(|(words, _)| words.contains(&lower.as_str()));
    let (api_version, kind) = match (known, kind.splitn(3, '.').collect::<Vec<_>>().as_slice()) {
        (Some((_, kind)), _) => ("apps/v1".to_owned(), (*kind).to_owned()),
        (None, [kind, version, group]) => (format!("{group}/{version}"), (*kind).to_owned()),
        (None, _) => {
            let known = "deployment, statefulset, daemonset, replicaset";
            let said = format!("the kind {kind} is none of {known}; write Kind.version.group/NAME");
            return Err(Ended::usage(said).into());
        }
    };
    Ok(json!({ "api_version": api_version, "kind": kind, "namespace": namespace, "name": name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_words() {
        for (text, api_version, kind) in [
            ("deploy/web", "apps/v1", "Deployment"),
            ("StatefulSet/web", "apps/v1", "StatefulSet"),
            ("Rollout.v1alpha1.argoproj.io/web", "argoproj.io/v1alpha1", "Rollout"),
        ] {
            let read = object(text, "shop").unwrap();
            assert_eq!(
                (read["api_version"].as_str(), read["kind"].as_str()),
                (Some(api_version), Some(kind)),
                "{text}"
            );
        }
        for bad in ["web", "/web", "deploy/", "pods/web"] {
            let fault = object(bad, "shop").unwrap_err();
            assert_eq!(fault.downcast_ref::<Ended>().unwrap().code, 2, "{bad}");
        }
    }
}
