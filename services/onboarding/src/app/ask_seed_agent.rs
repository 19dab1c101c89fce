//! What an agent of the seeds sees. It asks its cluster as itself and tells people apart by their names only, so the hub decides
//! who may see what, as it does for requests that go through the Kubernetes door.

use roadstead_bus::{CallContext, Incoming, replica_queue};
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{AgentTarget, AskSeedAgent, SeedView};
use roadstead_contracts::{Code, Error, Result};
use serde_json::Value;
use tokio::time::Instant;

use super::ask_agent::agent_error;
use super::get_namespaces::context_of;
use super::target::agent_of;
use super::{App, Asker, Question, require_at};
use crate::domain::{AgentKind, AgentRecord};

/// From the shared queue: answered here, or by the replica that holds the agent.
pub(crate) async fn ask_seed_agent(app: &App, request: AskSeedAgent, incoming: Incoming) -> Result<Value> {
    let record = seed_agent(app, &request).await?;
    let context = context_of(incoming);
    if app.sessions.get(record.id).is_some() {
        return ask_here(app, &record, request, &context).await;
    }
    match record.replica {
        Some(replica) if replica != app.replica => {
            let queue = replica_queue(crate::NAME, replica);
            let forwarded = AskSeedAgent { target: AgentTarget::Agent(record.agent.agent_id.clone()), ..request };
            app.bus.call_queue(&queue, &forwarded, &context).await
        }
        _ => Err(Code::AgentOffline.into()),
    }
}

/// From this replica's own queue: answered here or not at all, so that nothing is forwarded twice.
pub(crate) async fn ask_seed_agent_here(app: &App, request: AskSeedAgent, incoming: Incoming) -> Result<Value> {
    let record = seed_agent(app, &request).await?;
    ask_here(app, &record, request, &context_of(incoming)).await
}

/// The agent, if the caller may ask it this.
async fn seed_agent(app: &App, request: &AskSeedAgent) -> Result<AgentRecord> {
    let AskSeedAgent { principal, target, view } = request;
    let record = agent_of(app, principal, target).await?;
    let cluster = record.agent.cluster.as_ref().ok_or_else(|| Error::not_found("the agent has no cluster yet"))?;
    for asked in view.requests() {
        roadstead_policy::judge(principal, cluster, &asked, app.clock.now()).verdict.check(principal)?;
    }
    if view.is_cluster_wide() {
        // Kubernetes shows a viewer no nodes, and nobody but the hub stands between this agent and the caller.
        require_at(app, principal, Action::ClustersManage, cluster)?;
    }
    if record.kind == AgentKind::Seed {
        return Ok(record);
    }
    Err(Error::new(Code::BadRequest, "this agent is asked through the Kubernetes door"))
}

async fn ask_here(app: &App, record: &AgentRecord, request: AskSeedAgent, context: &CallContext) -> Result<Value> {
    let held = app.sessions.get(record.id).ok_or(Code::AgentOffline)?;
    let AskSeedAgent { principal, view, .. } = request;
    let question = Question {
        verb: view.command(),
        body: &view,
        assertion: None,
        asker: Asker { id: principal.user_seq, username: principal.username, email: principal.email },
        request_id: &context.request_id,
        traceparent: context.traceparent.clone(),
        deadline: Instant::now() + context.deadline.min(app.settings.agents.request_timeout),
    };
    app.ask_agent(&held, question, |result| read(&view, result)).await
}

/// JSON text, or the object itself. What is asked for must be in it: an agent that does not know the command says so in a
/// sentence.
fn read(view: &SeedView, result: &Value) -> Result<Value> {
    let unreadable = || Error::new(Code::AgentError, "the agent's answer cannot be read");
    let answer: Value = match result {
        Value::String(text) => serde_json::from_str(text).map_err(|_| agent_error(text))?,
        other => other.clone(),
    };
    if answer["error"] == true {
        return Err(agent_error(answer["message"].as_str().unwrap_or("the agent failed")));
    }
    let field = match view {
        SeedView::GetPods { .. } => "pods",
        SeedView::GetDeployments { .. } => "deployments",
        SeedView::GetServices { .. } => "services",
        SeedView::GetNodes {} => "nodes",
        SeedView::GetClusterResources {} => "cluster_summary",
        SeedView::GetPodLogs { .. } => "logs",
    };
    if answer.get(field).is_some() { Ok(answer) } else { Err(unreadable()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_looked_at() {
        let view = SeedView::GetPods { namespace: String::new() };
        let good = json!({"namespace": "", "pods": [], "count": 0});
        assert_eq!(read(&view, &json!(good.to_string())).unwrap(), good);
        assert_eq!(read(&view, &good).unwrap(), good);
        for (bad, detail) in [
            (json!("Unknown command."), "Unknown command."),
            (json!({"error": true, "message": "no rights"}), "no rights"),
            (json!({"nodes": []}), "the agent's answer cannot be read"),
            (json!("[]"), "the agent's answer cannot be read"),
            (Value::Null, "the agent's answer cannot be read"),
        ] {
            let fault = read(&view, &bad).unwrap_err();
            assert_eq!((fault.code, fault.detail.as_ref()), (Code::AgentError, detail), "{bad}");
        }
    }
}
