//! The same API under the front door's own route.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::TestMesh;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Person;

/// The same API under the front door's own route, WebSockets too.
pub async fn front_door(mesh: &TestMesh, front: usize) -> Result<()> {
    let base = "/api/v1/clusters/quay/proxy";
    let stranger = mesh.caller(front)?.get(&format!("{base}/api/v1/namespaces")).await?;
    ensure!(stranger.status == 401 && stranger.body["kind"] == "Status", "{stranger:?}");
    let wrong = mesh.caller(front)?.key("rsk_nonsense").get(&format!("{base}/api")).await?;
    ensure!(wrong.status == 401 && wrong.body["reason"] == "Unauthorized", "{wrong:?}");
    let owner = mesh.owner(front)?;
    let list = owner.get(&format!("{base}/api/v1/namespaces?limit=500")).await?.expect(200)?;
    ensure!(list["kind"] == "NamespaceList" && list["items"].as_array().is_some_and(|items| items.len() > 3), "{list}");
    let map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "by-rest" }, "data": { "a": "1" } });
    let maps = format!("{base}/api/v1/namespaces/default/configmaps");
    owner.post(&maps, &map).await?.expect(201)?;
    owner.delete(&format!("{maps}/by-rest")).await?.expect(200)?;
    ensure!(owner.get(&format!("{maps}/by-rest")).await?.status == 404);
    let nobody = owner.get("/api/v1/clusters/nowhere/proxy/api").await?;
    ensure!(nobody.status == 404 && nobody.body["kind"] == "Status", "{nobody:?}");
    // exec by hand, as a browser's WebSocket does it.
    let person = Person::of(mesh, front, "quay", &mesh.api_key).await?;
    let kubectl = person.kubectl()?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "browser", "namespace": "default" },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let applied = kubectl.feed(&["apply", "-f", "-"], pod.to_string().as_bytes()).await?;
    ensure!(applied.code == 0, "{}", applied.err);
    kubectl.ok(&["wait", "pod/browser", "--for=condition=Ready", "--timeout=30s"]).await?;
    let address = mesh.doors[front].trim_start_matches("http://").to_owned();
    let token = base64url(mesh.api_key.as_bytes());
    let request = format!(
        "GET {base}/api/v1/namespaces/default/pods/browser/exec?command=echo&command=ahoy&stdout=true HTTP/1.1\r\nHost: {address}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{token}\r\n\r\n"
    );
    let mut socket = TcpStream::connect(&address).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let reading = async {
        while !answer.windows(5).any(|window| window == b"ahoy\n") {
            ensure!(socket.read_buf(&mut answer).await? > 0, "it ended: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    };
    timeout(Duration::from_secs(15), reading).await.context("nothing came")??;
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    ensure!(
        head.starts_with("http/1.1 101") && head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    ensure!(!head.contains("bearer.authorization"), "{head}");
    kubectl.ok(&["delete", "pod", "browser", "--wait=false"]).await?;
    Ok(())
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = part.iter().chain([&0, &0]).take(3).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        for at in 0..=part.len() {
            text.push(char::from(LETTERS[(number >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}
