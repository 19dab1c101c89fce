//! Namespaces of a cluster, all the way to its agent and back.

use roadstead_bus::{CallContext, Incoming, replica_queue};
use roadstead_contracts::agent::{GET_NAMESPACES, GetNamespacesRequest, NamespaceInfo, NamespaceList};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::message::{AgentTarget, GetNamespaces, Namespaces};
use roadstead_contracts::seed::kubesage::{AgentNamespace, AgentNamespaces};
use roadstead_contracts::{Code, Error, Result};
use serde_json::Value;
use tokio::time::Instant;

use super::ask_agent::agent_error;
use super::target::agent_of;
use super::{App, Asker, Question, require_entry};
use crate::domain::{AgentKind, AgentRecord};

/// From the shared queue: answered here, or by the replica that holds the agent.
pub(crate) async fn get_namespaces(app: &App, request: GetNamespaces, incoming: Incoming) -> Result<Namespaces> {
    let record = agent_of(app, &request.principal, &request.target).await?;
    ask_namespaces(app, &record, request.principal, request.assertion, &context_of(incoming)).await
}

/// From this replica's own queue: answered here or not at all, so that nothing is forwarded twice.
pub(crate) async fn get_namespaces_here(app: &App, request: GetNamespaces, incoming: Incoming) -> Result<Namespaces> {
    let record = agent_of(app, &request.principal, &request.target).await?;
    ask_here(app, &record, &request.principal, request.assertion, &context_of(incoming)).await
}

pub(super) fn context_of(incoming: Incoming) -> CallContext {
    CallContext {
        deadline: incoming.deadline.saturating_duration_since(Instant::now()),
        request_id: incoming.request_id,
        traceparent: incoming.traceparent,
    }
}

/// Asks the agent, wherever it is.
pub(crate) async fn ask_namespaces(
    app: &App,
    record: &AgentRecord,
    principal: Principal,
    assertion: Option<String>,
    context: &CallContext,
) -> Result<Namespaces> {
    let facts = record.agent.cluster.as_ref();
    if let Some(cluster) = facts {
        require_entry(app, &principal, cluster)?;
    }
    if app.sessions.get(record.id).is_some() {
        return ask_here(app, record, &principal, assertion, context).await;
    }
    match record.replica {
        Some(replica) if replica != app.replica => {
            let queue = replica_queue(crate::NAME, replica);
            let target = AgentTarget::Agent(record.agent.agent_id.clone());
            let forwarded = GetNamespaces { principal, assertion, target };
            app.bus.call_queue(&queue, &forwarded, context).await
        }
        _ => Err(Code::AgentOffline.into()),
    }
}

async fn ask_here(
    app: &App,
    record: &AgentRecord,
    principal: &Principal,
    assertion: Option<String>,
    context: &CallContext,
) -> Result<Namespaces> {
    let held = app.sessions.get(record.id).ok_or(Code::AgentOffline)?;
    let (Some(cluster_id), Some(cluster_seq)) = (record.agent.cluster_id, record.agent.cluster_seq) else {
        return Err(Error::new(Code::NotFound, "the agent has no cluster yet"));
    };
    if assertion.is_none() && record.kind != AgentKind::Seed {
        return Err(Code::IdentityRefused.into());
    }
    let question = Question {
        verb: GET_NAMESPACES,
        body: &GetNamespacesRequest {},
        assertion,
        asker: Asker { id: principal.user_seq, username: principal.username.clone(), email: principal.email.clone() },
        request_id: &context.request_id,
        traceparent: context.traceparent.clone(),
        deadline: Instant::now() + context.deadline.min(app.settings.agents.request_timeout),
    };
    let mut list: NamespaceList = app.ask_agent(&held, question, from_seed).await?;
    if let Some(cluster) = &record.agent.cluster {
        // Asked once more, after the answer: what ended meanwhile shows nothing.
        let shown = roadstead_policy::namespaces(principal, cluster, app.clock.now());
        let shown = shown.map_err(|verdict| verdict.refusal(principal))?;
        list.namespaces.retain(|namespace| shown.has(&namespace.name));
    }
    Ok(Namespaces { agent_id: record.id, cluster_id, cluster_seq, list })
}

/// Reads what an agent of the seeds says: JSON text, or the object itself; bare names are accepted.
fn from_seed(result: &Value) -> Result<NamespaceList> {
    let unreadable = || Error::new(Code::AgentError, "the agent's answer cannot be read");
    let answer: AgentNamespaces = match result {
        Value::String(text) => serde_json::from_str(text).map_err(|_| agent_error(text))?,
        other => serde_json::from_value(other.clone()).map_err(|_| unreadable())?,
    };
    if answer.error == Some(true) {
        return Err(agent_error(answer.message.as_deref().unwrap_or("the agent failed")));
    }
    let namespaces = answer.namespaces.into_iter().map(|namespace| match namespace {
        AgentNamespace::Full { name, status, created_at, labels, annotations } => NamespaceInfo {
            name,
            status: status.unwrap_or_else(|| "Active".to_owned()),
            created_at,
            labels: labels.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
        },
        AgentNamespace::Name(name) => NamespaceInfo {
            name,
            status: "Active".to_owned(),
            created_at: None,
            labels: std::collections::BTreeMap::default(),
            annotations: std::collections::BTreeMap::default(),
        },
    });
    Ok(NamespaceList { namespaces: namespaces.collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_the_seeds_is_read() {
        let text = r#"{"namespaces":[{"name":"default","status":"Active","createdAt":"2024-01-02T03:04:05Z"},"kube-system"],"total_count":2}"#;
        let list = from_seed(&Value::from(text)).unwrap();
        assert_eq!(list.namespaces[0].created_at.as_deref(), Some("2024-01-02T03:04:05Z"));
        assert_eq!((list.namespaces[1].name.as_str(), list.namespaces[1].status.as_str()), ("kube-system", "Active"));
        assert_eq!(from_seed(&json!({"namespaces": [], "total_count": 0})).unwrap().namespaces.len(), 0);
    }

    #[test]
    fn an_error_of_the_seeds_is_an_error() {
        let fault = from_seed(&json!({"error": true, "message": "no access", "namespaces": [], "total_count": 0}));
        assert_eq!(fault.unwrap_err().detail, "no access");
        assert_eq!(from_seed(&Value::from("Unknown command.")).unwrap_err().detail, "Unknown command.");
        assert_eq!(from_seed(&Value::Null).unwrap_err().code, Code::AgentError);
    }
}
