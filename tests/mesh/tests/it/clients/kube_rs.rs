//! What people do with kube-rs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{AttachParams, DeleteParams, ListParams, LogParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Surroundings;

const NAMESPACE: &str = "client-kube-rs";
const POD: &str = "hold";
/// Objects that a watcher sees come, change and go.
const OBJECTS: usize = 50;
/// Bytes through exec and port-forward, each way.
const BYTES: usize = 1 << 20;
/// No step takes longer.
const LIMIT: Duration = Duration::from_secs(40);

pub(super) async fn go_through(surroundings: &Surroundings) -> Result<()> {
    let client = client(surroundings).await?;
    ensure!(client.apiserver_version().await?.major == "1");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } }))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    apply(&client).await.context("server-side apply")?;
    watch(&client).await.context("a watcher")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    pod(&pods).await.context("a pod")?;
    timeout(LIMIT, logs(&client, &pods)).await.context("logs")?.context("logs")?;
    timeout(LIMIT, exec(&pods)).await.context("exec")?.context("exec")?;
    timeout(LIMIT, forward(&pods)).await.context("port-forward")?.context("port-forward")?;
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    Ok(())
}

async fn client(surroundings: &Surroundings) -> Result<Client> {
    let mut file = Kubeconfig::read_from(&surroundings.kubeconfig)?;
    // The plugin's variables go into the kubeconfig: this process is shared with other tests.
    for user in &mut file.auth_infos {
        let plugin = user.auth_info.as_mut().and_then(|user| user.exec.as_mut()).context("no credential plugin")?;
        plugin.env.get_or_insert_default().extend(surroundings.environment.iter().map(|(name, value)| {
            [("name", name), ("value", value)].map(|(key, value)| (key.to_owned(), value.clone())).into()
        }));
    }
    let options = KubeConfigOptions { context: Some("roadstead-quay".to_owned()), ..KubeConfigOptions::default() };
    Ok(Client::try_from(Config::from_custom_kubeconfig(file, &options).await?)?)
}

async fn apply(client: &Client) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let body = |value: &str| {
        let metadata = json!({ "name": "applied" });
        Patch::Apply(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "a": value } }))
    };
    maps.patch("applied", &PatchParams::apply("first"), &body("1")).await?;
    let conflict = maps.patch("applied", &PatchParams::apply("second"), &body("2")).await;
    ensure!(matches!(&conflict, Err(kube::Error::Api(status)) if status.code == 409), "{conflict:?}");
    maps.patch("applied", &PatchParams::apply("second").force(), &body("2")).await?;
    let list = maps.list(&ListParams::default()).await?;
    let applied = list.iter().find(|map| map.name_any() == "applied").context("it is not listed")?;
    ensure!(applied.data.as_ref().is_some_and(|data| data["a"] == "2"), "{applied:?}");
    Ok(())
}

/// A reflector that ends up with what is there, told by its watcher.
async fn watch(client: &Client) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let (store, writer) = reflector::store();
    let config = watcher::Config::default().labels("step=watch");
    let mut events = std::pin::pin!(watcher(maps.clone(), config).reflect(writer).applied_objects());
    let writing = async {
        for number in 0..OBJECTS {
            let labels = BTreeMap::from([("step".to_owned(), "watch".to_owned())]);
            let metadata = ObjectMeta {
                name: Some(format!("watched-{number:02}")),
                labels: Some(labels),
                ..ObjectMeta::default()
            };
            let map = ConfigMap { metadata, ..ConfigMap::default() };
            maps.create(&PostParams::default(), &map).await?;
            if number % 2 == 0 {
                maps.delete(&map.name_any(), &DeleteParams::default()).await?;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    let reading = async {
        let mut seen = 0;
        while seen < OBJECTS {
            events.try_next().await?.context("the watcher ended")?;
            seen += 1;
        }
        // The last deletions may still be under way.
        while store.len() > OBJECTS / 2 {
            timeout(Duration::from_millis(20), events.try_next()).await.ok().transpose()?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let (written, read) = tokio::join!(writing, timeout(LIMIT, reading));
    written?;
    read.context("not every event came")??;
    ensure!(store.len() == OBJECTS / 2, "{} are left", store.len());
    Ok(())
}

async fn pod(pods: &Api<Pod>) -> Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": POD },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let running = kube::runtime::conditions::is_pod_running();
    timeout(LIMIT, kube::runtime::wait::await_condition(pods.clone(), POD, running)).await??;
    Ok(())
}

async fn logs(client: &Client, pods: &Api<Pod>) -> Result<()> {
    let params = LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() };
    let mut request = kube::core::Request::new(pods.resource_url()).logs(POD, &params)?;
    // Simulated nodes have no certificate that the API server knows, and the library has no field for that.
    *request.uri_mut() = format!("{}&insecureSkipTLSVerifyBackend=true", request.uri()).parse()?;
    let mut lines = client.request_stream(request).await?.lines();
    for _ in 0..3 {
        let line = lines.next().await.context("the log ended")??;
        ensure!(line.contains("roadstead: tick"), "{line}");
    }
    Ok(())
}

async fn exec(pods: &Api<Pod>) -> Result<()> {
    // Not over before a line says that all has come back: what a simulated node has not sent by then is lost, also without a
    // hub.
    let command = format!("head -c {BYTES} && read -r _");
    let params = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process = pods.exec(POD, ["sh", "-c", &command], &params).await?;
    let (mut stdin, mut stdout) = (process.stdin().context("no stdin")?, process.stdout().context("no stdout")?);
    echo(&mut stdout, &mut stdin).await?;
    stdin.write_all(b"\n").await?;
    stdin.flush().await?;
    let status = process.take_status().context("no status")?.await.context("it ended without a status")?;
    ensure!(status.status.as_deref() == Some("Success"), "{status:?}");
    Ok(())
}

async fn forward(pods: &Api<Pod>) -> Result<()> {
    let mut forwarder = pods.portforward(POD, &[7]).await?;
    let (mut read, mut write) = tokio::io::split(forwarder.take_stream(7).context("no stream")?);
    echo(&mut read, &mut write).await
}

/// Sends bytes and compares what comes back.
async fn echo<R, W>(read: &mut R, write: &mut W) -> Result<()>
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let sent: Vec<u8> = (0..BYTES).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
    let mut received = vec![0; BYTES];
    let writing = async {
        write.write_all(&sent).await?;
        write.flush().await
    };
    let (written, read) = tokio::join!(writing, read.read_exact(&mut received));
    written?;
    read?;
    ensure!(received == sent, "the bytes came back changed");
    Ok(())
}
