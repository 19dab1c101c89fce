//! Starts, kills and restarts the programs of a hub and its agents.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_testkit::pki::Pki;
use roadstead_testkit::programs::Programs;
use roadstead_testkit::servers::{Process, Server, Servers};
use roadstead_testkit::wait::eventually;
use roadstead_testkit::{environment, ports};
use serde_json::{Value, json};

use crate::api::Api;
use crate::balancer::Balancer;
use crate::layout::{self, BOOTSTRAP, Layout, Part, Plan, Tuning};
use crate::program::{program, program_within};
use crate::strait::Strait;
use crate::tls;

/// A process that is not ready after this long has failed; two cores may be building something else.
pub const READY_LIMIT: Duration = Duration::from_secs(90);
/// The same for an agent that joins or comes back; how soon it must be is the main job's to say.
pub const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// `NAME:N`: a process of a debug build dies when it passes that point for the Nth time (`runtime::kill`).
pub const KILL: &str = "ROADSTEAD_TEST_KILL";
/// A seed: a process of a debug build sends its messages more than once and out of turn (`bus::unruly`).
pub const UNRULY: &str = "ROADSTEAD_TEST_UNRULY";
/// Password of the admin that a mesh begins with.
const PASSWORD: &str = "correct horse battery staple 9";

/// A running hub. Dropping it stops everything.
#[derive(Debug)]
pub struct TestMesh {
    /// How it is run.
    pub layout: Layout,
    /// The front doors, one per replica.
    pub doors: Vec<String>,
    /// The agents' doors, one per replica.
    pub agent_doors: Vec<String>,
    /// The one address that agents are told.
    pub agent_url: String,
    /// Name and password of the first admin.
    pub admin: (String, String),
    /// An API key of the first admin.
    pub api_key: String,
    folder: PathBuf,
    programs: Programs,
    parts: BTreeMap<String, Part>,
    processes: BTreeMap<String, Process>,
    agents: BTreeMap<String, Command>,
    servers: Option<Servers>,
    strait: Option<Strait>,
    memory: Option<u64>,
    _balancer: Balancer,
    ended: bool,
}

