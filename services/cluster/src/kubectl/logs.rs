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
    let length = answer.body.len();
    let mut out = String::from_utf8_lossy(&answer.body).into_owned();
    // The cluster ends a log at the limit without a word, in the middle of a letter too; one that is that long by chance is said
    // to be cut as well. What is no text grows as it is read.
    let is_cut = length == OUTPUT_MAX || (length < OUTPUT_MAX && out.len() > OUTPUT_MAX);
    if is_cut {
        out.truncate(out.floor_char_boundary(OUTPUT_MAX));
    }
    Ok(Printed { is_cut, ..Printed::out(out) })
}
