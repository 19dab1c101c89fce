//! A long log whose reader stops in the middle and goes on after a while: not a byte is lost or changed, the hub holds no more of it
//! than a stream's window, and others are answered meanwhile. CI reads a short one; `cargo xtask campaign logs` a gibibyte.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Layout, TestMesh, Tuning};
use roadstead_testkit::environment;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Person;

/// How long a log is, and for how long its reader stops, when nobody says.
const MEBIBYTES: u64 = 64;
const SECONDS: u64 = 4;
/// The variables that say.
const HOW_LONG: &str = "ROADSTEAD_TEST_LOG_MEBIBYTES";
const HOW_STILL: &str = "ROADSTEAD_TEST_LOG_SECONDS";
const MEBIBYTE: u64 = 1024 * 1024;
/// Bytes of a line as a reader gets it, its end included.
const LINE: usize = 4096;
/// What a process may have more than before: windows of a mebibyte or two, one for each way between two processes, copies of what
/// is in them, and what an allocator keeps (12 MiB were seen). Half of the short log does not fit in.
const GROWTH: u64 = 24 * MEBIBYTE;
/// Others who ask wait no longer, on two cores with a debug build.
const ANSWERED: Duration = Duration::from_secs(5);
/// Between two questions, and between two looks at the memory.
const EVERY: Duration = Duration::from_millis(100);
/// A stream says nothing for so long although there is more.
const SILENCE: Duration = Duration::from_secs(30);
/// A test program that prints nothing for ten minutes counts as hung (`cargo xtask test`).
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Where this happens.
const NAMESPACE: &str = "logbook";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "reads as much as ROADSTEAD_TEST_LOG_MEBIBYTES says; nothing without it; needs kubernetes"]
async fn long_log_through_one_process() {
    if std::env::var_os(HOW_LONG).is_some() {
        let _alone = crate::alone().await;
        let mut mesh = TestMesh::start(Layout::OneProcess, Tuning::default().without_quotas()).await.unwrap();
        mesh.start_agent("quay", None).await.unwrap();
        mesh.status("quay", "connected", JOIN_LIMIT).await.unwrap();
        a_reader_that_stops(&mesh).await.unwrap();
        mesh.end();
    }
}

/// Reads a log up to its middle, stops, and reads on.
pub async fn a_reader_that_stops(mesh: &TestMesh) -> Result<()> {
    let said = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(Ok(otherwise), |text| text.parse().with_context(|| format!("{name} is no number")))
    };
    let (length, still) = (said(HOW_LONG, MEBIBYTES)? * MEBIBYTE, Duration::from_secs(said(HOW_STILL, SECONDS)?));
    let Some(_log) = Log::write(length)? else {
        println!("a log whose reader stops: left out, as a cluster of your own has no simulated pods");
        return Ok(());
    };
    let person = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
    a_pod(&person).await?;
    // On a connection of its own: on a shared one the client's own window would hold up the others.
    let alone = person.http1(mesh).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/hold/log");
    let query = format!("previous=true&follow=true&insecureSkipTLSVerifyBackend=true&limitBytes={length}");
    let processes = processes(mesh)?;
    let before: Vec<u64> = processes.iter().map(|(_, pid)| memory(*pid)).collect::<Result<_>>()?;
    let answer = alone.get(format!("{}{path}?{query}", person.url)).bearer_auth(&person.key).send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    let mut reader = Reader { answer, expected: Expected::default(), told: Instant::now() };

    let (over, told) = watch::channel(false);
    let began = Instant::now();
    let reading = async {
        reader.until(length / 2).await?;
        sleep(still).await;
        let stopped_at = reader.expected.at;
        reader.until(length).await.with_context(|| format!("after a stop at byte {stopped_at}"))?;
        let more = timeout(SILENCE, reader.answer.chunk()).await.context("it does not end")??;
        ensure!(more.is_none() && reader.expected.at == length, "{} bytes of {length}", reader.expected.at);
        over.send_replace(true);
        Ok(())
    };
    let ((), (asked, slowest), most) =
        tokio::try_join!(reading, others(&person, told.clone()), most_memory(&processes, told))?;
    let time = began.elapsed();
    println!(
        "a log of {length} bytes whose reader stopped for {still:?}: {time:.1?}; {asked} others, the slowest {slowest:?}"
    );
    for (((name, _), before), most) in processes.iter().zip(&before).zip(&most) {
        let grown = most.saturating_sub(*before);
        println!("{name}: {} KiB before, {} KiB at most", before / 1024, most / 1024);
        ensure!(grown <= GROWTH, "{name} held {grown} bytes more than before");
    }
    Ok(())
}