impl TestMesh {
    /// Starts a hub and its first admin.
    pub async fn start(layout: Layout, tuning: Tuning) -> Result<Self> {
        let folder = own_folder()?;
        let agents: [u16; 2] = ports::free()?;
        let backends = match layout {
            Layout::OneProcess => &agents[1..],
            Layout::Mesh => &agents[..],
        };
        let balancer =
            Balancer::start(backends.iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).collect())
                .await?;
        let mut strait = None;
        let (servers, plan) = match layout {
            Layout::OneProcess => {
                let [door] = ports::free()?;
                (None, layout::one_process(&folder, &tuning, [door, agents[1]]))
            }
            Layout::Mesh => {
                let (home, certificates, tls) = (folder.join("servers"), folder.join("tls"), tuning.tls);
                let (servers, pki) = tokio::task::spawn_blocking(move || {
                    if !tls {
                        return Ok::<_, anyhow::Error>((Servers::up(&home)?, None));
                    }
                    let pki = Pki::make(&certificates)?;
                    Ok((Servers::up_with_tls(&home, &pki)?, Some(pki)))
                })
                .await??;
                let mut tuning =
                    pki.iter().fold(tuning.clone(), |tuning, pki| tls::settings(tuning, servers.state(), pki));
                if tuning.strait {
                    let way = Strait::start(servers.state().ports.postgres).await?;
                    tuning = tuning.with("ROADSTEAD_DATABASE_PORT", &way.port().to_string());
                    strait = Some(way);
                }
                let plan = layout::mesh(&folder, servers.state(), &tuning, &balancer.url(), agents)?;
                (Some(servers), plan)
            }
        };
        let Plan { parts, doors, agent_doors } = plan;
        let mut mesh = Self {
            layout,
            doors,
            agent_doors: agent_doors.iter().map(|port| format!("http://127.0.0.1:{port}")).collect(),
            agent_url: balancer.url(),
            admin: (String::new(), String::new()),
            api_key: String::new(),
            programs: Programs::new(&folder)?,
            folder,
            parts: parts.into_iter().map(|part| (part.name.clone(), part)).collect(),
            processes: BTreeMap::new(),
            agents: BTreeMap::new(),
            servers,
            strait,
            memory: tuning.memory,
            _balancer: balancer,
            ended: false,
        };
        let names: Vec<String> = mesh.parts.keys().cloned().collect();
        for name in &names {
            mesh.start_part(name)?;
        }
        for name in &names {
            mesh.ready(name, READY_LIMIT).await?;
        }
        mesh.first_admin().await?;
        Ok(mesh)
    }

    /// The names of the hub's processes.
    pub fn parts(&self) -> Vec<String> {
        self.parts.keys().cloned().collect()
    }

    /// A caller without a credential, at a front door.
    pub fn caller(&self, door: usize) -> Result<Api> {
        Api::new(self.doors.get(door).context("no such door")?)
    }

    /// The first admin by API key, at a front door.
    pub fn owner(&self, door: usize) -> Result<Api> {
        Ok(self.caller(door)?.key(&self.api_key))
    }

    /// Starts a part of the hub, not waiting for it.
    pub fn start_part(&mut self, name: &str) -> Result<()> {
        self.start_part_with(name, None)
    }

    /// The same with one more variable.
    pub fn start_part_with(&mut self, name: &str, variable: Option<(&str, &str)>) -> Result<()> {
        let part = self.parts.get(name).with_context(|| format!("no part {name}"))?;
        let mut command = program_within("roadstead", self.memory)?;
        command.args(&part.arguments).envs(part.environment.iter().map(|(name, value)| (name, value))).envs(variable);
        let process = self.programs.start(name, &mut command)?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// `kill -9` for a part or an agent.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.processes.get(name).with_context(|| format!("no process {name}"))?.kill()
    }

    /// Whether a part or an agent runs.
    pub fn is_alive(&self, name: &str) -> bool {
        self.processes.get(name).is_some_and(|process| process.is_alive())
    }

    /// The process ids of the hub's parts.
    pub fn pids(&self) -> Vec<u32> {
        self.parts.keys().filter_map(|name| self.processes.get(name)).map(|process| process.pid).collect()
    }

    /// The process id of a part or an agent.
    pub fn pid(&self, name: &str) -> Result<u32> {
        Ok(self.processes.get(name).with_context(|| format!("no process {name}"))?.pid)
    }

    /// Waits until a part says that it is ready, or is dead: then `false`.
    pub async fn ready_or_dead(&self, name: &str, limit: Duration) -> Result<bool> {
        let api = self.parts.get(name).with_context(|| format!("no part {name}"))?.api()?;
        let (ready, _) = eventually(&format!("{name} is ready or dead"), limit, || async {
            if !self.is_alive(name) {
                return Ok(false);
            }
            let answer = api.get("/readyz").await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
            Ok::<_, anyhow::Error>(true)
        })
        .await?;
        Ok(ready)
    }

    /// Waits until a part says that it is ready; answers how long that took.
    pub async fn ready(&self, name: &str, limit: Duration) -> Result<Duration> {
        let part = self.parts.get(name).with_context(|| format!("no part {name}"))?;
        let api = part.api()?;
        let ((), time) = eventually(&format!("{name} is ready"), limit, || async {
            for part in self.parts.keys() {
                let alive = self.processes.get(part).is_none_or(|process| process.is_alive());
                ensure!(alive || part != name, "it ended:\n{}", self.programs.tail(part));
            }
            let answer = api.get("/readyz").await?;
            ensure!(answer.status == 200, "{} {}\n{}", answer.status, answer.body, self.programs.tail(name));
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(time)
    }

    /// The program with the settings of a part and what is set otherwise, run to its end: everything it printed. An empty
    /// value takes a setting away.
    pub fn run_as(&self, part: &str, arguments: &[&str], otherwise: &[(&str, &str)]) -> Result<(bool, String)> {
        let part = self.parts.get(part).with_context(|| format!("no part {part}"))?;
        let mut command = program("roadstead")?;
        command.args(arguments).envs(part.environment.iter().map(|(name, value)| (name, value)));
        let output = command.envs(otherwise.iter().copied()).output().context("failed to run roadstead")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// What a part says of itself: status and body of `/readyz`.
    pub async fn readiness(&self, name: &str) -> Result<crate::Answer> {
        let part = self.parts.get(name).with_context(|| format!("no part {name}"))?;
        part.api()?.get("/readyz").await
    }

    /// Where a part's own door is, and where its listener for figures.
    pub fn places(&self, name: &str) -> Result<(String, String)> {
        let part = self.parts.get(name).with_context(|| format!("no part {name}"))?;
        Ok((part.url.clone(), format!("https://127.0.0.1:{}", part.variable("ROADSTEAD_METRICS_PORT")?)))
    }

    /// The way to PostgreSQL, where one was asked for.
    pub fn strait(&self) -> Result<&Strait> {
        self.strait.as_ref().context("this mesh has no strait")
    }

    /// The servers under a mesh.
    pub fn servers(&mut self) -> Result<&mut Servers> {
        self.servers.as_mut().context("one process has no servers")
    }

    /// Ends one of the servers as a crash would.
    pub fn kill_server(&mut self, server: Server) -> Result<()> {
        self.servers()?.kill(server)
    }

    /// `kill` for a part or an agent: it may finish.
    pub fn terminate(&self, name: &str) -> Result<()> {
        self.processes.get(name).with_context(|| format!("no process {name}"))?.signal("TERM")
    }

    /// A folder for files of the test, gone with the mesh.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The `roadstead` program as somebody with an API key calls it, at a front door.
    pub fn client(&self, door: usize, api_key: &str) -> Result<Command> {
        let mut command = program("roadstead")?;
        command
            .env("ROADSTEAD_URL", self.doors.get(door).context("no such door")?)
            .env("ROADSTEAD_API_KEY", api_key)
            .env("ROADSTEAD_CONFIG", self.folder.join("no-profile.json"));
        Ok(command)
    }

    /// Makes a join token.
    pub async fn join_token(&self) -> Result<String> {
        let made = self.owner(0)?.post("/api/v1/join-tokens", &json!({ "uses": 1, "lifetime_seconds": 3600 })).await?;
        let made = made.expect(201)?;
        Ok(made["token"].as_str().context("no token")?.to_owned())
    }

    /// Starts an agent for a cluster of that name; `door` pins it to one replica.
    pub async fn start_agent(&mut self, name: &str, door: Option<usize>) -> Result<()> {
        let url = match door {
            Some(number) => self.agent_doors.get(number).context("no such door")?.clone(),
            None => self.agent_url.clone(),
        };
        self.start_agent_at(name, &url).await
    }

    /// Starts one that finds the hub at an address of the test's.
    pub async fn start_agent_at(&mut self, name: &str, url: &str) -> Result<()> {
        let token = self.join_token().await?;
        let mut command = program("roadstead-agent")?;
        command
            .args(["run", "--hub", url, "--name", name])
            .arg("--kubeconfig")
            .arg(environment::kubeconfig()?)
            .arg("--state")
            .arg(self.folder.join(format!("agent-{name}")))
            .env("ROADSTEAD_JOIN_TOKEN", token)
            // Several agents on one machine cannot all have 8081.
            .env("ROADSTEAD_AGENT_SERVER_PORT", "0");
        self.agents.insert(name.to_owned(), command);
        self.restart_agent(name)
    }

    /// Starts an agent again that joined before: with the key it kept.
    pub fn restart_agent(&mut self, name: &str) -> Result<()> {
        self.restart_agent_with(name, None)
    }

    /// The same with one more variable, this time only.
    pub fn restart_agent_with(&mut self, name: &str, variable: Option<(&str, &str)>) -> Result<()> {
        let command = self.agents.get_mut(name).with_context(|| format!("no agent {name}"))?;
        for given in [KILL, UNRULY] {
            command.env_remove(given);
        }
        command.envs(variable);
        let process = self.programs.start(&format!("agent-{name}"), command)?;
        self.processes.insert(format!("agent-{name}"), process);
        Ok(())
    }

    /// The cluster of that name, as the first admin sees it.
    pub async fn cluster(&self, name: &str) -> Result<Value> {
        self.owner(0)?.get(&format!("/api/v1/clusters/{name}")).await?.expect(200)
    }

    /// Waits until a cluster is in a state; answers how long that took.
    pub async fn status(&self, name: &str, status: &str, limit: Duration) -> Result<Duration> {
        let ((), time) = eventually(&format!("{name} is {status}"), limit, || async {
            let cluster = self.cluster(name).await?;
            let log = self.programs.tail(&format!("agent-{name}"));
            ensure!(cluster["status"] == status, "it is {}\n{log}", cluster["status"]);
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(time)
    }

    /// The id of a cluster's connected agent.
    pub async fn agent_id(&self, cluster: &str) -> Result<String> {
        let agents = self.owner(0)?.get("/api/v1/agents?connected=true&limit=1000").await?.expect(200)?;
        let agent = agents.as_array().into_iter().flatten().find(|agent| agent["cluster_name"] == cluster);
        let agent = agent.with_context(|| format!("no agent of {cluster} is connected: {agents}"))?;
        Ok(agent["agent_id"].as_str().context("an agent without an id")?.to_owned())
    }

    /// A program's last lines, for a failure's report.
    pub fn tail(&self, name: &str) -> String {
        self.programs.tail(name)
    }

    /// How often a program died at a named point, over all its starts: its own last words.
    pub fn died_at(&self, name: &str, point: &str) -> usize {
        self.programs.lines(name, &format!("dies at the point {point}"))
    }

    async fn first_admin(&mut self) -> Result<()> {
        match self.layout {
            Layout::OneProcess => {
                let file = self.folder.join("ready.json");
                let (ready, _) = eventually("the ready file is there", READY_LIMIT, || async {
                    let text = fs::read(&file).context("no ready file")?;
                    serde_json::from_slice::<Value>(&text).context("not complete")
                })
                .await?;
                let text = |pointer: &str| {
                    let value = ready.pointer(pointer).and_then(Value::as_str);
                    value.map(str::to_owned).with_context(|| format!("the ready file has no {pointer}"))
                };
                self.admin = (text("/admin/username")?, text("/admin/password")?);
                self.api_key = text("/api_key")?;
            }
            Layout::Mesh => {
                let caller = self.caller(0)?;
                let body = json!({ "username": "owner", "email": "owner@example.com", "password": PASSWORD });
                let first = caller.header("x-bootstrap-token", BOOTSTRAP);
                first.post("/api/v1/auth/register", &body).await?.expect(201)?;
                self.admin = ("owner".into(), PASSWORD.into());
                let token = self.login().await?;
                self.api_key = create_api_key(&caller.token(&token), "tests").await?.1;
            }
        }
        Ok(())
    }

    /// Signs the first admin in; answers the access token.
    pub async fn login(&self) -> Result<String> {
        let body = json!({ "username": self.admin.0, "password": self.admin.1 });
        let answer = self.caller(0)?.post("/api/v1/auth/login", &body).await?.expect(200)?;
        Ok(answer["access_token"].as_str().context("no access token")?.to_owned())
    }
}

/// Makes an API key; answers its number and the key.
pub async fn create_api_key(api: &Api, name: &str) -> Result<(Value, String)> {
    let answer = api.post("/api-keys/", &json!({ "key_name": name })).await?;
    ensure!(matches!(answer.status, 200 | 201), "answered {}: {}", answer.status, answer.body);
    let key = answer.body["api_key"].as_str().context("no key")?.to_owned();
    Ok((answer.body["id"].clone(), key))
}

impl TestMesh {
    /// Ends well. A hub that is dropped otherwise shows the end of its logs.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for TestMesh {
    fn drop(&mut self) {
        let stopped = Programs::stop_all(&self.folder);
        let down = self.servers.take().map_or(Ok(()), Servers::down);
        if !self.ended {
            for name in self.processes.keys() {
                eprintln!("--- {name}\n{}", self.programs.tail(name));
            }
            eprintln!("--- all logs are in {}", self.folder.display());
        } else if stopped.is_ok() && down.is_ok() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn own_folder() -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = environment::folder().join(format!("mesh-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    Ok(folder)
}
