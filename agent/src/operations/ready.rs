//! When an object is what it should be, by its kind's own rule.

use serde_json::Value;

/// What an object says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ready {
    Yes,
    /// Not yet; what it lacks.
    No(String),
    /// Never by itself; why.
    Failed(String),
}

/// How a state of an object is judged; none = it is not there.
pub(super) type Judge = fn(Option<&Value>) -> Ready;

/// Whether it is gone.
pub(super) fn gone(object: Option<&Value>) -> Ready {
    match object {
        None => Ready::Yes,
        Some(_) => Ready::No("is still being removed".to_owned()),
    }
}

/// Whether it is ready. A kind that says nothing about itself is ready when it is there.
pub(super) fn judge(object: Option<&Value>) -> Ready {
    let Some(object) = object else { return Ready::No("is not there".to_owned()) };
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Ready::No("is being removed".to_owned());
    }
    let group = object.get("apiVersion").and_then(Value::as_str).and_then(|text| text.split_once('/'));
    let group = group.map_or("", |(group, _)| group);
    let look = Look(object);
    match (group, object.get("kind").and_then(Value::as_str).unwrap_or_default()) {
        ("apps", "Deployment") => look.deployment(),
        ("apps", "StatefulSet") => look.stateful_set(),
        ("apps", "DaemonSet") => look.daemon_set(),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => look.replica_set(),
        ("batch", "Job") => look.job(),
        ("", "Pod") => look.pod(),
        ("", "PersistentVolumeClaim") => look.phase("Bound"),
        ("", "Namespace") => look.phase("Active"),
        ("", "Service") => look.service(),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => look.definition(),
        ("apiregistration.k8s.io", "APIService") => look.condition_true("Available"),
        // Conditions of these say more than that they are there, but not that they lack something.
        ("" | "policy" | "autoscaling", _) => Ready::Yes,
        (group, _) if group.ends_with(".k8s.io") && !group.starts_with("gateway.") => Ready::Yes,
        _ => look.custom(),
    }
}

struct Look<'a>(&'a Value);

