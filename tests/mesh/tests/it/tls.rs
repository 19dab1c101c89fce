//! TLS to RabbitMQ, PostgreSQL and Redis, among the services and for scrapers, with certificates on both sides:
//! the whole mesh works by it, and whoever cannot be trusted is named in a sentence without a secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use roadstead_mesh_tests::{Api, Layout, TestMesh, Tuning};
use roadstead_testkit::environment;

const SECTIONS: [&str; 3] = ["DATABASE", "RABBITMQ", "REDIS"];

/// What `doctor` says of the user service with some settings changed.
struct Doctor<'a> {
    mesh: &'a TestMesh,
    secrets: Vec<String>,
}

impl Doctor<'_> {
    fn says(&self, otherwise: &[(String, String)], sentence: &str) {
        let otherwise: Vec<(&str, &str)> =
            otherwise.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let arguments = ["doctor", "--service", "user", "-o", "json"];
        let (good, said) = tokio::task::block_in_place(|| self.mesh.run_as("user", &arguments, &otherwise)).unwrap();
        assert!(!good, "it was taken: {said}");
        for check in ["database", "rabbitmq", "redis"] {
            let found = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>().next();
            let findings = found.unwrap().unwrap();
            let finding =
                findings.as_array().unwrap().iter().find(|finding| finding["check"] == check).unwrap().clone();
            assert_eq!(finding["ok"], false, "{check}: {said}");
            // Redis waits for the end of a line that a handshake never has, and says nothing.
            let silent = check == "redis" && sentence.contains("speak TLS");
            assert!(silent || finding["detail"].as_str().unwrap().contains(sentence), "{check}: {said}");
        }
        for secret in &self.secrets {
            assert!(!said.contains(secret.as_str()), "a secret is in {said}");
        }
    }

    fn all(name: &str, value: &str) -> Vec<(String, String)> {
        SECTIONS.map(|section| (format!("ROADSTEAD_{section}_{name}"), value.to_owned())).into()
    }
}

/// The port of an address.
fn port(url: &str) -> String {
    url.rsplit_once(':').unwrap().1.chars().take_while(char::is_ascii_digit).collect()
}

/// The services among themselves, and whoever reads figures: with a certificate, or not at all.
async fn members_and_scrapers(mesh: &TestMesh, folder: &Path) {
    let (ca, of) = (folder.join("ca.pem"), |name: &str| {
        (folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem")))
    });
    let showing = |base: &str, name: Option<&str>| {
        let pair = name.map(of);
        Api::showing(base, &ca, pair.as_ref().map(|(chain, key)| (chain.as_path(), key.as_path()))).unwrap()
    };
    let (user, _) = mesh.places("user").unwrap();
    assert_eq!(showing(&user, Some("member")).get("/readyz").await.unwrap().status, 200);
    for stranger in [None, Some("stranger"), Some("server")] {
        assert!(showing(&user, stranger).get("/readyz").await.is_err(), "{stranger:?} was let in");
    }
    assert!(
        Api::new(&user.replacen("https", "http", 1)).unwrap().get("/readyz").await.is_err(),
        "plain HTTP was answered"
    );
    for part in mesh.parts() {
        let (_, figures) = mesh.places(&part).unwrap();
        let shown = figures_text(&figures, &ca, &of("client")).await;
        assert!(shown.contains("roadstead_"), "{part}: {shown}");
        assert!(showing(&figures, None).get("/metrics").await.is_err(), "{part} shows figures to everybody");
    }
    // At the doors nobody sees any without a credential.
    let anybody = mesh.caller(0).unwrap();
    assert_eq!(anybody.get("/metrics").await.unwrap().status, 404);
    assert_eq!(anybody.get("/api/v1/metrics").await.unwrap().status, 401);
    assert_eq!(mesh.owner(0).unwrap().get("/api/v1/metrics").await.unwrap().status, 200);
    // What a container asks itself.
    let (certificate, key) = of("member");
    let files = [&ca, &certificate, &key].map(|file| file.display().to_string());
    let url = format!("{user}/readyz");
    let arguments = ["probe", &url, "--ca-file", &files[0], "--cert-file", &files[1], "--key-file", &files[2]];
    for (arguments, good) in [(&arguments[..], true), (&arguments[..4], false)] {
        let (ended, said) = tokio::task::block_in_place(|| mesh.run_as("user", arguments, &[])).unwrap();
        assert_eq!(ended, good, "{said}");
    }
}

async fn figures_text(base: &str, ca: &Path, own: &(PathBuf, PathBuf)) -> String {
    let answer = Api::showing(base, ca, Some((&own.0, &own.1))).unwrap().stream("/metrics").await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq, postgres, redis"]
async fn a_mesh_speaks_tls_to_its_servers_and_trusts_nobody_else() {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(Layout::Mesh, Tuning::default().with_tls()).await.unwrap();
    // Every service is ready, and a change goes through broker, database and audit.
    mesh.join_token().await.unwrap();
    let state = mesh.servers().unwrap().state().clone();
    let tls = state.tls.clone().unwrap();
    let folder = tls.ca.parent().unwrap().to_owned();
    let file = |name: &str| folder.join(name).display().to_string();
    let secrets =
        [&state.secrets.redis, &state.secrets.services["user"], &state.secrets.mesh].map(String::clone).into();
    let doctor = Doctor { mesh: &mesh, secrets };
    let (good, said) =
        tokio::task::block_in_place(|| mesh.run_as("user", &["doctor", "--service", "user"], &[])).unwrap();
    assert!(good && said.contains("mesh-tls") && !said.contains("warning"), "{said}");
    members_and_scrapers(&mesh, &folder).await;

    doctor.says(&Doctor::all("CA_FILE", &file("other-ca.pem")), "of an authority that is not trusted");
    doctor.says(&Doctor::all("HOST", "localhost"), "is for another name");
    // Servers without TLS, from the run's own set.
    let plain = [
        ("ROADSTEAD_DATABASE_PORT", port(&environment::postgres_url().unwrap())),
        ("ROADSTEAD_RABBITMQ_PORT", state.ports.amqp.to_string()),
        ("ROADSTEAD_REDIS_PORT", state.ports.redis.to_string()),
    ];
    doctor.says(&plain.map(|(name, value)| (name.to_owned(), value)), "does not speak TLS");
    // A client of another authority is let in nowhere; how that is said is the server's choice.
    let mut stranger = Doctor::all("CERT_FILE", &file("stranger.pem"));
    stranger.extend(Doctor::all("KEY_FILE", &file("stranger-key.pem")));
    doctor.says(&stranger, "");
    // Plain addresses do not even start where TLS is asked for.
    let address = format!("redis://:c4nary@127.0.0.1:{}/0", state.ports.redis);
    let plain = [("ROADSTEAD_REDIS_URL", address.as_str()), ("ROADSTEAD_REDIS_PASSWORD_FILE", "")];
    let (good, said) = tokio::task::block_in_place(|| mesh.run_as("user", &["serve", "user"], &plain)).unwrap();
    assert!(!good && said.contains("must begin with rediss://") && !said.contains("c4nary"), "{said}");
    mesh.ready("user", Duration::from_secs(5)).await.unwrap();
    mesh.end();
}
