//! Manifests that this project did not write, unchanged: those of Kubernetes' own repository, at the version of the test
//! cluster, out of the Go module that the cluster is built from. Through the hub they are applied, applied again, which
//! changes nothing, and undone, which leaves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cluster;
use super::rig::{CLUSTER, END_LIMIT, Rig};
use crate::tell;

/// Things that are installed together: files, and folders with all their files. Their namespaces are their own; `true` for
/// those that name none.
const SETS: [(&str, bool, &[&str]); 11] = [
    (
        "volume snapshots and the hostpath driver",
        false,
        &["cluster/addons/volumesnapshots", "test/e2e/testing-manifests/storage-csi/hostpath"],
    ),
    ("calico", false, &["cluster/addons/calico-policy-controller"]),
    ("network policies", false, &["cluster/addons/kube-network-policies"]),
    ("masquerading", false, &["cluster/addons/ip-masq-agent"]),
    ("cluster autoscaler", false, &["cluster/addons/rbac/cluster-autoscaler"]),
    ("load balancing", false, &["cluster/addons/cluster-loadbalancing", "cluster/addons/rbac/cluster-loadbalancing"]),
    ("guestbook", true, &["test/e2e/testing-manifests/guestbook"]),
    (
        "volume populators",
        false,
        &[
            "test/e2e/testing-manifests/storage-csi/any-volume-datasource/crd",
            "test/e2e/testing-manifests/storage-csi/any-volume-datasource/volume-data-source-validator",
        ],
    ),
    (
        "snapshots of groups",
        false,
        &[
            "test/e2e/testing-manifests/storage-csi/external-snapshotter/csi-snapshotter",
            "test/e2e/testing-manifests/storage-csi/external-snapshotter/groupsnapshot.storage.k8s.io_volumegroupsnapshotclasses.yaml",
            "test/e2e/testing-manifests/storage-csi/external-snapshotter/groupsnapshot.storage.k8s.io_volumegroupsnapshotcontents.yaml",
            "test/e2e/testing-manifests/storage-csi/external-snapshotter/groupsnapshot.storage.k8s.io_volumegroupsnapshots.yaml",
        ],
    ),
    (
        "a mock of a storage driver",
        true,
        &[
            "test/e2e/testing-manifests/storage-csi/mock/csi-mock-rbac.yaml",
            "test/e2e/testing-manifests/storage-csi/mock/csi-mock-driver.yaml",
            "test/e2e/testing-manifests/storage-csi/mock/csi-mock-driver-attacher.yaml",
            "test/e2e/testing-manifests/storage-csi/mock/csi-mock-driver-resizer.yaml",
            "test/e2e/testing-manifests/storage-csi/mock/csi-mock-driver-snapshotter.yaml",
            "test/e2e/testing-manifests/storage-csi/mock/csi-mock-driverinfo.yaml",
            "test/e2e/testing-manifests/storage-csi/mock/csi-storageclass.yaml",
        ],
    ),
    (
        "device plugins",
        false,
        &[
            "test/e2e/testing-manifests/gpu",
            "test/e2e/testing-manifests/sample-device-plugin/sample-device-plugin.yaml",
        ],
    ),
];

/// The API server's own finalizer of definitions takes a conflict with itself for somebody else's change, and then looks again
/// only at its next resync, after five minutes.
const UNDO_LIMIT: Duration = Duration::from_secs(6 * 60);

pub(super) async fn well_known(rig: &Rig) -> Result<()> {
    let Some(root) = root()? else {
        println!("no Go toolchain: Kubernetes' own manifests are not here");
        return Ok(());
    };
    let (mut objects, mut failed) = (0, Vec::new());
    // One after another, as their lane takes them anyway: beside others a set would wait for its turn on its own time.
    for (number, set) in SETS.iter().enumerate() {
        let began = Instant::now();
        match round(rig, &root, number, set).await.context(set.0) {
            Ok(count) => {
                tell(format_args!("{}: {count} objects in {:?}", set.0, began.elapsed()))?;
                objects += count;
            }
            Err(fault) => failed.push(format!("{fault:#}")),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    println!("{} sets with {objects} objects", SETS.len());
    Ok(())
}

/// Kubernetes' sources; none without a Go toolchain.
fn root() -> Result<Option<PathBuf>> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kube");
    // Downloaded already where the cluster was built here.
    let found = Command::new("go").args(["mod", "download", "-json", "k8s.io/kubernetes"]).current_dir(module).output();
    let Ok(output) = found else { return Ok(None) };
    let told: Value = serde_json::from_slice(&output.stdout).context("go tells no module")?;
    Ok(Some(told["Dir"].as_str().with_context(|| format!("no folder: {told}"))?.into()))
}

/// All manifests of a set, in the order of their names.
fn files(root: &Path, paths: &[&str]) -> Result<Vec<(String, String)>> {
    let (mut open, mut found) = (paths.iter().map(|path| root.join(path)).collect::<Vec<_>>(), Vec::new());
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        } else if path.extension().is_some_and(|kind| kind == "yaml") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            found.push((path.strip_prefix(root)?.display().to_string().replace('/', "_"), text));
        }
    }
    found.sort();
    Ok(found)
}

fn form(files: &[(String, String)]) -> String {
    let part = |(name, text): &(String, String)| {
        format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"manifests\"; filename=\"{name}\"\r\n\r\n{text}\r\n"
        )
    };
    files.iter().map(part).collect::<String>() + "--b0undary--\r\n"
}

/// Answers how many objects there were.
async fn round(rig: &Rig, root: &Path, number: usize, set: &(&str, bool, &[&str])) -> Result<usize> {
    let query = if set.1 {
        format!("?namespace={}", rig.made_place(&format!("material-{number}")).await?)
    } else {
        String::new()
    };
    let path = format!("/api/v1/clusters/{CLUSTER}/manifests{query}");
    let body = form(&files(root, set.2)?);
    let send = async || -> Result<(String, Value)> {
        let kind = "multipart/form-data; boundary=b0undary";
        let answer = rig.api.post_as(&path, kind, body.clone()).await?.expect(202)?;
        let id = answer["operation_id"].as_str().context("no operation")?.to_owned();
        let done = rig.ended(&id, "succeeded").await?;
        Ok((id, done))
    };
    let (first, done) = send().await?;
    let count = usize::try_from(done["objects"].as_u64().unwrap_or(0))?;
    ensure!(count > 1 && done["counts"]["created"] == count, "{done}");
    let keys: Vec<Value> =
        rig.steps(&first).await?.into_iter().map(|step| step["key"].clone()).filter(Value::is_object).collect();
    ensure!(keys.len() == count, "{} of {count} objects are told of", keys.len());

    let (again, done) = send().await?;
    ensure!(done["counts"]["unchanged"] == count, "{done}\n{:?}", rig.steps(&again).await?);

    let undo = rig.follow_up(&first, "undo").await?;
    let defines = keys.iter().any(|key| key["kind"] == "CustomResourceDefinition");
    rig.ended_within(if defines { UNDO_LIMIT } else { END_LIMIT }, &undo, "succeeded").await?;
    cluster::none_left(rig, &keys).await?;
    Ok(count)
}
