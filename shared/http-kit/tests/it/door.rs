//! A door for the tests, and a client that sends bytes as they are.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use async_trait::async_trait;
use roadstead_auth::mesh::MeshKey;
use roadstead_contracts::identity::{Action, CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ApiKeyId, SessionId, UserId};
use roadstead_contracts::message::CredentialProof;
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::*;
use roadstead_runtime::{Ids, Secret, SystemClock, Tasks};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Knows the keys `viewer` and `admin`.
pub struct Keys {
    pub ids: Ids,
    pub user: UserId,
    pub key: ApiKeyId,
    pub asked: AtomicU32,
}

#[async_trait]
impl Authenticator for Keys {
    async fn authenticate(&self, credential: &Credential, _: &RequestContext) -> Result<Caller, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (text, session) = match credential {
            Credential::ApiKey(key) => (key.expose(), false),
            Credential::Bearer(token) => (token.expose(), true),
        };
        let role = match text {
            "viewer" => Role::Viewer,
            "admin" => Role::Admin,
            _ => return Err(Code::InvalidCredential.into()),
        };
        let principal = Principal {
            user_id: self.user,
            user_seq: 1,
            username: text.to_owned(),
            email: String::new(),
            roles: [role].into(),
            reach: Reach::All,
            credential: CredentialKind::ApiKey(self.key),
            scope: None,
            permissions: None,
            rules: Vec::new(),
        };
        let proof = if session {
            CredentialProof::Session { session_id: self.ids.next::<SessionId>(), user_id: self.user, pair_id: None }
        } else {
            CredentialProof::ApiKey { id: self.key, digest: text.to_owned() }
        };
        Ok(Caller { principal: Arc::new(principal), proof: Arc::new(proof) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only parsed")]
struct Sample {
    name: ClusterName,
}

/// Bytes of the bodies that `/hold` has at once.
#[derive(Default)]
pub struct Holding {
    now: AtomicUsize,
    pub most: AtomicUsize,
}

impl Holding {
    /// Has a body for as many milliseconds as the query says.
    async fn hold(&self, request: HttpRequest, body: Body) -> HttpResponse {
        let length = body.0.len();
        self.most.fetch_max(self.now.fetch_add(length, Ordering::SeqCst) + length, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(request.query_string().parse().unwrap_or(0))).await;
        self.now.fetch_sub(length, Ordering::SeqCst);
        HttpResponse::Ok().body(length.to_string())
    }
}

fn routes(front: Arc<Front>, holding: Arc<Holding>) -> Routes {
    use Access::{Authenticated, Public};
    Routes::new(front)
        .add(Method::GET, "/api/v1/open", Public, RateClass::Free, |context: RequestContext| async move {
            HttpResponse::Ok().body(context.client.to_string())
        })
        .add(Method::GET, "/api/v1/mine", Authenticated, RateClass::Seed, |caller: Caller| async move {
            HttpResponse::Ok().body(caller.principal.username.clone())
        })
        .add(Method::DELETE, "/api/v1/mine", Access::Action(Action::ClustersDelete), RateClass::Api, || async {
            HttpResponse::NoContent().finish()
        })
        .add(Method::POST, "/api/v1/things", Public, RateClass::Free, |_: Json<Sample>| async {
            HttpResponse::Created().finish()
        })
        .add(Method::POST, "/things", Public, RateClass::Free, |_: Json<Sample>| async {
            HttpResponse::Created().finish()
        })
        .add(Method::POST, "/hold", Public, RateClass::Free, move |request: HttpRequest, body: Body| {
            let holding = Arc::clone(&holding);
            async move { holding.hold(request, body).await }
        })
        .add(Method::POST, "/let-go", Public, RateClass::Free, |request: HttpRequest, body: Body| async move {
            body.let_go(&request);
            let room = request.app_data::<web::Data<room::Room>>().unwrap();
            HttpResponse::Ok().body(room.held().to_string())
        })
        .add(Method::GET, "/held", Public, RateClass::Free, |room: web::Data<room::Room>| async move {
            HttpResponse::Ok().body(room.held().to_string())
        })
        .add(Method::GET, "/slow", Public, RateClass::Free, || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            HttpResponse::Ok().body("done")
        })
        .add(Method::GET, "/stream", Public, RateClass::Free, || async {
            let chunks =
                ["one ", "two"].map(|chunk| Ok::<_, std::io::Error>(web::Bytes::from_static(chunk.as_bytes())));
            HttpResponse::ServiceUnavailable()
                .content_type("application/json")
                .streaming(futures_util::stream::iter(chunks))
        })
        .add(Method::GET, "/boom", Public, RateClass::Free, || async {
            Err::<HttpResponse, _>(ApiFailure::from(Code::Internal))
        })
}

pub struct Door {
    pub address: SocketAddr,
    pub tasks: Tasks,
    pub keys: Arc<Keys>,
    pub holding: Arc<Holding>,
}

pub struct Options {
    pub rates: RateSettings,
    pub limits: Limits,
    pub head_time: Duration,
    pub workers: usize,
    pub trusted: Vec<ipnet::IpNet>,
    pub key: Option<MeshKey>,
    pub tls: Option<rustls::ServerConfig>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rates: RateSettings::default(),
            limits: Limits { body: 4096, body_time: Duration::from_millis(500), ..Limits::default() },
            head_time: Duration::from_millis(500),
            workers: 1,
            trusted: Vec::new(),
            key: None,
            tls: None,
        }
    }
}