impl Look<'_> {
    fn number(&self, pointer: &str) -> i64 {
        self.0.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Replicas that are wanted; one where nothing is said.
    fn wanted(&self) -> i64 {
        self.0.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
    }

    /// Whether the controller has seen the present generation.
    fn is_observed(&self) -> bool {
        self.number("/status/observedGeneration") >= self.number("/metadata/generation")
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        let conditions = self.0.pointer("/status/conditions")?.as_array()?;
        conditions.iter().find(|condition| condition.get("type").is_some_and(|own| own == kind))
    }

    fn is(&self, kind: &str, status: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.get("status").is_some_and(|own| own == status))
    }

    /// What a condition says for people.
    fn words(&self, kind: &str) -> String {
        let text = |name: &str| {
            self.condition(kind).and_then(|condition| condition.get(name)).and_then(Value::as_str).unwrap_or_default()
        };
        let words = format!("{kind}: {} {}", text("reason"), text("message"));
        words.chars().filter(|character| !character.is_control()).take(256).collect::<String>().trim().to_owned()
    }

    fn deployment(&self) -> Ready {
        if !self.is_observed() {
            return not_seen();
        }
        if self
            .condition("Progressing")
            .is_some_and(|it| it.get("reason").is_some_and(|it| it == "ProgressDeadlineExceeded"))
        {
            return Ready::Failed(self.words("Progressing"));
        }
        let (wanted, updated) = (self.wanted(), self.number("/status/updatedReplicas"));
        if updated < wanted {
            return Ready::No(format!("{updated} of {wanted} replicas are updated"));
        }
        let old = self.number("/status/replicas") - updated;
        if old > 0 {
            return Ready::No(format!("{old} old replicas are still there"));
        }
        counted(self.number("/status/availableReplicas"), wanted, "replicas are available")
    }

    fn stateful_set(&self) -> Ready {
        if !self.is_observed() {
            return not_seen();
        }
        let wanted = self.wanted();
        if self.text("/spec/updateStrategy/type") == "OnDelete" {
            return counted(self.number("/status/readyReplicas"), wanted, "replicas are ready");
        }
        let partition = self.number("/spec/updateStrategy/rollingUpdate/partition");
        let updated = self.number("/status/updatedReplicas");
        if updated < wanted - partition {
            return Ready::No(format!("{updated} of {} replicas are updated", wanted - partition));
        }
        let (current, update) = (self.text("/status/currentRevision"), self.text("/status/updateRevision"));
        let ready = counted(self.number("/status/readyReplicas"), wanted, "replicas are ready");
        if ready == Ready::Yes && partition == 0 && wanted > 0 && current != update {
            return Ready::No("the rollout goes on".to_owned());
        }
        ready
    }

    fn daemon_set(&self) -> Ready {
        if !self.is_observed() {
            return not_seen();
        }
        let wanted = self.number("/status/desiredNumberScheduled");
        let updated = self.number("/status/updatedNumberScheduled");
        if self.text("/spec/updateStrategy/type") != "OnDelete" && updated < wanted {
            return Ready::No(format!("{updated} of {wanted} pods are updated"));
        }
        counted(self.number("/status/numberAvailable"), wanted, "pods are available")
    }

    fn replica_set(&self) -> Ready {
        if !self.is_observed() {
            return not_seen();
        }
        counted(self.number("/status/availableReplicas"), self.wanted(), "replicas are available")
    }

    fn job(&self) -> Ready {
        if self.is("Failed", "True") {
            return Ready::Failed(self.words("Failed"));
        }
        if self.is("Complete", "True") || self.0.pointer("/spec/suspend").is_some_and(|it| *it == Value::Bool(true)) {
            return Ready::Yes;
        }
        let succeeded = self.number("/status/succeeded");
        Ready::No(format!("{succeeded} pods have succeeded"))
    }

    fn pod(&self) -> Ready {
        match self.text("/status/phase") {
            "Succeeded" => Ready::Yes,
            "Failed" => Ready::Failed(format!("the pod failed: {}", self.text("/status/reason"))),
            _ if self.is("Ready", "True") => Ready::Yes,
            phase => Ready::No(format!("the pod is {}", if phase.is_empty() { "not scheduled" } else { phase })),
        }
    }

    fn phase(&self, wanted: &str) -> Ready {
        match self.text("/status/phase") {
            phase if phase == wanted => Ready::Yes,
            "Lost" => Ready::Failed("its volume is lost".to_owned()),
            phase => Ready::No(format!("it is {}", if phase.is_empty() { "new" } else { phase })),
        }
    }

    fn service(&self) -> Ready {
        let has_address = self.0.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
        if self.text("/spec/type") != "LoadBalancer" || has_address.is_some_and(|addresses| !addresses.is_empty()) {
            return Ready::Yes;
        }
        Ready::No("it has no address yet".to_owned())
    }

    fn definition(&self) -> Ready {
        if self.is("NamesAccepted", "False") {
            return Ready::Failed(self.words("NamesAccepted"));
        }
        self.condition_true("Established")
    }

    fn condition_true(&self, kind: &str) -> Ready {
        if self.is(kind, "True") {
            return Ready::Yes;
        }
        match self.condition(kind) {
            Some(_) => Ready::No(self.words(kind)),
            None => Ready::No(format!("it is not {} yet", kind.to_lowercase())),
        }
    }

    /// Custom resources: the conventions that most operators follow.
    fn custom(&self) -> Ready {
        if self.0.pointer("/status/observedGeneration").is_some() && !self.is_observed() {
            return not_seen();
        }
        if self.is("Stalled", "True") {
            return Ready::Failed(self.words("Stalled"));
        }
        for kind in ["Ready", "Available"] {
            if self.condition(kind).is_some() {
                return self.condition_true(kind);
            }
        }
        Ready::Yes
    }
}

fn not_seen() -> Ready {
    Ready::No("its controller has not seen it yet".to_owned())
}

