//! What goes through the Kubernetes door, in the trail's words: changes, shells, and reads of secrets. Other reads are lines of
//! the log.

use std::time::Duration;

use roadstead_contracts::audit::{Actor, AuditRecord, Ended, Origin, Outcome, Resource, Text};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::{Code, Error};
use roadstead_policy::kubernetes::{self, Parts};

use super::Audit;

/// Subresources that open a way into a pod or behind it.
const SHELLS: [(&str, &str); 4] = [
    ("exec", "kubernetes.exec"),
    ("attach", "kubernetes.attach"),
    ("portforward", "kubernetes.port_forward"),
    ("proxy", "kubernetes.proxy"),
];
/// Kinds that are asked by creating them, and change nothing.
const QUESTIONS: [&str; 6] = [
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
    "subjectaccessreviews.authorization.k8s.io",
    "localsubjectaccessreviews.authorization.k8s.io",
    "tokenreviews.authentication.k8s.io",
];

/// Something that must be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    action: &'static str,
    /// Kind in the plural, as in the path; with the subresource behind a slash.
    kind: String,
    name: Option<String>,
    namespace: Option<String>,
    group: Option<String>,
}

impl Deed {
    /// Reads method and path as the policy and the API server read them; nothing for plain reads.
    pub(crate) fn of(method: &str, tail: &str) -> Option<Self> {
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
        // A path that cannot be read was refused at the door; whatever gets here all the same is written down as it is.
        let Ok(Some(parts)) = kubernetes::parts(method, path, query) else {
            let action = by_method(method);
            let name = Some(path.to_owned());
            return (!reads).then(|| Self { action, kind: "other".to_owned(), name, namespace: None, group: None });
        };
        let action = match shell(&parts) {
            Some(action) => action,
            None if reads && parts.kind() == "secrets" => "kubernetes.read_secret",
            None if reads || QUESTIONS.contains(&parts.kind().as_str()) => return None,
            None if parts.verb == "deletecollection" => "kubernetes.delete_collection",
            None => by_method(method),
        };
        Some(Self::named(action, parts))
    }

    /// A page that shows the log of a pod; nothing for any other path.
    pub(crate) fn of_log(path: &str) -> Option<Self> {
        let parts = kubernetes::parts("GET", path, None).ok()??;
        let is_log = parts.kind() == "pods" && parts.subresource.as_deref() == Some("log");
        is_log.then(|| Self::named("kubernetes.logs", parts))
    }

    fn named(action: &'static str, parts: Parts) -> Self {
        let Parts { group, resource, subresource, namespace, name, .. } = parts;
        Self {
            action,
            // A namespace is not told to be in itself.
            namespace: namespace.filter(|_| resource != "namespaces"),
            kind: subresource.map_or_else(|| resource.clone(), |subresource| format!("{resource}/{subresource}")),
            name,
            group: Some(group).filter(|group| !group.is_empty()),
        }
    }

    fn resource(&self, cluster: Option<ClusterId>) -> Resource {
        let resource =
            self.name.as_deref().map_or_else(|| Resource::kind(&self.kind), |name| Resource::named(&self.kind, name));
        let resource = match &self.namespace {
            Some(namespace) => resource.in_namespace(namespace),
            None => resource,
        };
        cluster.map_or(resource.clone(), |cluster| resource.in_cluster(cluster))
    }
}

fn by_method(method: &str) -> &'static str {
    match method {
        "POST" => "kubernetes.create",
        "PUT" => "kubernetes.update",
        "PATCH" => "kubernetes.patch",
        "DELETE" => "kubernetes.delete",
        _ => "kubernetes.other",
    }
}

/// What opens a way into a pod or behind it: by its subresource, or by the old spelling of a proxy.
fn shell(parts: &Parts) -> Option<&'static str> {
    let word = if parts.verb == "proxy" { "proxy" } else { parts.subresource.as_deref()? };
    SHELLS.iter().find(|(name, _)| *name == word).map(|(_, action)| *action)
}

