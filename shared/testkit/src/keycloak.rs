//! Keycloak as a real process: from Maven Central, built once for a database in memory, kept in the user's cache folder.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::ports;
use crate::programs::Programs;
use crate::servers::Process;
use crate::servers::packages::{install, on_path};

/// The version that tests run.
const VERSION: &str = "26.0.8";
/// SHA-256 of its archive.
const ARCHIVE: &str = "d82a52098db41f036bcfe8f2ebfd9251781c8af5959af8714e8aa9b311081786";
/// Where Debian keeps Java, which Keycloak needs in version 17 or newer.
const JAVA: &str = "/usr/lib/jvm/java-17-openjdk-amd64";
/// What the name of the folder ends with: another way of building needs another folder.
const BUILD: &str = "mem-1";

/// A Keycloak with nothing but its own realm.
#[derive(Debug)]
pub struct Keycloak {
    /// Where it is.
    pub url: String,
    /// Password of its administrator `admin`.
    pub password: String,
    programs: Programs,
    process: Option<Process>,
    port: u16,
    home: PathBuf,
}

impl Keycloak {
    /// Chooses an address for one, and installs it where it is missing; `folder` keeps its log.
    pub fn prepare(folder: &Path) -> Result<Self> {
        let home = installed()?;
        let [port] = ports::free()?;
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { url, password: random()?, programs: Programs::new(folder)?, process: None, port, home })
    }

    /// Starts it. It is not ready yet: ask for `/realms/master`. What an earlier one had in memory is gone.
    pub fn start(&mut self) -> Result<()> {
        self.process = Some(run(&self.home, self.port, &self.password, &self.programs)?);
        Ok(())
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        self.process.is_some_and(Process::is_alive)
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        self.programs.tail("keycloak")
    }

    /// Ends it as a crash would.
    pub fn kill(&self) -> Result<()> {
        self.process.map_or(Ok(()), Process::kill)
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn run(home: &Path, port: u16, password: &str, programs: &Programs) -> Result<Process> {
    let mut command = java(&home.join("bin/kc.sh"));
    command
        .args([
            "start",
            "--optimized",
            "--http-enabled=true",
            "--http-host=127.0.0.1",
            "--hostname-strict=false",
            "--cache=local",
        ])
        .arg(format!("--http-port={port}"))
        .env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin")
        .env("KC_BOOTSTRAP_ADMIN_PASSWORD", password)
        // It lives for a minute: what starts fast matters, not what runs fast after an hour.
        .env("JAVA_OPTS_KC_HEAP", "-Xms96m -Xmx384m")
        .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1");
    programs.start("keycloak", &mut command)
}

/// The folder of a Keycloak that is ready to run; made where it is not there.
pub fn installed() -> Result<PathBuf> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
    let home = cache.join(format!("keycloak-{VERSION}-{BUILD}"));
    // Two runs at once take turns; the second finds it there.
    let lock = fs::OpenOptions::new().create(true).append(true).open(cache.join("keycloak.lock"))?;
    lock.lock().context("failed to lock the cache")?;
    if home.join("ready").exists() {
        return Ok(home);
    }
    let mut packages = Vec::new();
    for (program, package) in [("java", "openjdk-17-jre-headless"), ("mvn", "maven"), ("unzip", "unzip")] {
        let there = on_path(program).is_some() || (program == "java" && Path::new(JAVA).exists());
        if !there {
            packages.push(package);
        }
    }
    if !packages.is_empty() {
        install(&packages)?;
    }
    eprintln!("fetching Keycloak {VERSION}");
    let partial = cache.join(format!("keycloak.partial-{}", std::process::id()));
    fs::create_dir_all(&partial)?;
    let made = make(&partial, &home);
    let _ = fs::remove_dir_all(&partial);
    made.map(|()| home)
}

fn make(partial: &Path, home: &Path) -> Result<()> {
    let mut fetch = Command::new(on_path("mvn").context("no mvn")?);
    fetch
        .args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"])
        .arg(format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"))
        .arg(format!("-DoutputDirectory={}", partial.display()));
    done(&mut fetch)?;
    let archive = partial.join(format!("keycloak-quarkus-dist-{VERSION}.zip"));
    ensure!(digest(&archive)? == ARCHIVE, "the archive of Keycloak {VERSION} is not the one that it should be");
    done(Command::new("unzip").arg("-q").arg(&archive).arg("-d").arg(partial))?;
    let unpacked = partial.join(format!("keycloak-{VERSION}"));
    let mut build = java(&unpacked.join("bin/kc.sh"));
    build.args(["build", "--db=dev-mem", "--health-enabled=false", "--metrics-enabled=false"]);
    done(&mut build)?;
    fs::write(unpacked.join("ready"), VERSION)?;
    let _ = fs::remove_dir_all(home);
    fs::rename(&unpacked, home).context("failed to put Keycloak into the cache")
}

/// A program of Java's; the system's own, unless that is older than Keycloak needs.
fn java(program: &Path) -> Command {
    let mut command = Command::new(program);
    if Path::new(JAVA).exists() {
        command.env("JAVA_HOME", JAVA);
    }
    command
}

fn done(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("failed to run {name}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        bail!(
            "{name} failed: {}",
            text.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    Ok(())
}

fn digest(file: &Path) -> Result<String> {
    let mut input = fs::File::open(file).context("failed to open the archive")?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1024 * 1024]);
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hex(&hash.finalize()))
}

/// `$XDG_CACHE_HOME/roadstead`, else `~/.cache/roadstead`.
fn cache() -> Result<PathBuf> {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(own.or(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("roadstead"))
}

fn random() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes).context("failed to read randomness")?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
