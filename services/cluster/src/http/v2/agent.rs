//! `GET /api/v2.0/agent/{agent}/{what}`: what KubeSage's later frontend asks of an agent. The cluster is asked as the caller, so its own
//! rules decide; an agent of the seeds, which carries no streams, is asked by its own commands, and onboarding decides. Where the
//! seed showed pods that were made up (K22), there is an error.

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use roadstead_contracts::message::{AgentTarget, SeedView};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};
use serde_json::{Value, json};

use crate::http::State;
use crate::http::kubeconfig::asker;
use crate::http::kubeconfig::workloads::{list, namespace, workload};
use crate::http::v1::{named, reference};
use crate::kubectl::{AS_JSON, Api, Ask, Command, Failure, Logs, Told, each, is_name, json as ask, run, time_of};

/// The seed's sentence.
const NO_AGENT: &str = "Agent not found or not connected";
/// Namespace of a pod whose logs are asked for without one.
const NAMESPACE: &str = "default";
/// Lines of a log when the caller names no number, as the seed's agent has it.
const LINES: u32 = 100;
/// Phases of pods that are counted.
const PHASES: [&str; 4] = ["Running", "Pending", "Failed", "Succeeded"];
/// Most lines.
const LINES_MAX: i64 = 10_000;

/// What an agent sees.
#[utoipa::path(
    get, path = "/api/v2.0/agent/{agent}/{what}", tag = "seed 001 onboarding", operation_id = "seedAgentView",
    params(
        ("agent" = String, Path, description = "Id of the agent"),
        ("what" = String, Path, description = "`pods`, `deployments`, `services`, `nodes`, `cluster-resources` or `pod-logs`"),
        ("namespace" = Option<String>, Query, description = "One namespace; all when left out, of logs `default`"),
        ("pod_name" = Option<String>, Query, description = "Of logs: the pod"),
        ("container" = Option<String>, Query, description = "Of logs: its container"),
        ("lines" = Option<i64>, Query, description = "Of logs: how many lines from the end; 100"),
    ),
    responses(
        (status = 200, body = serde_json::Value, example = json!({
            "namespace": "shop", "pods": [{"name": "web-1", "namespace": "shop", "status": "Running", "node": "n1",
                "restarts": 0, "age": "2d", "containers": [{"name": "main", "image": "nginx:1", "ready": true, "restart_count": 0}]}],
            "count": 1
        })),
        (status = 403, description = "The cluster's own rules forbid it"),
        (status = 404, description = "No such agent, or not the caller's"),
        (status = 502, description = "The agent answered with an error"),
        (status = 503, description = "The agent is not connected"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn view(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<(String, String)>,
    query: QueryPairs,
    context: RequestContext,
) -> ApiResult {
    let (agent, what) = path.into_inner();
    let target = AgentTarget::Agent(reference(&agent, NO_AGENT)?.to_owned());
    let agent = app.agent(&caller, target.clone(), &context).await.map_err(named(NO_AGENT))?;
    let away = || Error::new(Code::AgentOffline, NO_AGENT).retry_after(5);
    let cluster = agent.cluster_id.filter(|_| agent.connected).ok_or_else(away)?;
    let wanted = read(&what, &query)?;
    let told = if agent.commands_only {
        app.ask_seed_agent(&caller, target, wanted, &context).await
    } else {
        let api = asker(&app, &request, cluster, &context)?;
        seen(&api, wanted, app.clock.now()).await.map_err(Failure::into_error)
    };
    Ok(HttpResponse::Ok().json(told.map_err(failed)?))
}

/// What is asked, in the words of the seed's agents.
fn read(what: &str, query: &QueryPairs) -> Result<SeedView> {
    let place = query.one("namespace")?.unwrap_or_default().to_owned();
    if !place.is_empty() {
        namespace(&place, "query")?;
    }
    Ok(match what {
        "pods" => SeedView::GetPods { namespace: place },
        "deployments" => SeedView::GetDeployments { namespace: place },
        "services" => SeedView::GetServices { namespace: place },
        "nodes" => SeedView::GetNodes {},
        "cluster-resources" => SeedView::GetClusterResources {},
        "pod-logs" => logs(query, place)?,
        _ => return Err(Error::not_found("there is no such view of an agent")),
    })
}

/// The same through the Kubernetes door.
async fn seen(api: &dyn Api, wanted: SeedView, now: DateTime<Utc>) -> Told<Value> {
    match wanted {
        SeedView::GetPods { namespace } => listed(api, "pods", "/api/v1", &namespace, now).await,
        SeedView::GetDeployments { namespace } => listed(api, "deployments", "/apis/apps/v1", &namespace, now).await,
        SeedView::GetServices { namespace } => listed(api, "services", "/api/v1", &namespace, now).await,
        SeedView::GetNodes {} => nodes(api, now).await,
        SeedView::GetClusterResources {} => summary(api).await,
        SeedView::GetPodLogs { namespace, pod_name, container_name, tail_lines } => {
            let container = Some(container_name).filter(|name| !name.is_empty());
            pod_logs(api, namespace, pod_name, container, tail_lines, now).await
        }
    }
}

/// The seed's sentence before what went wrong with the agent.
fn failed(error: Error) -> Error {
    match error.code {
        Code::AgentError | Code::AgentBusy | Code::Timeout | Code::Expired => {
            Error { detail: format!("Failed to communicate with agent: {}", error.detail).into(), ..error }
        }
        Code::AgentOffline => Error { detail: NO_AGENT.into(), ..error },
        _ => error,
    }
}

/// Everything of a kind in a namespace, or in all of them.
async fn listed(api: &dyn Api, kind: &str, base: &str, place: &str, now: DateTime<Utc>) -> Told<Value> {
    let inside = if place.is_empty() { String::new() } else { format!("/namespaces/{place}") };
    let mut shown: Vec<Value> = Vec::new();
    let show = |item: Value| shown.push(workload(kind, &item, now));
    each(api, &format!("{base}{inside}/{kind}"), "", AS_JSON, show).await?;
    let place = if place.is_empty() { "all" } else { place };
    Ok(json!({ "namespace": place, "count": shown.len(), kind: shown }))
}

async fn nodes(api: &dyn Api, now: DateTime<Utc>) -> Told<Value> {
    let mut shown: Vec<Value> = Vec::new();
    each(api, "/api/v1/nodes", "", AS_JSON, |item| shown.push(node(&item, now))).await?;
    Ok(json!({ "count": shown.len(), "nodes": shown }))
}

fn node(item: &Value, now: DateTime<Utc>) -> Value {
    let (metadata, status) = (&item["metadata"], &item["status"]);
    let labels = metadata["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> = labels.filter_map(|(name, _)| name.strip_prefix("node-role.kubernetes.io/")).collect();
    json!({
        "name": metadata["name"],
        "status": if is_ready(item) { "Ready" } else { "NotReady" },
        "roles": roles,
        "age": time_of(metadata["creationTimestamp"].as_str(), now),
        "version": status["nodeInfo"]["kubeletVersion"],
        "os": status["nodeInfo"]["osImage"],
        "cpu": status["capacity"]["cpu"],
        "memory": status["capacity"]["memory"],
    })
}

fn is_ready(node: &Value) -> bool {
    let ready = list(&node["status"]["conditions"]).iter().find(|condition| condition["type"] == "Ready");
    ready.is_some_and(|condition| condition["status"] == "True")
}

/// How much of everything there is.
async fn summary(api: &dyn Api) -> Told<Value> {
    let (mut nodes, mut ready, mut pods) = (0_u64, 0_u64, 0_u64);
    each(api, "/api/v1/nodes", "", AS_JSON, |node| {
        nodes += 1;
        ready += u64::from(is_ready(&node));
    })
    .await?;
    let mut phases = std::collections::BTreeMap::from(PHASES.map(|phase| (phase, 0_u64)));
    each(api, "/api/v1/pods", "", AS_JSON, |pod| {
        pods += 1;
        if let Some(count) = pod["status"]["phase"].as_str().and_then(|phase| phases.get_mut(phase)) {
            *count += 1;
        }
    })
    .await?;
    let in_phase = |phase: &str| phases.get(phase);
    Ok(json!({
        "cluster_summary": {
            "nodes": nodes,
            "namespaces": count(api, "/api/v1/namespaces").await?,
            "pods": pods,
            "deployments": count(api, "/apis/apps/v1/deployments").await?,
            "services": count(api, "/api/v1/services").await?,
        },
        "nodes_status": { "ready": ready, "not_ready": nodes - ready },
        "pods_status": {
            "running": in_phase("Running"), "pending": in_phase("Pending"),
            "failed": in_phase("Failed"), "succeeded": in_phase("Succeeded"),
        },
    }))
}

/// How many there are: of the first, and the cluster says how many are left.
async fn count(api: &dyn Api, path: &str) -> Told<u64> {
    let page = ask(api, Ask::get(format!("{path}?limit=1"))).await?;
    let left = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    Ok(list(&page["items"]).len() as u64 + left)
}

/// Which lines of which log.
fn logs(query: &QueryPairs, place: String) -> Result<SeedView> {
    let name = |field: &'static str, text: &str| {
        if is_name(text) {
            return Ok(text.to_owned());
        }
        Err(Error::field(&["query", field], "value_error", format!("{field} is no name of Kubernetes")))
    };
    let container = query.one("container")?.filter(|text| !text.is_empty());
    let lines = query.integer("lines")?.unwrap_or(i64::from(LINES));
    let out = || Error::field(&["query", "lines"], "value_error", format!("lines must be from 1 to {LINES_MAX}"));
    Ok(SeedView::GetPodLogs {
        namespace: if place.is_empty() { NAMESPACE.to_owned() } else { place },
        pod_name: name("pod_name", query.required("pod_name")?)?,
        container_name: container.map(|text| name("container", text)).transpose()?.unwrap_or_default(),
        tail_lines: u32::try_from(lines).ok().filter(|_| (1..=LINES_MAX).contains(&lines)).ok_or_else(out)?,
    })
}

async fn pod_logs(
    api: &dyn Api,
    namespace: String,
    pod: String,
    container: Option<String>,
    lines: u32,
    now: DateTime<Utc>,
) -> Told<Value> {
    let mut shown = json!({
        "namespace": namespace, "pod_name": pod, "container_name": container, "tail_lines": lines,
    });
    let tail = Some(lines);
    let logs = Logs { pod, namespace, container, tail, since: None, previous: false, timestamps: false };
    let printed = run(api, &Command::Logs(logs), now).await?;
    shown["logs"] = printed.out.into();
    if printed.is_cut {
        shown["truncated"] = true.into();
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubectl::Answered;

    #[test]
    fn nodes_say_whether_they_are_ready() {
        let now = "2024-01-03T00:00:00Z".parse().unwrap();
        let item = json!({
            "metadata": {"name": "n1", "creationTimestamp": "2024-01-01T00:00:00Z",
                "labels": {"node-role.kubernetes.io/control-plane": "", "a": "b"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.3"}},
        });
        let shown = node(&item, now);
        assert_eq!((shown["status"].as_str(), shown["age"].as_str()), (Some("Ready"), Some("2d")));
        assert_eq!((&shown["roles"], &shown["version"]), (&json!(["control-plane"]), &json!("v1.36.3")));
        assert_eq!(node(&Value::Null, now)["status"], "NotReady");
    }

    /// Lists of two pages.
    struct Paged;

    #[async_trait::async_trait]
    impl Api for Paged {
        async fn ask(&self, ask: Ask) -> Result<Answered> {
            let (path, query) = ask.path.split_once('?').unwrap();
            let more = if query.contains("continue=next") { "" } else { "next" };
            let items = match path {
                "/api/v1/nodes" => json!([{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, {}]),
                "/api/v1/pods" => json!([{"status": {"phase": "Running"}}, {"status": {"phase": "Odd"}}]),
                _ => json!([{}]),
            };
            let page = json!({"metadata": {"continue": more, "remainingItemCount": 4}, "items": items});
            Ok(Answered { status: 200, body: page.to_string().into() })
        }
    }

    #[tokio::test]
    async fn what_there_is_is_counted_over_all_pages() {
        let told = summary(&Paged).await.unwrap();
        let expected = json!({"nodes": 4, "namespaces": 5, "pods": 4, "deployments": 5, "services": 5});
        assert_eq!(told["cluster_summary"], expected);
        assert_eq!(told["nodes_status"], json!({"ready": 2, "not_ready": 2}));
        assert_eq!(told["pods_status"], json!({"running": 2, "pending": 0, "failed": 0, "succeeded": 0}));
        let pods = listed(&Paged, "pods", "/api/v1", "", "2024-01-03T00:00:00Z".parse().unwrap()).await.unwrap();
        assert_eq!((pods["count"].as_u64(), pods["pods"][2]["status"].as_str()), (Some(4), Some("Running")));
    }

    #[test]
    fn logs_are_of_a_pod_and_have_an_end() {
        let read = |text: &str| read("pod-logs", &QueryPairs::parse(text).unwrap());
        let asked = |namespace: &str, container: &str, lines| SeedView::GetPodLogs {
            namespace: namespace.to_owned(),
            pod_name: "web-1".to_owned(),
            container_name: container.to_owned(),
            tail_lines: lines,
        };
        assert_eq!(read("pod_name=web-1").unwrap(), asked("default", "", LINES));
        assert_eq!(read("pod_name=web-1&lines=5&container=main&namespace=shop").unwrap(), asked("shop", "main", 5));
        for bad in [
            "",
            "pod_name=",
            "pod_name=..%2Fx",
            "pod_name=a&container=b%3Fc",
            "pod_name=a&lines=0",
            "pod_name=a&lines=99999",
        ] {
            assert_eq!(read(bad).unwrap_err().code, Code::Validation, "{bad}");
        }
    }
}