impl Audit {
    /// Records that somebody was not let through; answers what they are told.
    pub(crate) async fn refused(
        &self,
        deed: Option<&Deed>,
        cluster: &str,
        origin: Origin,
        actor: Option<Actor>,
        refusal: Error,
    ) -> Error {
        // Who may not, and what is not theirs to see; a full quota or an agent that is away is no attempt.
        let Some(deed) = deed.filter(|_| matches!(refusal.code.status(), 401 | 403 | 404)) else { return refusal };
        let actor = actor.unwrap_or_else(Actor::anonymous);
        let (id, now, outcome) = (self.ids.next(), self.clock.now(), Outcome::of_error(&refusal));
        let record = AuditRecord::outcome(id, now, origin, actor, deed.action, deed.resource(None), outcome);
        match self.write(&record.with("cluster", cluster)).await {
            Ok(()) => refusal,
            Err(fault) => fault,
        }
    }

    /// Records that more callers who are nobody are refused than are written down one by one, and how many were not since
    /// this was last said.
    pub(crate) async fn flooded(&self, cluster: &str, origin: Origin, unwritten: u64) {
        let (id, now, resource) = (self.ids.next(), self.clock.now(), Resource::kind("cluster"));
        let outcome = Outcome::of_error(&Code::RateLimited.into());
        let record = AuditRecord::outcome(id, now, origin, Actor::anonymous(), "kubernetes.flood", resource, outcome);
        let record = record.with("cluster", cluster).with("unwritten", &unwritten.to_string());
        if self.write(&record).await.is_err() {
            tracing::warn!("{unwritten} refusals of nobody that is known are not recorded");
        }
    }

    /// What is about to be done, and as whom where that is somebody else. Nothing may be done before it is written.
    pub(crate) fn intent(
        &self,
        deed: &Deed,
        origin: Origin,
        actor: Actor,
        acts_as: Option<&str>,
        cluster: ClusterId,
    ) -> AuditRecord {
        let (id, now, resource) = (self.ids.next(), self.clock.now(), deed.resource(Some(cluster)));
        let mut intent = AuditRecord::intent(id, now, origin, actor, deed.action, resource);
        if let Some(group) = &deed.group {
            intent.add("group", group);
        }
        if let Some(somebody) = acts_as {
            intent.add("acts_as", somebody);
        }
        intent
    }

    /// Records that the client did not wait for what came of it; `open` when the cluster may have done it. Nobody waits.
    pub(crate) fn left(&self, intent: &AuditRecord, open: bool) {
        let outcome = Outcome { result: Ended::Cancelled, code: None };
        let record = intent.ended(self.ids.next(), self.clock.now(), outcome);
        self.finish_now(&record.with("client", "left").with("done", if open { "unknown" } else { "no" }));
    }

    /// Records that a session in a container is over. Nobody waits.
    pub(crate) fn session_ended(&self, intent: &AuditRecord, took: Duration) {
        let mut record = intent.ended(self.ids.next(), self.clock.now(), Outcome::succeeded());
        record.action = Text::new("kubernetes.session_end");
        self.finish_now(&record.with("seconds", &took.as_secs().to_string()));
    }