/// A pod; which one does not matter, as simulated pods share one log.
async fn a_pod(person: &Person) -> Result<()> {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "hold", "namespace": NAMESPACE },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [namespace, pod] });
    let kubectl = person.kubectl()?;
    let applied = kubectl.feed(&["apply", "-f", "-"], list.to_string().as_bytes()).await?;
    ensure!(applied.code == 0, "{}", applied.err);
    kubectl.ok(&["wait", "-n", NAMESPACE, "pod/hold", "--for=condition=Ready", "--timeout=30s"]).await?;
    Ok(())
}

/// Somebody else, all the while: how often they were answered, and the longest that took.
async fn others(person: &Person, over: watch::Receiver<bool>) -> Result<(u64, Duration)> {
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    while !*over.borrow() {
        let began = Instant::now();
        let asking = async { Ok::<_, anyhow::Error>(person.get("/api/v1/namespaces/default").send().await?.status()) };
        let status = timeout(ANSWERED, asking).await.with_context(|| format!("no answer in {ANSWERED:?}"))??;
        ensure!(status == 200, "{status}");
        (asked, slowest) = (asked + 1, slowest.max(began.elapsed()));
        sleep(EVERY).await;
    }
    Ok((asked, slowest))
}

/// What carries the log: the hub's parts, and the agent.
fn processes(mesh: &TestMesh) -> Result<Vec<(String, u32)>> {
    let mut names = mesh.parts();
    names.push("agent-quay".to_owned());
    names.into_iter().map(|name| Ok((name.clone(), mesh.pid(&name)?))).collect()
}

async fn most_memory(processes: &[(String, u32)], over: watch::Receiver<bool>) -> Result<Vec<u64>> {
    let mut most = vec![0; processes.len()];
    while !*over.borrow() {
        for ((_, pid), most) in processes.iter().zip(&mut most) {
            *most = memory(*pid)?.max(*most);
        }
        sleep(EVERY).await;
    }
    Ok(most)
}

/// What a process holds that is no file (`proc_pid_status(5)`): pages of a program come in as its code runs.
fn memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<u64>()? * 1024)
}

/// Reads and compares.
struct Reader {
    answer: reqwest::Response,
    expected: Expected,
    told: Instant,
}

impl Reader {
    async fn until(&mut self, end: u64) -> Result<()> {
        while self.expected.at < end {
            let chunk = timeout(SILENCE, self.answer.chunk()).await.context("the log went silent")??;
            let chunk = chunk.with_context(|| format!("it ended at byte {} of {end}", self.expected.at))?;
            self.expected.compare(&chunk)?;
            if self.told.elapsed() >= TELL_EVERY {
                crate::tell(format_args!("{} bytes so far", self.expected.at))?;
                self.told = Instant::now();
            }
        }
        Ok(())
    }
}

/// The log as it must come, made line by line: each has its number and is filled differently from the one before.
#[derive(Default)]
struct Expected {
    at: u64,
    line: String,
}

impl Expected {
    fn compare(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let within = usize::try_from(self.at % LINE as u64)?;
            if within == 0 {
                line(self.at / LINE as u64, &mut self.line);
            }
            let wanted = &self.line.as_bytes()[within..];
            let (some, rest) = bytes.split_at(bytes.len().min(wanted.len()));
            ensure!(wanted.starts_with(some), "other bytes came from {} on", self.at);
            self.at += some.len() as u64;
            bytes = rest;
        }
        Ok(())
    }
}

fn line(number: u64, text: &mut String) {
    text.clear();
    // Numbers in a row that never comes again; to write to a string cannot fail.
    let mut next = number;
    while text.len() < LINE - 1 {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = write!(text, "{number:x}-{next:016x} ");
    }
    text.truncate(LINE - 1);
    text.push('\n');
}

/// The log of the pods' last run, which no other test reads, made long for a while.
struct Log {
    file: PathBuf,
    kept: Vec<u8>,
}

impl Log {
    /// `None` where the cluster is not of `tests/kube`.
    fn write(length: u64) -> Result<Option<Self>> {
        use std::io::Write as _;
        let file = environment::kubeconfig()?.with_file_name("logs").join("pods-previous.log");
        if !file.exists() {
            return Ok(None);
        }
        let log = Self { kept: std::fs::read(&file)?, file };
        let (mut out, mut text) = (std::io::BufWriter::new(std::fs::File::create(&log.file)?), String::new());
        for number in 0..length / LINE as u64 {
            line(number, &mut text);
            // The format in which container runtimes keep logs.
            out.write_all(b"2026-01-01T00:00:00.000000000Z stdout F ")?;
            out.write_all(text.as_bytes())?;
        }
        out.flush()?;
        Ok(Some(log))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.file, &self.kept);
    }
}
