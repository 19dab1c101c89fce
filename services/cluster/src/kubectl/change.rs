//! The verbs that change something, each to objects that are named.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json as object;

use super::command::{Delete, Restart, Scale, Target};
use super::kinds::{Resource, find};
use super::{AS_JSON, Api, Ask, Failure, Printed, Told, json, said};

/// Kinds whose pods are made anew when their template changes.
const RESTARTED: [&str; 3] = ["deployments", "statefulsets", "daemonsets"];
/// Who owns the fields that are set here.
const MANAGER: &str = "roadstead-kubectl";

pub(super) async fn delete(api: &dyn Api, delete: &Delete) -> Told<Printed> {
    let mut out = String::new();
    for target in &delete.targets {
        let (resource, name) = named(api, target).await?;
        let mut path = resource.path(Some(&delete.namespace), Some(name));
        if let Some(seconds) = delete.grace {
            path = format!("{path}?gracePeriodSeconds={seconds}");
        }
        match json(api, Ask { method: "DELETE", path, accept: AS_JSON, body: None }).await {
            Ok(_) => out.push_str(&format!("{} \"{name}\" deleted\n", resource.shown())),
            Err(Failure::Cluster(404, _)) if delete.ignore_not_found => {}
            Err(fault) => return done_so_far(&out, fault),
        }
    }
    Ok(Printed::out(out))
}

pub(super) async fn scale(api: &dyn Api, scale: &Scale) -> Told<Printed> {
    let mut out = String::new();
    let body = object!({ "spec": { "replicas": scale.replicas } });
    for target in &scale.targets {
        let (resource, name) = named(api, target).await?;
        let path = format!("{}/scale?fieldManager={MANAGER}", resource.path(Some(&scale.namespace), Some(name)));
        let body = Some(("application/merge-patch+json", body.to_string()));
        match json(api, Ask { method: "PATCH", path, accept: AS_JSON, body }).await {
            Ok(_) => out.push_str(&format!("{}/{name} scaled\n", resource.shown())),
            Err(fault) => return done_so_far(&out, fault),
        }
    }
    Ok(Printed::out(out))
}

pub(super) async fn restart(api: &dyn Api, restart: &Restart, now: DateTime<Utc>) -> Told<Printed> {
    let mut out = String::new();
    let at = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let annotations = object!({ "kubectl.kubernetes.io/restartedAt": at });
    let body = object!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    for target in &restart.targets {
        let (resource, name) = named(api, target).await?;
        if resource.group != "apps" || !RESTARTED.contains(&resource.plural.as_str()) {
            return said(format!("error: {} restarting is not supported", resource.plural));
        }
        let path = format!("{}?fieldManager={MANAGER}", resource.path(Some(&restart.namespace), Some(name)));
        let body = Some(("application/merge-patch+json", body.to_string()));
        match json(api, Ask { method: "PATCH", path, accept: AS_JSON, body }).await {
            Ok(_) => out.push_str(&format!("{}/{name} restarted\n", resource.shown())),
            Err(fault) => return done_so_far(&out, fault),
        }
    }
    Ok(Printed::out(out))
}

async fn named<'a>(api: &dyn Api, target: &'a Target) -> Told<(Resource, &'a str)> {
    let Some(name) = &target.name else { return said("error: name each object") };
    Ok((find(api, &target.kind).await?, name))
}

/// What was done before the fault must not be forgotten because of it.
fn done_so_far(out: &str, fault: Failure) -> Told<Printed> {
    match fault {
        Failure::Said(text) | Failure::Cluster(_, text) if !out.is_empty() => said(format!("{out}{text}")),
        Failure::Hub(error) if !out.is_empty() => said(format!("{out}error: {}", error.detail)),
        fault => Err(fault),
    }
}
