//! The way to the hub: TLS with a private authority, an egress proxy, and the probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use roadstead_agent::metrics::Metrics;
use roadstead_agent::net::{Connection, Step, Way, http as exchange};
use roadstead_agent::probe::{self, Health};
use roadstead_agent::{Error, net::door::Door};
use roadstead_runtime::Tasks;
use roadstead_runtime::config::MapEnv;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::hub::Hub;

/// A hub behind TLS for `localhost`, and the PEM of its authority.
pub async fn secure_hub() -> (Hub, String) {
    roadstead_runtime::install_crypto();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut about = rcgen::CertificateParams::new(Vec::new()).unwrap();
    about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = about.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(about, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let hub = Hub::start_with(move |stream| {
        let acceptor = acceptor.clone();
        async move { Ok(Box::new(acceptor.accept(stream).await?) as Connection) }
    })
    .await;
    (hub, root.pem())
}

/// A proxy that asks for a password when `guarded`; counts what it carried.
async fn proxy(guarded: bool) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let carried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&carried);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                if guarded && !head.contains("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n") {
                    client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
                    return;
                }
                // The test's name for the hub, so that it does not count as this machine.
                let target = head.split(' ').nth(1).unwrap().replace("hub.test", "localhost");
                let mut hub = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let _ = tokio::io::copy_bidirectional(&mut client, &mut hub).await;
            });
        }
    });
    (address, carried)
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_given() {
    let (hub, root) = secure_hub().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, root).unwrap();
    let url = format!("https://localhost:{}/nothing", hub.address.port());
    let trusting = Way::new(Some(&file), &MapEnv::default()).unwrap();
    assert_eq!(exchange::exchange(&trusting, get(&url)).await.unwrap().status(), 404);

    let stranger = Way::new(None, &MapEnv::default()).unwrap();
    let error = exchange::exchange(&stranger, get(&url)).await.unwrap_err();
    assert_eq!(error.step, Step::Tls);
    assert!(error.fix.contains("--ca-file"), "{error:?}");

    let other = url.replace("localhost", "127.0.0.1");
    let error = exchange::exchange(&trusting, get(&other)).await.unwrap_err();
    assert!(error.step == Step::Tls && error.detail.contains("another name"), "{error:?}");

    std::fs::write(&file, "no certificate").unwrap();
    assert!(matches!(Way::new(Some(&file), &MapEnv::default()), Err(Error::Settings(_))));
}

#[tokio::test]
async fn the_hub_is_reached_through_a_proxy() {
    let hub = Hub::start().await;
    let (address, carried) = proxy(true).await;
    let url = format!("http://hub.test:{}/nothing", hub.address.port());
    let env = MapEnv::new([("http_proxy", format!("http://user:p%40ss@{address}"))]);
    let way = Way::new(None, &env).unwrap();
    assert_eq!(exchange::exchange(&way, get(&url)).await.unwrap().status(), 404);
    assert_eq!(carried.load(Ordering::SeqCst), 1);

    let env = MapEnv::new([("http_proxy", format!("http://{address}"))]);
    let error = exchange::exchange(&Way::new(None, &env).unwrap(), get(&url)).await.unwrap_err();
    assert!(error.step == Step::Proxy && error.detail.contains("password"), "{error:?}");
}

#[tokio::test]
async fn a_page_cannot_talk_the_agent_out_of_tls() {
    let (hub, root) = secure_hub().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, root).unwrap();
    hub.state.lock().unwrap().well_known = Some("http://elsewhere.example".to_owned());
    let way = Way::new(Some(&file), &MapEnv::default()).unwrap();
    let url = format!("https://localhost:{}", hub.address.port());
    assert!(matches!(Door::find(&way, &url).await, Err(Error::Net(_))));
    hub.state.lock().unwrap().well_known = Some("https://agents.example:8443/base/".to_owned());
    let door = Door::find(&way, &url).await.unwrap();
    assert_eq!(door.path("/agent/v1/connect").unwrap(), "https://agents.example:8443/base/agent/v1/connect");
}

#[tokio::test]
async fn probes_answer() {
    let (tasks, health, metrics) = (Tasks::new(), Health::default(), Metrics::new());
    let listener = probe::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    // A second agent on the machine does not fail for it.
    assert_ne!(probe::bind(address).await.unwrap().local_addr().unwrap(), address);
    let served = probe::serve(listener, health.clone(), metrics.clone(), tasks.clone());
    tasks.spawn("probe", served);
    let way = Way::new(None, &MapEnv::default()).unwrap();
    let look = async |path: &str| {
        let answer = exchange::exchange(&way, get(&format!("http://{address}{path}"))).await.unwrap();
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    };
    assert_eq!(look("/healthz").await.0, 200);
    assert_eq!(look("/readyz").await.0, 503);
    health.set_connected(true);
    assert_eq!(look("/readyz").await.0, 200);
    assert!(look("/version").await.1.contains("\"service\":\"agent\""));
    metrics.heartbeat("c-1", "healthy", crate::hub::now());
    let text = look("/metrics").await.1;
    for name in [
        "mckmt_agent_heartbeats_total{cluster_id=\"c-1\",status=\"healthy\"} 1",
        "mckmt_agent_heartbeat_timestamp{cluster_id=\"c-1\"}",
        "mckmt_agent_last_heartbeat_timestamp{cluster_id=\"c-1\"}",
        "roadstead_agent_connected 0",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    assert_eq!(look("/nothing").await.0, 404);
    tasks.cut();
}
