//! kubectl's command lines over the API (K1, K2): read to a few verbs, carried out as the caller through the Kubernetes door.
//! From the moment there is a command, the answer is 200 and `success` says what came of it, as the seed has it.

use std::time::Duration;

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use roadstead_contracts::seed::kubeconfig::{ClusterDeed, ExecutedAt, ExecutedCommand};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Caller, Json, RequestContext};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{asker, cluster, no_number, provider, server_url, time};
use crate::http::State;
use crate::kubectl::{Command, Failure, Printed, run};

/// How long a command may take: the seed's limit.
const COMMAND_TIME: Duration = Duration::from_secs(300);
/// What of a command goes into a record or an event.
const TOLD_MAX: usize = 1024;

/// A command.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CommandBody {
    /// `kubectl get pods -n production-app`.
    #[serde(default)]
    command: Option<String>,
}

/// What came of a command.
struct Outcome {
    output: String,
    error: Option<String>,
    return_code: i32,
}

/// Carries a kubectl command out: get, describe, logs, delete, scale, rollout restart, version.
#[utoipa::path(
    post, path = "/kubeconfig/execute-kubectl-direct/{cluster}", tag = "seed 004", operation_id = "kubeconfigExecute",
    params(("cluster" = String, Path, description = "Integer, id or name")),
    request_body = CommandBody,
    responses(
        (status = 200, body = serde_json::Value, description = "`success` says whether it worked", example = json!({
            "success": true, "output": "NAME                               READY   STATUS    RESTARTS   AGE\n…",
            "error": null,
            "command": "kubectl get pods -n production-app --server=https://k8s-api.example.com:6443 --token=***",
            "return_code": 0, "cluster_info": {"cluster_id": 1, "cluster_name": "production-cluster",
                "server_url": "https://k8s-api.example.com:6443", "provider_name": "AWS EKS"},
            "executed_at": "2024-01-15T10:40:00Z", "execution_method": "direct"
        })),
        (status = 400, description = "There is no command"),
        (status = 404, description = "No such cluster, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn execute(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<String>,
    context: RequestContext,
    body: Json<CommandBody>,
) -> ApiResult {
    let line = body.0.command.unwrap_or_default();
    if line.trim().is_empty() {
        return Err(Error::new(Code::BadRequest, "Command is required").into());
    }
    let seed = cluster(&app, &caller, &path, &context, no_number).await?;
    let (read, shown) = match Command::read(&line) {
        Ok((command, shown)) => (Ok(command), shown),
        Err(failure) => (Err(failure), Command::shown(&line)),
    };
    let told = cut(&shown);
    note(&request).detail("command", told.clone());
    let outcome = match read {
        Ok(command) => {
            let api = asker(&app, &request, &seed.cluster, &context)?;
            if let Ok(done) = tokio::time::timeout(COMMAND_TIME, run(&api, &command, app.clock.now())).await {
                Outcome::of(done)?
            } else {
                let late = format!("Command timed out after {} seconds", COMMAND_TIME.as_secs());
                Outcome { output: String::new(), error: Some(late), return_code: -1 }
            }
        }
        Err(failure) => Outcome::of(Err(failure))?,
    };
    let success = outcome.return_code == 0;
    let deed = ClusterDeed::KubectlCommandExecuted { command: told, success, return_code: outcome.return_code };
    app.tell_peers(&caller, &seed.cluster, deed).await;
    let url = server_url(&seed.cluster);
    Ok(HttpResponse::Ok().json(ExecutedCommand {
        success,
        output: outcome.output,
        error: outcome.error,
        command: format!("{shown} --server={url} --token=***"),
        return_code: outcome.return_code,
        cluster_info: ExecutedAt {
            cluster_id: seed.cluster.seq,
            provider_name: provider(&seed),
            cluster_name: seed.cluster.name.into(),
            server_url: url,
        },
        executed_at: time(app.clock.now()),
        execution_method: "direct".to_owned(),
    }))
}

impl Outcome {
    /// In the seed's words. What is the hub's own refusal, and not the cluster's, is an error of the route.
    fn of(done: Result<Printed, Failure>) -> Result<Self, Error> {
        let failed = |text: String| Self { output: String::new(), error: Some(text), return_code: 1 };
        Ok(match done {
            Ok(Printed { out, err }) => {
                // No lines at all: what was said beside them is the output.
                let output = if out.is_empty() { err } else { out };
                let output = output.trim_end_matches('\n').to_owned();
                let quiet = "Command executed successfully (no output)";
                let output = if output.is_empty() { quiet.to_owned() } else { output };
                Self { output, error: None, return_code: 0 }
            }
            Err(Failure::Said(text) | Failure::Cluster(_, text)) => failed(text),
            Err(Failure::Hub(error)) => match error.code {
                Code::AgentOffline | Code::AgentBusy | Code::AgentError | Code::Timeout | Code::Expired => {
                    failed(format!("Unable to connect to the server: {}", error.detail))
                }
                Code::Forbidden | Code::IdentityRefused => {
                    failed(format!("Error from server (Forbidden): {}", error.detail))
                }
                Code::BadRequest | Code::UriTooLong => failed(format!("error: {}", error.detail)),
                _ => return Err(error),
            },
        })
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TOLD_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(done: Result<Printed, Failure>) -> (String, Option<String>, i32) {
        let Outcome { output, error, return_code } = Outcome::of(done).unwrap();
        (output, error, return_code)
    }

    #[test]
    fn outcomes_are_the_seeds() {
        let printed = |out: &str, err: &str| Ok(Printed { out: out.to_owned(), err: err.to_owned() });
        assert_eq!(of(printed("NAME\na\n", "")), ("NAME\na".to_owned(), None, 0));
        assert_eq!(of(printed("", "No resources found\n")), ("No resources found".to_owned(), None, 0));
        assert_eq!(of(printed("", "")).0, "Command executed successfully (no output)");
        let away = of(Err(Failure::Hub(Error::new(Code::AgentOffline, "the agent is not connected"))));
        assert_eq!(away.1.unwrap(), "Unable to connect to the server: the agent is not connected");
        assert_eq!(of(Err(Failure::Cluster(404, "Error from server (NotFound): x".to_owned()))).2, 1);
        for own in [Code::RateLimited, Code::AuditUnavailable, Code::InvalidCredential, Code::NotFound] {
            assert_eq!(Outcome::of(Err(Failure::Hub(own.into()))).map(|_| ()).unwrap_err().code, own);
        }
        assert_eq!(cut(&"ä".repeat(600)).len(), TOLD_MAX);
    }
}