pub fn mesh_key() -> MeshKey {
    MeshKey::new(&Secret::new("k".repeat(32))).unwrap()
}

impl Door {
    pub fn open(options: Options) -> Self {
        let ids = Ids::system(SystemClock::shared());
        let keys = Arc::new(Keys { user: ids.next(), key: ids.next(), ids: ids.clone(), asked: AtomicU32::new(0) });
        let front = Arc::new(Front {
            ids,
            clock: SystemClock::shared(),
            trusted_proxies: options.trusted,
            forwarded_by: options.key,
            limits: options.limits,
            metrics: Arc::new(NoMetrics),
            authenticator: Arc::clone(&keys) as Arc<dyn Authenticator>,
            limiter: Limiter::new(options.rates, None),
        });
        let socket = bind("127.0.0.1", 0).unwrap();
        let address = socket.local_addr().unwrap();
        let tasks = Tasks::new();
        let serve_options = ServeOptions {
            name: "door",
            listeners: vec![Listener { socket, tls: options.tls }],
            workers: options.workers,
            head_time: options.head_time,
            grace: Duration::from_secs(2),
        };
        let holding = Arc::new(Holding::default());
        let (shared, held) = (Arc::clone(&front), Arc::clone(&holding));
        let mount = move |config: &mut web::ServiceConfig| routes(Arc::clone(&shared), Arc::clone(&held)).mount(config);
        serve(&tasks, serve_options, front, mount).unwrap();
        Self { address, tasks, keys, holding }
    }

    /// Sends bytes on a connection of their own and reads until the server closes it.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes.as_ref()).await;
        read_all(&mut stream).await
    }

    /// A request with headers and no body; the connection ends with it.
    pub async fn send(&self, line: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_body(line, headers, "").await
    }

    pub async fn send_body(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n");
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(text, "content-length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        text.push_str(body);
        Answer::parse(&self.raw(text).await)
    }
}

pub async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection stayed open after {:?}", String::from_utf8_lossy(&bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A response taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response in {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn code(&self) -> String {
        let json: serde_json::Value =
            serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON in {self:?}"));
        assert_eq!(json["error"], json["detail"]);
        assert_eq!(json["status"], self.status);
        assert_eq!(json["request_id"].as_str(), self.header("x-request-id"));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        json["code"].as_str().unwrap().to_owned()
    }
}