    /// Records what came of it: the cluster's status, or our error.
    pub(crate) async fn settled(&self, intent: &AuditRecord, answer: std::result::Result<u16, &Error>) {
        let outcome = match answer {
            Ok(100..=399) => Outcome::succeeded(),
            Ok(400..=499) => Outcome { result: Ended::Refused, code: None },
            Ok(_) => Outcome { result: Ended::Failed, code: None },
            Err(error) => Outcome::of_error(error),
        };
        let mut record = intent.ended(self.ids.next(), self.clock.now(), outcome);
        if let Ok(status) = answer {
            record.add("status", &status.to_string());
        }
        self.finish(&record).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(method: &str, tail: &str) -> Option<String> {
        Deed::of(method, tail).map(|deed| {
            let Deed { action, kind, name, namespace, group } = deed;
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            format!("{action} {kind} {} {} {}", text(name), text(namespace), text(group))
        })
    }

    #[test]
    fn changes_shells_and_secrets_are_recorded() {
        for (method, tail, expected) in [
            ("POST", "/api/v1/namespaces/a/pods", "kubernetes.create pods - a -"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b?x=1", "kubernetes.patch deployments b a apps"),
            ("PUT", "/apis/apps/v1/namespaces/a/deployments/b/scale", "kubernetes.update deployments/scale b a apps"),
            ("DELETE", "/api/v1/namespaces/a", "kubernetes.delete namespaces a - -"),
            ("PUT", "/api/v1/namespaces/a/finalize", "kubernetes.update namespaces/finalize a - -"),
            ("DELETE", "/api/v1/namespaces/a/pods", "kubernetes.delete_collection pods - a -"),
            ("GET", "/api/v1/namespaces/a/pods/b/exec?command=sh", "kubernetes.exec pods/exec b a -"),
            ("POST", "/api/v1/namespaces/a/pods/b/attach", "kubernetes.attach pods/attach b a -"),
            ("GET", "/api/v1/namespaces/a/pods/b/portforward", "kubernetes.port_forward pods/portforward b a -"),
            ("GET", "/api/v1/namespaces/a/services/b/proxy/x/y", "kubernetes.proxy services/proxy b a -"),
            ("GET", "/api/v1/nodes/n/proxy/run", "kubernetes.proxy nodes/proxy n - -"),
            ("GET", "/api/v1/namespaces/a/secrets/b", "kubernetes.read_secret secrets b a -"),
            ("GET", "/api/v1/secrets", "kubernetes.read_secret secrets - - -"),
            ("GET", "/api/v1/watch/namespaces/a/secrets", "kubernetes.read_secret secrets - a -"),
            ("POST", "/odd/path", "kubernetes.create other /odd/path - -"),
            ("POST", "/api/v1/proxy/namespaces/a/services/b/x", "kubernetes.proxy services b a -"),
            ("POST", "/apis/example.org/v1/tokenreviews", "kubernetes.create tokenreviews - - example.org"),
        ] {
            assert_eq!(told(method, tail).as_deref(), Some(expected), "{method} {tail}");
        }
    }

    #[test]
    fn regression_a_pages_log_is_a_row() {
        let deed = Deed::of_log("/api/v1/namespaces/a/pods/b/log").unwrap();
        assert_eq!((deed.action, deed.kind.as_str()), ("kubernetes.logs", "pods/log"));
        assert_eq!((deed.name.as_deref(), deed.namespace.as_deref()), (Some("b"), Some("a")));
        assert_eq!(Deed::of_log("/api/v1/namespaces/a/pods/b"), None);
    }

    /// The API server undoes escapes before it looks: so must whoever writes down what was asked.
    #[test]
    fn regression_escapes_hide_nothing() {
        for (method, tail, expected) in [
            ("GET", "/api/v1/namespaces/a/secr%65ts/b", "kubernetes.read_secret secrets b a -"),
            ("GET", "/api/v1/namespaces/a/p%6Fds/b/%65xec?command=sh", "kubernetes.exec pods/exec b a -"),
            ("GET", "/api/v1/w%61tch/secrets", "kubernetes.read_secret secrets - - -"),
        ] {
            assert_eq!(told(method, tail).as_deref(), Some(expected), "{method} {tail}");
        }
    }

    #[test]
    fn plain_reads_and_questions_are_not() {
        for (method, tail) in [
            ("GET", "/api/v1/namespaces/a/pods"),
            ("GET", "/api/v1/namespaces/a/pods/b/log"),
            ("GET", "/apis/x.io/v1/namespaces/a/secrets"),
            ("GET", "/version"),
            ("GET", "/api"),
            ("HEAD", "/apis/apps/v1"),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ] {
            assert_eq!(told(method, tail), None, "{method} {tail}");
        }
    }

    proptest! {
        #[test]
        fn odd_paths_do_not_panic(method in "[A-Z]{0,8}", tail in "[/a-z?%.]{0,60}") {
            let _ = Deed::of(&method, &tail);
        }
    }
}
