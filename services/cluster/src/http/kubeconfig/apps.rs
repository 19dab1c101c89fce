//! Apps: deployments, Helm releases, applications of Argo CD and Rancher, as the caller may see them.

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use roadstead_contracts::percent::escape;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};
use serde_json::{Value, json};

use super::workloads::{extend, list, namespace, workload};
use super::{asker, cluster, no_number, time};
use crate::http::State;
use crate::kubectl::{AS_JSON, AS_METADATA, Api, Failure, Told, each, is_name};

/// A kind of apps.
struct Kind {
    /// The seed's word.
    word: &'static str,
    base: &'static str,
    plural: &'static str,
}

/// Releases of Helm are Secrets: their labels say all that is shown, and nothing else of them is asked for (K4).
const HELM: &str = "helm";
static KINDS: [Kind; 4] = [
    Kind { word: "deployment", base: "/apis/apps/v1", plural: "deployments" },
    Kind { word: "argocd", base: "/apis/argoproj.io/v1alpha1", plural: "applications" },
    Kind { word: "rancher", base: "/apis/catalog.cattle.io/v1", plural: "apps" },
    Kind { word: HELM, base: "/api/v1", plural: "secrets" },
];
/// Most objects of an application of Argo CD that are shown.
const OBJECTS_MAX: usize = 500;

impl Kind {
    /// What is kept of the objects of all such apps, or of one: of a release there is one for each revision.
    async fn objects(
        &self,
        api: &dyn Api,
        namespace: Option<&str>,
        name: Option<&str>,
        mut keep: impl FnMut(&Self, Value) -> Option<Value> + Send,
    ) -> Told<Vec<Value>> {
        let place = namespace.map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        let path = format!("{}{place}/{}", self.base, self.plural);
        let (query, accept) = match (self.word, name) {
            (HELM, None) => ("&labelSelector=owner%3Dhelm".to_owned(), AS_METADATA),
            (HELM, Some(name)) => {
                (format!("&labelSelector={}", escape(&format!("owner=helm,name={name}"))), AS_METADATA)
            }
            (_, None) => (String::new(), AS_JSON),
            (_, Some(name)) => (format!("&fieldSelector={}", escape(&format!("metadata.name={name}"))), AS_JSON),
        };
        let mut kept = Vec::new();
        each(api, &path, &query, accept, |item| kept.extend(keep(self, item))).await?;
        Ok(kept)
    }
}

/// What the caller asks for.
struct Wanted<'a> {
    namespace: Option<&'a str>,
    word: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(query: &'a QueryPairs) -> Result<Self> {
        let (name, word) = (query.one("namespace")?, query.one("app_type")?.filter(|word| *word != "all"));
        if let Some(name) = name {
            namespace(name, "query")?;
        }
        if word.is_some_and(|word| !KINDS.iter().any(|kind| kind.word == word)) {
            let why = "app_type must be deployment, helm, argocd or rancher";
            return Err(Error::field(&["query", "app_type"], "value_error", why));
        }
        Ok(Self { namespace: name, word })
    }

    /// What is kept of the objects of every kind that is wanted, kind by kind.
    async fn find(
        &self,
        api: &dyn Api,
        name: Option<&str>,
        mut keep: impl FnMut(&Kind, Value) -> Option<Value> + Send,
    ) -> Result<Vec<(&'static Kind, Vec<Value>)>> {
        let mut found = Vec::new();
        for kind in KINDS.iter().filter(|kind| self.word.is_none_or(|word| word == kind.word)) {
            match kind.objects(api, self.namespace, name, &mut keep).await {
                Ok(objects) => found.push((kind, objects)),
                // A cluster without that product has no such apps.
                Err(Failure::Cluster(404, _)) => {}
                // Nobody sees what the cluster does not show them; who asked for it is told.
                Err(Failure::Cluster(403, _)) if self.word.is_none() => {}
                Err(failure) => return Err(failure.into_error()),
            }
        }
        Ok(found)
    }
}

