//! kubectl's command lines over the API (K1, K2): read to a few verbs, carried out as the caller through the Kubernetes door.
//! From the moment there is a command, the answer is 200 and `success` says what came of it, as the seed has it.

use std::time::Duration;

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use roadstead_contracts::seed::kubeconfig::{ClusterDeed, ExecutedCommand};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Caller, Json, RequestContext};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{asker, cluster, no_number, place, time};
use crate::http::State;
use crate::kubectl::{Api, Command, Failure, Printed, run};

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
#[derive(Debug, Default)]
struct Outcome {
    output: String,
    /// Whether the cluster was told to end it here.
    truncated: bool,
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
            let api = asker(&app, &request, seed.cluster.id, &context)?;
            carried_out(&api, &command, app.clock.now()).await?
        }
        Err(failure) => Outcome::of(Err(failure))?,
    };
    let success = outcome.return_code == 0;
    let deed = ClusterDeed::KubectlCommandExecuted { command: told, success, return_code: outcome.return_code };
    app.tell_peers(&caller, &seed.cluster, deed).await;
    let cluster_info = place(&seed);
    Ok(HttpResponse::Ok().json(ExecutedCommand {
        success,
        output: outcome.output,
        truncated: outcome.truncated,
        error: outcome.error,
        command: format!("{shown} --server={} --token=***", cluster_info.server_url),
        return_code: outcome.return_code,
        cluster_info,
        executed_at: time(app.clock.now()),
        execution_method: "direct".to_owned(),
    }))
}

/// Carries a command out, within its time.
async fn carried_out(api: &dyn Api, command: &Command, now: DateTime<Utc>) -> Result<Outcome, Error> {
    let Ok(done) = tokio::time::timeout(COMMAND_TIME, run(api, command, now)).await else {
        let late = format!("Command timed out after {} seconds", COMMAND_TIME.as_secs());
        return Ok(Outcome { error: Some(late), return_code: -1, ..Outcome::default() });
    };
    let truncated = done.as_ref().is_ok_and(|printed| printed.is_cut);
    Ok(Outcome { truncated, ..Outcome::of(done)? })
}

impl Outcome {
    /// In the seed's words. What is the hub's own refusal, and not the cluster's, is an error of the route.
    fn of(done: Result<Printed, Failure>) -> Result<Self, Error> {
        let failed = |text: String| Self { error: Some(text), return_code: 1, ..Self::default() };
        Ok(match done {
            Ok(Printed { out, err, .. }) => {
                // No lines at all: what was said beside them is the output.
                let output = if out.is_empty() { err } else { out };
                let output = output.trim_end_matches('\n').to_owned();
                let quiet = "Command executed successfully (no output)";
                let output = if output.is_empty() { quiet.to_owned() } else { output };
                Self { output, ..Self::default() }
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::kubectl::{Answered, Ask, OUTPUT_MAX};

    /// A cluster that answers with so many bytes, or never.
    struct Endless {
        length: Option<usize>,
        letter: &'static str,
        /// Whether nobody waits any more.
        left: AtomicBool,
    }

    impl Endless {
        fn of(length: Option<usize>) -> Self {
            Self { length, letter: "x", left: AtomicBool::new(false) }
        }

        async fn run(&self, line: &str) -> Outcome {
            let (command, _) = Command::read(line).unwrap();
            carried_out(self, &command, "2024-01-15T10:40:00Z".parse().unwrap()).await.unwrap()
        }
    }

    struct Leaves<'a>(&'a AtomicBool);

    impl Drop for Leaves<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl Api for Endless {
        async fn ask(&self, ask: Ask) -> Result<Answered, Error> {
            let _leaves = Leaves(&self.left);
            let Some(length) = self.length else { return std::future::pending().await };
            assert!(ask.path.contains(&format!("limitBytes={OUTPUT_MAX}&")), "{ask:?}");
            let text = self.letter.repeat(length.div_ceil(self.letter.len()));
            Ok(Answered { status: 200, body: text.into_bytes()[..length].to_vec().into() })
        }
    }

    #[tokio::test]
    async fn regression_k07_a_log_that_is_cut_says_so() {
        for (length, truncated) in [(0, false), (OUTPUT_MAX - 1, false), (OUTPUT_MAX, true)] {
            let outcome = Endless::of(Some(length)).run("kubectl logs web").await;
            assert_eq!((outcome.truncated, outcome.return_code), (truncated, 0), "{length}");
            assert_eq!(outcome.output.len(), if length == 0 { 41 } else { length });
        }
        // Three bytes a letter: the last one is cut in two.
        let mut cluster = Endless::of(Some(OUTPUT_MAX));
        cluster.letter = "€";
        let outcome = cluster.run("kubectl logs web").await;
        assert_eq!((outcome.truncated, outcome.return_code, outcome.error), (true, 0, None));
        assert_eq!(outcome.output.chars().filter(|letter| *letter == '€').count(), OUTPUT_MAX / 3);
        // What ignores the limit is not shown at all.
        let outcome = Endless::of(Some(OUTPUT_MAX + 1)).run("kubectl logs web").await;
        assert!(outcome.output.is_empty() && outcome.error.unwrap().contains("larger than 4 MiB"));
    }

    #[tokio::test(start_paused = true)]
    async fn k07_a_command_ends_after_its_time_and_nothing_of_it_goes_on() {
        let (cluster, began) = (Endless::of(None), tokio::time::Instant::now());
        let outcome = cluster.run("kubectl get pods").await;
        assert_eq!(outcome.return_code, -1);
        assert_eq!(outcome.error.as_deref(), Some("Command timed out after 300 seconds"));
        assert_eq!(began.elapsed().as_secs(), COMMAND_TIME.as_secs());
        assert!(cluster.left.load(Ordering::SeqCst));
    }

    fn of(done: Result<Printed, Failure>) -> (String, Option<String>, i32) {
        let Outcome { output, error, return_code, .. } = Outcome::of(done).unwrap();
        (output, error, return_code)
    }

    #[test]
    fn outcomes_are_the_seeds() {
        let printed = |out: &str, err: &str| Ok(Printed { err: err.to_owned(), ..Printed::out(out) });
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