fn counted(have: i64, wanted: i64, what: &str) -> Ready {
    if have >= wanted { Ready::Yes } else { Ready::No(format!("{have} of {wanted} {what}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, spec: &Value, status: &Value) -> Value {
        json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "a", "generation": 2 }, "spec": spec, "status": status })
    }

    fn word(ready: &Ready) -> &'static str {
        match ready {
            Ready::Yes => "yes",
            Ready::No(_) => "no",
            Ready::Failed(_) => "failed",
        }
    }

    type Row = (&'static str, &'static str, Value, Value, &'static str);

    fn hold(rows: &[Row]) {
        for (api_version, kind, spec, status, expected) in rows {
            let ready = judge(Some(&object(api_version, kind, spec, status)));
            assert_eq!(word(&ready), *expected, "{kind} {status}: {ready:?}");
        }
    }

    fn condition(kind: &str, status: &str) -> Value {
        json!({ "conditions": [{ "type": kind, "status": status, "reason": "R" }] })
    }

    /// A deployment of two replicas in its second generation.
    fn deployment([observed, updated, replicas, available]: [i64; 4], expected: &'static str) -> Row {
        let status = json!({
            "observedGeneration": observed,
            "updatedReplicas": updated,
            "replicas": replicas,
            "availableReplicas": available,
        });
        ("apps/v1", "Deployment", json!({ "replicas": 2 }), status, expected)
    }

    #[test]
    fn workloads_have_their_own_rules() {
        let apps = "apps/v1";
        let slow = json!({ "observedGeneration": 2, "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }] });
        hold(&[
            // Seen, updated, in all, available: the first thing that lacks is told.
            deployment([1, 2, 2, 2], "no"),
            deployment([2, 1, 2, 2], "no"),
            deployment([2, 2, 3, 2], "no"),
            deployment([2, 2, 2, 1], "no"),
            deployment([2, 2, 2, 2], "yes"),
            (apps, "Deployment", json!({ "replicas": 0 }), json!({ "observedGeneration": 2 }), "yes"),
            (apps, "Deployment", json!({}), slow, "failed"),
            (
                apps,
                "StatefulSet",
                json!({ "replicas": 1 }),
                json!({ "observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1, "currentRevision": "a", "updateRevision": "b" }),
                "no",
            ),
            (
                apps,
                "StatefulSet",
                json!({ "replicas": 1 }),
                json!({ "observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1, "currentRevision": "b", "updateRevision": "b" }),
                "yes",
            ),
            (
                apps,
                "StatefulSet",
                json!({ "replicas": 1, "updateStrategy": { "type": "OnDelete" } }),
                json!({ "observedGeneration": 2, "readyReplicas": 1 }),
                "yes",
            ),
            (
                apps,
                "DaemonSet",
                json!({}),
                json!({ "observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1 }),
                "no",
            ),
            (
                apps,
                "DaemonSet",
                json!({}),
                json!({ "observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2 }),
                "yes",
            ),
            (
                apps,
                "ReplicaSet",
                json!({ "replicas": 1 }),
                json!({ "observedGeneration": 2, "availableReplicas": 1 }),
                "yes",
            ),
        ]);
    }

    #[test]
    fn other_kinds_have_theirs() {
        hold(&[
            ("batch/v1", "Job", json!({}), json!({ "succeeded": 0 }), "no"),
            ("batch/v1", "Job", json!({ "suspend": true }), json!({}), "yes"),
            ("batch/v1", "Job", json!({}), condition("Complete", "True"), "yes"),
            ("batch/v1", "Job", json!({}), condition("Failed", "True"), "failed"),
            ("v1", "Pod", json!({}), json!({ "phase": "Pending" }), "no"),
            ("v1", "Pod", json!({}), condition("Ready", "True"), "yes"),
            ("v1", "Pod", json!({}), json!({ "phase": "Succeeded" }), "yes"),
            ("v1", "Pod", json!({}), json!({ "phase": "Failed" }), "failed"),
            ("v1", "PersistentVolumeClaim", json!({}), json!({ "phase": "Pending" }), "no"),
            ("v1", "PersistentVolumeClaim", json!({}), json!({ "phase": "Bound" }), "yes"),
            ("v1", "Service", json!({ "type": "ClusterIP" }), json!({}), "yes"),
            ("v1", "Service", json!({ "type": "LoadBalancer" }), json!({ "loadBalancer": {} }), "no"),
            (
                "v1",
                "Service",
                json!({ "type": "LoadBalancer" }),
                json!({ "loadBalancer": { "ingress": [{ "ip": "10.0.0.1" }] } }),
                "yes",
            ),
            ("v1", "ConfigMap", json!({}), json!({}), "yes"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({}), condition("Established", "True"), "yes"),
            (
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({}),
                condition("NamesAccepted", "False"),
                "failed",
            ),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({}), json!({}), "no"),
            ("apiregistration.k8s.io/v1", "APIService", json!({}), condition("Available", "False"), "no"),
            ("example.com/v1", "Thing", json!({}), json!({}), "yes"),
            ("example.com/v1", "Thing", json!({}), json!({ "observedGeneration": 1 }), "no"),
            ("example.com/v1", "Thing", json!({}), condition("Ready", "False"), "no"),
            ("example.com/v1", "Thing", json!({}), condition("Available", "True"), "yes"),
            ("example.com/v1", "Thing", json!({}), condition("Stalled", "True"), "failed"),
            ("policy/v1", "PodDisruptionBudget", json!({}), condition("Ready", "False"), "yes"),
        ]);
        let mut leaving = object("v1", "ConfigMap", &json!({}), &json!({}));
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(
            (word(&judge(Some(&leaving))), word(&judge(None)), word(&gone(Some(&leaving))), word(&gone(None))),
            ("no", "no", "no", "yes")
        );
    }
}
