//! What goes through the Kubernetes door, in the trail's words: changes, shells, and reads of secrets. Other reads are lines of
//! the log.

use roadstead_contracts::audit::{Actor, AuditRecord, Ended, Origin, Outcome, Resource};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::{Error, Result};

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
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
    "tokenreviews",
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
    /// Reads method and path; nothing for plain reads.
    pub(crate) fn of(method: &str, tail: &str) -> Option<Self> {
        let path = tail.split('?').next().unwrap_or_default();
        let target = Target::of(path);
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
        let action = match (&target, reads) {
            (Some(target), _) if target.shell().is_some() => target.shell()?,
            (Some(target), true) if target.kind == "secrets" && target.group.is_none() => "kubernetes.read_secret",
            (_, true) => return None,
            (Some(target), false) if QUESTIONS.contains(&target.kind) => return None,
            (target, false) => match (method, target.as_ref().and_then(|target| target.name)) {
                ("POST", _) => "kubernetes.create",
                ("PUT", _) => "kubernetes.update",
                ("PATCH", _) => "kubernetes.patch",
                ("DELETE", Some(_)) => "kubernetes.delete",
                ("DELETE", None) => "kubernetes.delete_collection",
                _ => "kubernetes.other",
            },
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(match target {
            None => {
                Self { action, kind: "other".to_owned(), name: Some(path.to_owned()), namespace: None, group: None }
            }
            Some(target) => Self {
                action,
                kind: target
                    .subresource
                    .map_or_else(|| target.kind.to_owned(), |subresource| format!("{}/{subresource}", target.kind)),
                name: owned(target.name),
                namespace: owned(target.namespace),
                group: owned(target.group),
            },
        })
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

/// A path of the Kubernetes API.
struct Target<'a> {
    group: Option<&'a str>,
    kind: &'a str,
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, head) = match *parts.first()? {
            "api" => (None, 2),
            "apis" => (parts.get(1).copied(), 3),
            _ => return None,
        };
        if parts.len() <= head {
            return None;
        }
        parts.drain(..head);
        // The old spelling of a watch.
        if parts.first() == Some(&"watch") {
            parts.remove(0);
        }
        // `namespaces/a` is the namespace itself, `namespaces/a/pods` is in it.
        let inside = parts.first() == Some(&"namespaces")
            && parts.len() > 2
            && !matches!(parts.get(2), Some(&("status" | "finalize")));
        let namespace = if inside { parts.get(1).copied() } else { None };
        if inside {
            parts.drain(..2);
        }
        Some(Self {
            group,
            kind: parts.first()?,
            name: parts.get(1).copied(),
            namespace,
            subresource: parts.get(2).copied(),
        })
    }

    fn shell(&self) -> Option<&'static str> {
        let subresource = self.subresource?;
        SHELLS.iter().find(|(name, _)| *name == subresource).map(|(_, action)| *action)
    }
}

impl Audit {
    /// Records that somebody was not let through; answers what they are told.
    pub(crate) async fn refused(
        &self,
        deed: Option<Deed>,
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

    /// Records what is about to be done, and as whom where that is somebody else; on disk when this answers.
    pub(crate) async fn announced(
        &self,
        deed: &Deed,
        origin: Origin,
        actor: Actor,
        acts_as: Option<&str>,
        cluster: ClusterId,
    ) -> Result<AuditRecord> {
        let (id, now, resource) = (self.ids.next(), self.clock.now(), deed.resource(Some(cluster)));
        let mut intent = AuditRecord::intent(id, now, origin, actor, deed.action, resource);
        if let Some(group) = &deed.group {
            intent.add("group", group);
        }
        if let Some(somebody) = acts_as {
            intent.add("acts_as", somebody);
        }
        self.write(&intent).await?;
        Ok(intent)
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
