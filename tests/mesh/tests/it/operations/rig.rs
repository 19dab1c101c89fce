//! A hub with one cluster, and the few questions that every scenario asks.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use roadstead_mesh_tests::{Api, JOIN_LIMIT, TestMesh};
use roadstead_testkit::environment;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

/// The cluster's name.
pub const CLUSTER: &str = "quay";
/// An operation of these tests ends within this time, deaths included (catalogue, F01: 30 s; and a loaded machine).
pub const END_LIMIT: Duration = Duration::from_secs(45);

/// See the module.
pub struct Rig {
    pub mesh: TestMesh,
    pub api: Api,
    pub kubeconfig: PathBuf,
    places: Mutex<Vec<String>>,
}

impl Rig {
    /// Starts the agent.
    pub async fn start(mut mesh: TestMesh) -> Result<Self> {
        mesh.start_agent(CLUSTER, None).await?;
        mesh.status(CLUSTER, "connected", JOIN_LIMIT).await?;
        let api = mesh.owner(0)?;
        Ok(Self { mesh, api, kubeconfig: environment::kubeconfig()?, places: Mutex::default() })
    }

    /// A name for a namespace that no other run has.
    pub fn place(&self, what: &str) -> String {
        let place = format!("ops-{}-{}-{what}", std::process::id(), self.mesh.doors.len());
        self.places.lock().unwrap().push(place.clone());
        place
    }

    /// A namespace that is there.
    pub async fn made_place(&self, what: &str) -> Result<String> {
        let place = self.place(what);
        super::cluster::make(self, &place).await?;
        Ok(place)
    }

    /// Sends manifests; answers the operation.
    pub async fn apply(&self, query: &str, text: &str) -> Result<String> {
        let path = format!("/api/v1/clusters/{CLUSTER}/manifests{query}");
        let answer = self.api.post_as(&path, "application/yaml", text).await?.expect(202)?;
        let golden = answer["status"] == "queued" && answer["message"] == "Manifests queued for application";
        ensure!(golden, "{answer}");
        id(&answer)
    }

    /// Applies manifests to the end.
    pub async fn applied(&self, text: &str) -> Result<String> {
        let id = self.apply("", text).await?;
        self.ended(&id, "succeeded").await?;
        Ok(id)
    }

    /// Retries or undoes; answers the new operation.
    pub async fn follow_up(&self, operation: &str, verb: &str) -> Result<String> {
        id(&self.api.post(&format!("/api/v1/operations/{operation}/{verb}"), &json!({})).await?.expect(202)?)
    }

    /// An operation now.
    pub async fn operation(&self, id: &str) -> Result<Value> {
        self.api.get(&format!("/api/v1/operations/{id}")).await?.expect(200)
    }

    /// Everything that happened in an operation.
    pub async fn steps(&self, id: &str) -> Result<Vec<Value>> {
        let steps = self.api.get(&format!("/api/v1/operations/{id}/steps?limit=1000")).await?.expect(200)?;
        Ok(steps.as_array().context("no steps")?.clone())
    }

    /// Waits for an end of this kind.
    pub async fn ended(&self, id: &str, state: &str) -> Result<Value> {
        self.ended_within(END_LIMIT, id, state).await
    }

    /// Waits so long for an end of this kind.
    pub async fn ended_within(&self, limit: Duration, id: &str, state: &str) -> Result<Value> {
        let operation = self.ended_somehow(limit, id).await?;
        if operation["state"] != state {
            let steps = self.steps(id).await?;
            bail!("it is {} and not {state}: {operation}\n{}", operation["state"], json!(steps));
        }
        Ok(operation)
    }

    /// Waits for an end of any kind.
    pub async fn ended_somehow(&self, limit: Duration, id: &str) -> Result<Value> {
        let (operation, _) = eventually(&format!("operation {id} has ended"), limit, || async {
            let operation = self.operation(id).await?;
            ensure!(!operation["finished_at"].is_null(), "it is {}: {}", operation["state"], operation["reason"]);
            Ok::<_, anyhow::Error>(operation)
        })
        .await?;
        Ok(operation)
    }

    /// Waits until so many objects of an operation are done, or it has ended.
    pub async fn objects(&self, id: &str, count: usize) -> Result<()> {
        eventually("objects are done", END_LIMIT, || async {
            let steps = self.steps(id).await?;
            let done = steps.iter().filter(|step| step["type"] == "object").count();
            ensure!(done >= count, "{done} are");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    }

    /// Leaves nothing in the cluster.
    pub async fn end(self) -> Result<()> {
        let places = self.places.lock().unwrap().clone();
        for place in places {
            super::cluster::remove(&self, &place).await?;
        }
        self.mesh.end();
        Ok(())
    }
}

fn id(answer: &Value) -> Result<String> {
    Ok(answer["operation_id"].as_str().context("no operation")?.to_owned())
}

/// A namespace as a document.
pub fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

/// A ConfigMap as a document.
pub fn config_map(namespace: &str, name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n  value: \"{value}\"\n"
    )
}

/// Several.
pub fn config_maps(namespace: &str, names: &[String]) -> String {
    names.iter().map(|name| config_map(namespace, name, "1")).collect::<Vec<_>>().join("---\n")
}