/// Lists apps: deployments, Helm releases, applications of Argo CD and Rancher.
#[utoipa::path(
    get, path = "/kubeconfig/clusters/{cluster}/apps", tag = "seed 004", operation_id = "kubeconfigApps",
    params(
        ("cluster" = String, Path, description = "Integer, id or name"),
        ("namespace" = Option<String>, Query, description = "One namespace; all when left out"),
        ("app_type" = Option<String>, Query, description = "`deployment`, `helm`, `argocd` or `rancher`; all when left out"),
    ),
    responses(
        (status = 200, body = serde_json::Value, example = json!({
            "success": true, "cluster_id": 1, "cluster_name": "production-cluster", "namespace": "shop", "app_type": "all",
            "total_apps": 1, "apps": [{"name": "web", "namespace": "shop", "type": "deployment", "status": "Healthy",
                "version": "nginx:1", "created_at": "2024-01-15T10:30:00Z"}]
        })),
        (status = 404, description = "No such cluster, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn all(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    context: RequestContext,
) -> ApiResult {
    let seed = cluster(&app, &caller, &path, &context, no_number).await?;
    let wanted = Wanted::read(&query)?;
    let api = asker(&app, &request, seed.cluster.id, &context)?;
    let found = wanted.find(&api, None, |kind, item| Some(described(kind.word, &item))).await?;
    let apps: Vec<Value> = found.into_iter().flat_map(|(_, apps)| apps).collect();
    Ok(HttpResponse::Ok().json(json!({
        "success": true,
        "cluster_id": seed.cluster.seq,
        "cluster_name": seed.cluster.name,
        "namespace": wanted.namespace.unwrap_or("all"),
        "app_type": wanted.word.unwrap_or("all"),
        "total_apps": apps.len(),
        "apps": apps,
    })))
}

fn described(word: &str, item: &Value) -> Value {
    let (spec, status, labels) = (&item["spec"], &item["status"], &item["metadata"]["labels"]);
    let (name, shown, version) = match word {
        HELM => (&labels["name"], labels["status"].clone(), labels["version"].clone()),
        "argocd" => {
            (&item["metadata"]["name"], status["health"]["status"].clone(), spec["source"]["targetRevision"].clone())
        }
        "rancher" => {
            let version = spec["chart"]["metadata"]["version"].clone();
            (&item["metadata"]["name"], status["summary"]["state"].clone(), version)
        }
        _ => {
            let (wanted, there) =
                (spec["replicas"].as_u64().unwrap_or(0), status["availableReplicas"].as_u64().unwrap_or(0));
            let health = if there >= wanted { "Healthy" } else { "Degraded" };
            let image = spec.pointer("/template/spec/containers/0/image").cloned().unwrap_or_default();
            (&item["metadata"]["name"], health.into(), image)
        }
    };
    json!({
        "name": name,
        "namespace": item["metadata"]["namespace"],
        "type": word,
        "status": shown,
        "version": version,
        "created_at": item["metadata"]["creationTimestamp"],
    })
}

/// One app in detail: how it stands and what it is made of, never its values (K4).
#[utoipa::path(
    get, path = "/kubeconfig/clusters/{cluster}/apps/{name}/details", tag = "seed 004", operation_id = "kubeconfigAppDetails",
    params(
        ("cluster" = String, Path, description = "Integer, id or name"),
        ("name" = String, Path, description = "Name of the app"),
        ("namespace" = Option<String>, Query, description = "Its namespace; needed where the name is taken in several"),
        ("app_type" = Option<String>, Query, description = "`deployment`, `helm`, `argocd` or `rancher`; the first that has it when left out"),
    ),
    responses(
        (status = 200, body = serde_json::Value, example = json!({
            "success": true, "cluster_id": 1, "cluster_name": "production-cluster", "namespace": "shop",
            "app_type": "deployment", "app": {"name": "web", "namespace": "shop", "type": "deployment", "status": "Healthy",
                "version": "nginx:1", "created_at": "2024-01-15T10:30:00Z", "labels": {"app": "web"}},
            "details": {"replicas": 1, "ready_replicas": 1, "available_replicas": 1, "strategy": "RollingUpdate",
                "images": ["nginx:1"], "conditions": [], "pods": []}
        })),
        (status = 403, description = "The cluster's own rules forbid it"),
        (status = 404, description = "No such cluster or app, or not the caller's"),
        (status = 422, description = "There are apps of that name in several namespaces"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn details(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<(String, String)>,
    query: QueryPairs,
    context: RequestContext,
) -> ApiResult {
    let (reference, name) = path.into_inner();
    let seed = cluster(&app, &caller, &reference, &context, no_number).await?;
    let wanted = Wanted::read(&query)?;
    if !is_name(&name) {
        return Err(Error::not_found("there is no such app").into());
    }
    let api = asker(&app, &request, seed.cluster.id, &context)?;
    // Of one name there is one in a namespace, so a second tells that there are several. Revisions are names and labels.
    let mut whole = 0;
    let keep = |kind: &Kind, item: Value| {
        whole += usize::from(kind.word != HELM);
        (whole <= 2).then(|| without_managers(item))
    };
    let found = wanted.find(&api, Some(&name), keep).await?;
    let missing = || Error::not_found(format!("App '{name}' not found"));
    let (kind, objects) = found.into_iter().find(|(_, objects)| !objects.is_empty()).ok_or_else(missing)?;
    let latest = latest(&objects).ok_or_else(missing)?;
    let place = &latest["metadata"]["namespace"];
    if objects.iter().any(|item| item["metadata"]["namespace"] != *place) {
        let why = "there are apps of that name in several namespaces; name one of them";
        return Err(Error::field(&["query", "namespace"], "value_error", why).into());
    }
    let more = match kind.word {
        "deployment" => deployment(&api, latest, app.clock.now()).await?,
        HELM => json!({ "revisions": revisions(&objects) }),
        "argocd" => argocd(latest),
        _ => rancher(latest),
    };
    let mut shown = described(kind.word, latest);
    extend(&mut shown, json!({ "labels": latest["metadata"]["labels"] }));
    Ok(HttpResponse::Ok().json(json!({
        "success": true,
        "cluster_id": seed.cluster.seq,
        "cluster_name": seed.cluster.name,
        "namespace": place,
        "app_type": kind.word,
        "app": shown,
        "details": more,
    })))
}

/// Who manages which field is half of an object and shown to nobody.
fn without_managers(mut item: Value) -> Value {
    if let Some(metadata) = item.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    item
}

/// The object that an app is now: of a release, its last revision.
fn latest(objects: &[Value]) -> Option<&Value> {
    objects.iter().max_by_key(|item| revision(item))
}

fn revision(item: &Value) -> u64 {
    item["metadata"]["labels"]["version"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn deployment(api: &dyn Api, item: &Value, now: DateTime<Utc>) -> Result<Value> {
    let (spec, status) = (&item["spec"], &item["status"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let containers = list(&spec["template"]["spec"]["containers"]);
    let images: Vec<&Value> = containers.iter().map(|container| &container["image"]).collect();
    let pods = match item["metadata"]["namespace"].as_str() {
        Some(place) => {
            let selector = format!("&labelSelector={}", escape(&selector(&spec["selector"])));
            let mut pods = Vec::new();
            let show = |pod: Value| pods.push(workload("pods", &pod, now));
            match each(api, &format!("/api/v1/namespaces/{place}/pods"), &selector, AS_JSON, show).await {
                Ok(()) => pods.into(),
                // The deployment is the caller's to see, its pods are not.
                Err(Failure::Cluster(403, _)) => Value::Null,
                Err(failure) => return Err(failure.into_error()),
            }
        }
        None => Value::Null,
    };
    Ok(json!({
        "replicas": number(&spec["replicas"]),
        "ready_replicas": number(&status["readyReplicas"]),
        "available_replicas": number(&status["availableReplicas"]),
        "strategy": spec["strategy"]["type"],
        "images": images,
        "conditions": status["conditions"],
        "pods": pods,
    }))
}

/// A selector as a query has it.
fn selector(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let equal = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let rules = list(&selector["matchExpressions"]).iter().filter_map(|rule| {
        let key = rule["key"].as_str()?;
        let values: Vec<&str> = list(&rule["values"]).iter().filter_map(Value::as_str).collect();
        Some(match rule["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        })
    });
    equal.chain(rules).collect::<Vec<_>>().join(",")
}

/// Revisions of a release, the last one first.
fn revisions(objects: &[Value]) -> Vec<Value> {
    let mut sorted: Vec<&Value> = objects.iter().collect();
    sorted.sort_by_key(|item| std::cmp::Reverse(revision(item)));
    let shown = sorted.into_iter().map(|item| {
        let labels = &item["metadata"]["labels"];
        let changed = labels["modifiedAt"].as_str().and_then(|text| text.parse().ok());
        let changed = changed.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).map(time);
        json!({
            "revision": revision(item),
            "status": labels["status"],
            "created_at": item["metadata"]["creationTimestamp"],
            "updated_at": changed,
        })
    });
    shown.collect()
}

fn argocd(item: &Value) -> Value {
    let (spec, status) = (&item["spec"], &item["status"]);
    let objects = list(&status["resources"]).iter().take(OBJECTS_MAX).map(|object| {
        json!({
            "kind": object["kind"], "name": object["name"], "namespace": object["namespace"],
            "status": object["status"], "health": object["health"]["status"],
        })
    });
    json!({
        "sync": status["sync"]["status"],
        "revision": status["sync"]["revision"],
        "health": status["health"]["status"],
        "source": {
            "repo_url": spec["source"]["repoURL"].as_str().map(without_user),
            "path": spec["source"]["path"],
            "chart": spec["source"]["chart"],
            "target_revision": spec["source"]["targetRevision"],
        },
        "destination": {
            "server": spec["destination"]["server"], "name": spec["destination"]["name"],
            "namespace": spec["destination"]["namespace"],
        },
        "resources": objects.collect::<Vec<_>>(),
    })
}

/// An address without a name and a password: some write a token there.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

fn rancher(item: &Value) -> Value {
    let chart = &item["spec"]["chart"]["metadata"];
    json!({
        "chart": chart["name"],
        "chart_version": chart["version"],
        "app_version": chart["appVersion"],
        "state": item["status"]["summary"]["state"],
        "revision": item["spec"]["version"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k4_a_helm_release_is_its_labels() {
        let secret = json!({
            "metadata": {"name": "sh.helm.release.v1.web.v3", "namespace": "n", "labels": {"name": "web", "status": "deployed", "version": "3"}},
            "data": {"release": "canary"},
        });
        let shown = described("helm", &secret);
        assert_eq!((shown["name"].as_str(), shown["version"].as_str()), (Some("web"), Some("3")));
        assert!(!shown.to_string().contains("canary"));
        for kind in &KINDS {
            assert!(described(kind.word, &Value::Null).is_object());
        }
    }

    #[test]
    fn revisions_come_last_first() {
        let release = |version: &str, status: &str| {
            json!({"metadata": {"namespace": "n", "labels":
                {"name": "web", "status": status, "version": version, "modifiedAt": "1704067200"}}, "data": {"release": "canary"}})
        };
        let objects = [release("9", "superseded"), release("10", "deployed"), release("x", "failed")];
        assert_eq!(latest(&objects).unwrap()["metadata"]["labels"]["version"], "10");
        let shown = revisions(&objects);
        assert_eq!(
            shown[0],
            json!({"revision": 10, "status": "deployed", "created_at": null, "updated_at": "2024-01-01T00:00:00Z"})
        );
        assert!(!json!(shown).to_string().contains("canary"));
    }

    #[test]
    fn selectors_are_written_as_a_query_has_them() {
        let rules = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector(&rules), "app=web,tier in (a,b),!old");
        assert_eq!(selector(&Value::Null), "");
    }

    #[test]
    fn k4_no_password_of_an_address_is_shown() {
        assert_eq!(without_user("https://bot:canary@git.example/a/b@c"), "https://git.example/a/b@c");
        assert_eq!(without_user("git@git.example:a/b.git"), "git@git.example:a/b.git");
        let item = json!({"spec": {"source": {"repoURL": "https://canary@git.example/a"}}, "status": {"resources": [{"kind": "Service"}]}});
        let shown = argocd(&item);
        assert!(!shown.to_string().contains("canary") && shown["resources"][0]["kind"] == "Service");
        assert!(rancher(&Value::Null).is_object() && argocd(&Value::Null).is_object());
    }
}
