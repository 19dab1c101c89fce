//! A rollout's plan as it is stored: without what the patches of its overrides say, which lies sealed beside the document.

use roadstead_contracts::message::{MaintenanceWindow, RolloutOverride, RolloutPlan};
use roadstead_contracts::names::Labels;
use roadstead_contracts::operation::ObjectKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How a rollout goes. Its fields are those of [`RolloutPlan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    #[serde(default)]
    pub waves: Vec<u8>,
    #[serde(default)]
    pub failure_budget: u32,
    #[serde(default)]
    pub bake_seconds: u32,
    #[serde(default)]
    pub at_once: u32,
    #[serde(default)]
    pub needs_approval: bool,
    #[serde(default)]
    pub overrides: Vec<Override>,
    #[serde(default)]
    pub window: Option<MaintenanceWindow>,
    #[serde(default)]
    pub cluster_deadline_seconds: Option<u32>,
}

/// For whom a patch is, and of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Override {
    #[serde(default)]
    pub labels: Labels,
    #[serde(default)]
    pub cluster: Option<String>,
    pub object: ObjectKey,
    /// What it says: not any more once it is sealed. Code that does not know of sealed patches needs it, so that it leaves such a
    /// rollout alone instead of doing it without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch: Option<Value>,
    /// How long that is.
    #[serde(default)]
    bytes: usize,
}

fn length(patch: &Value) -> usize {
    serde_json::to_vec(patch).map_or(0, |text| text.len())
}

impl From<RolloutPlan> for Plan {
    /// Still with what its patches say.
    fn from(plan: RolloutPlan) -> Self {
        let one = |one: RolloutOverride| Override {
            labels: one.labels,
            cluster: one.cluster,
            object: one.object,
            bytes: length(&one.patch),
            patch: Some(one.patch),
        };
        Self {
            waves: plan.waves,
            failure_budget: plan.failure_budget,
            bake_seconds: plan.bake_seconds,
            at_once: plan.at_once,
            needs_approval: plan.needs_approval,
            overrides: plan.overrides.into_iter().map(one).collect(),
            window: plan.window,
            cluster_deadline_seconds: plan.cluster_deadline_seconds,
        }
    }
}

impl Plan {
    /// What the patches say, in their order; none where it is not in the plan, or where there are none.
    pub(crate) fn clear_patches(&self) -> Option<Vec<Value>> {
        let some = self.overrides.iter().any(|one| one.patch.is_some());
        some.then(|| self.overrides.iter().map(|one| one.patch.clone().unwrap_or_default()).collect())
    }

    /// Leaves of what the patches say only how long it is.
    pub(crate) fn without_patches(mut self) -> Self {
        for one in &mut self.overrides {
            one.bytes = one.length();
            one.patch = None;
        }
        self
    }

    /// The overrides with what they say; none where these are the patches of another plan.
    pub(crate) fn overrides_with(&self, patches: Vec<Value>) -> Option<Vec<RolloutOverride>> {
        let same = patches.len() == self.overrides.len();
        same.then(|| self.overrides.iter().zip(patches).map(|(one, patch)| one.with(patch)).collect())
    }

    /// As callers see it: without what patches say, which is for whoever wrote them.
    pub(crate) fn shown(&self) -> RolloutPlan {
        RolloutPlan {
            waves: self.waves.clone(),
            failure_budget: self.failure_budget,
            bake_seconds: self.bake_seconds,
            at_once: self.at_once,
            needs_approval: self.needs_approval,
            overrides: self.overrides.iter().map(|one| one.with(json!({ "bytes": one.length() }))).collect(),
            window: self.window.clone(),
            cluster_deadline_seconds: self.cluster_deadline_seconds,
        }
    }
}

impl Override {
    fn with(&self, patch: Value) -> RolloutOverride {
        RolloutOverride {
            labels: self.labels.clone(),
            cluster: self.cluster.clone(),
            object: self.object.clone(),
            patch,
        }
    }

    fn length(&self) -> usize {
        self.patch.as_ref().map_or(self.bytes, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RolloutPlan {
        let one = |patch: Value| json!({"cluster": "c", "object": {"api_version": "v1", "kind": "ConfigMap", "name": "a"}, "patch": patch});
        let overrides = [one(json!({"data": {"k": "canary"}})), one(Value::Null)];
        serde_json::from_value(json!({"waves": [10, 90], "failure_budget": 1, "bake_seconds": 2, "at_once": 3,
            "needs_approval": true, "overrides": overrides, "window": {"from": "10:00", "to": "11:00"},
            "cluster_deadline_seconds": 4}))
        .unwrap()
    }

    #[test]
    fn what_patches_say_is_left_out_and_put_back() {
        let asked = plan();
        let stored = Plan::from(asked.clone());
        let patches = stored.clear_patches().unwrap();
        let stored = stored.without_patches();
        assert_eq!(stored.clear_patches(), None);
        let text = serde_json::to_string(&stored).unwrap();
        assert!(!text.contains("canary") && !text.contains("patch"), "{text}");
        let read: Plan = serde_json::from_str(&text).unwrap();
        assert_eq!(read, stored);
        assert_eq!(read.overrides_with(Vec::new()), None);
        let whole = RolloutPlan { overrides: read.overrides_with(patches).unwrap(), ..read.shown() };
        assert_eq!(whole, asked);
        let lengths: Vec<Value> = read.shown().overrides.into_iter().map(|one| one.patch).collect();
        assert_eq!(lengths, [json!({"bytes": 23}), json!({"bytes": 4})]);
    }

    /// Code that does not know of sealed patches must not take such a plan for one without patches, or a length for a patch.
    #[test]
    fn a_sealed_plan_is_none_to_code_of_before() {
        let stored = serde_json::to_value(Plan::from(plan()).without_patches()).unwrap();
        assert!(serde_json::from_value::<RolloutPlan>(stored).is_err());
    }

    #[test]
    fn a_plan_of_before_is_read() {
        let before = RolloutPlan { overrides: plan().overrides[..1].to_vec(), ..plan() };
        let read: Plan = serde_json::from_value(serde_json::to_value(&before).unwrap()).unwrap();
        let patches = read.clear_patches().unwrap();
        assert_eq!(read.overrides_with(patches).unwrap(), before.overrides);
        assert_eq!(read.shown(), Plan::from(before).without_patches().shown());
    }
}
