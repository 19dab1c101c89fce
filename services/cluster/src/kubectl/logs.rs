//! `kubectl logs`, as far as it has an end.

use super::command::Logs;
use super::{Api, Ask, Failure, OUTPUT_MAX, Printed, Told, refusal};

pub(super) async fn logs(api: &dyn Api, logs: &Logs) -> Told<Printed> {
    let Logs { pod, namespace, container, tail, since, previous, timestamps } = logs;
    let mut path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?limitBytes={OUTPUT_MAX}&previous={previous}&timestamps={timestamps}"
    );
    if let Some(container) = container {
        path = format!("{path}&container={container}");
    }
    if let Some(tail) = tail {
        path = format!("{path}&tailLines={tail}");
    }
    if let Some(since) = since {
        path = format!("{path}&sinceSeconds={since}");
    }
    let answer = api.ask(Ask { accept: "*/*", ..Ask::get(path) }).await?;
    if answer.status >= 400 {
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        return Err(Failure::Cluster(answer.status, refusal(answer.status, &body)));
    }
    Ok(Printed::out(String::from_utf8_lossy(&answer.body).into_owned()))
}
