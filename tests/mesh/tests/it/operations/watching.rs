//! Those who look on: events, a socket, the command line, and the client of the seed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{CLUSTER, Rig, config_map, config_maps};

/// Progress of one operation by both ways: each step once, in order, then the end.
pub async fn progress(rig: &Rig) -> Result<()> {
    let place = rig.made_place("progress").await?;
    let names: Vec<String> = (0..10).map(|number| format!("map-{number}")).collect();
    let id = rig.apply("", &config_maps(&place, &names)).await?;
    let door = rig.mesh.doors.len() - 1;
    let api = rig.mesh.owner(door)?;
    let path = format!("/api/v1/operations/{id}/events");
    let (events, texts) = tokio::try_join!(server_sent(&api, &path), socket(rig, door, &path))?;
    for told in [&events, &texts] {
        let numbers: Vec<i64> = told.iter().filter_map(|event| event["step"]["number"].as_i64()).collect();
        ensure!(numbers == (1..=i64::try_from(numbers.len())?).collect::<Vec<_>>(), "{numbers:?}");
        let objects = told.iter().filter(|event| event["step"]["type"] == "object").count();
        ensure!(objects == names.len(), "{objects} objects are told of");
        let last = told.last().context("nothing was told")?;
        ensure!(last["event"] == "end" && last["operation"]["state"] == "succeeded", "{last}");
    }
    // Taken up again in the middle.
    let later = server_sent(&api.header("last-event-id", "5"), &path).await?;
    let first = later.iter().find_map(|event| event["step"]["number"].as_i64());
    ensure!(first == Some(6), "it goes on at {first:?}");
    Ok(())
}

async fn server_sent(api: &roadstead_mesh_tests::Api, path: &str) -> Result<Vec<Value>> {
    let response = api.stream(path).await?;
    ensure!(response.status() == 200, "{}", response.status());
    let text = response.text().await.context("the stream broke off")?;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).context("an event is no JSON")).collect()
}

async fn socket(rig: &Rig, door: usize, path: &str) -> Result<Vec<Value>> {
    let address = rig.mesh.doors[door].trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).await?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        rig.mesh.api_key
    );
    socket.write_all(head.as_bytes()).await?;
    let mut all = Vec::new();
    socket.read_to_end(&mut all).await?;
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").context("no head")? + 4;
    ensure!(all.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&all[..end]));
    let (mut rest, mut texts) = (&all[end..], Vec::new());
    // Frames of a server are not masked.
    while let [0x81, length, after @ ..] = rest {
        let (length, after) = match length {
            126 => (usize::from(u16::from_be_bytes(after[..2].try_into()?)), &after[2..]),
            127 => (usize::try_from(u64::from_be_bytes(after[..8].try_into()?))?, &after[8..]),
            short => (usize::from(*short), after),
        };
        texts.push(serde_json::from_slice(&after[..length])?);
        rest = &after[length..];
    }
    ensure!(rest.first() == Some(&0x88), "the socket ended without a good-bye");
    Ok(texts)
}

/// The commands that people use, and the exit codes that scripts read.
pub async fn command_line(rig: &Rig) -> Result<()> {
    let place = rig.made_place("commands").await?;
    let file = rig.mesh.folder().join("maps.yaml");
    std::fs::write(&file, config_map(&place, "one", "1"))?;
    let file = file.display().to_string();
    let here = ["-f", file.as_str(), "--cluster", CLUSTER];
    let run = async |arguments: &[&str], more: &[&str]| run(rig, &[arguments, more].concat()).await;

    let would = run(&["diff", "--exit-code"], &here).await?;
    ensure!(would.code == 1 && would.out.contains('+') && would.out.contains("one"), "{would:?}");
    let applied = run(&["apply", "--wait"], &here).await?;
    ensure!(applied.code == 0 && applied.out.contains("created    ConfigMap"), "{applied:?}");
    ensure!(applied.out.contains("succeeded (1 created)") && !applied.out.contains('\u{1b}'), "{applied:?}");
    let same = run(&["diff", "--exit-code"], &here).await?;
    ensure!(same.code == 0, "{same:?}");

    let listed = run(&["ops", "ls", "-o", "json"], &[]).await?;
    let listed: Value = serde_json::from_str(&listed.out)?;
    let newest = listed.as_array().into_iter().flatten().find(|one| one["dry_run"] == false).context("none")?;
    let id = newest["id"].as_str().context("no id")?.to_owned();
    ensure!(newest["payload"]["source"] == "cli", "{newest}");
    let shown = run(&["ops", "get", &id], &[]).await?;
    ensure!(shown.code == 0 && shown.out.contains("Can be undone") && shown.out.contains("ConfigMap"), "{shown:?}");
    let watched = run(&["ops", "watch", &id], &[]).await?;
    ensure!(watched.code == 0 && watched.out.contains("succeeded"), "{watched:?}");
    let late = run(&["ops", "cancel", &id], &[]).await?;
    ensure!(late.code == 1 && late.err.contains("operation_terminal"), "{late:?}");
    let undone = run(&["ops", "undo", &id, "--wait"], &[]).await?;
    ensure!(undone.code == 0, "{undone:?}");

    // One cluster that is there and one that is not: the one is done, the other named, and the code tells.
    let both = run(&["apply", "--wait", "--cluster", "nowhere"], &here).await?;
    ensure!(both.code == 1 && both.err.contains("missing nowhere") && both.out.contains("succeeded"), "{both:?}");
    let none = run(&["apply", "-f", &file], &[]).await?;
    ensure!(none.code == 2, "{none:?}");
    let removed = run(&["delete", "--wait"], &here).await?;
    ensure!(removed.code == 0 && removed.out.contains("deleted"), "{removed:?}");
    Ok(())
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the command line.
pub async fn run(rig: &Rig, arguments: &[&str]) -> Result<Said> {
    let mut command = rig.mesh.client(0, &rig.mesh.api_key)?;
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("failed to run roadstead")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) })
}

/// The call of seed 000's Python client, by the library that it uses: it says JSON and sends a form.
const CALL: &str = r"
import json, os, requests
headers = {'X-API-Key': os.environ['KEY'], 'Content-Type': 'application/json'}
url = os.environ['HUB'] + '/api/v1/clusters/' + os.environ['CLUSTER'] + '/manifests'
response = requests.post(url, headers=headers, files={'manifests': os.environ['MANIFEST']})
print(json.dumps({'status': response.status_code, 'body': response.json()}))
";

pub async fn python(rig: &Rig) -> Result<()> {
    let python = match tokio::task::spawn_blocking(with_requests).await? {
        Ok(python) => python,
        Err(fault) => {
            println!("no Python with requests, not tried: {fault:#}");
            return Ok(());
        }
    };
    let place = rig.made_place("python").await?;
    let mut command = Command::new(python);
    command.args(["-c", CALL]).env("KEY", &rig.mesh.api_key).env("HUB", &rig.mesh.doors[0]).env("CLUSTER", CLUSTER);
    command.env("MANIFEST", config_map(&place, "python", "1")).env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(answer["status"] == 202 && answer["body"]["status"] == "queued", "{answer}");
    rig.ended(answer["body"]["operation_id"].as_str().context("no operation")?, "succeeded").await?;
    ensure!(super::cluster::value(rig, &place, "python").await?.as_deref() == Some("1"));
    Ok(())
}

/// A Python with requests: the machine's own, or one in a virtual environment in the user's cache folder, made once.
fn with_requests() -> Result<PathBuf> {
    let works = |python: &Path| {
        let tried = Command::new(python).args(["-c", "import requests"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let own = PathBuf::from("python3");
    if works(&own) {
        return Ok(own);
    }
    let home = std::env::var_os("HOME").context("no home")?;
    let folder = Path::new(&home).join(".cache/roadstead/requests-2.34");
    let python = folder.join("bin/python");
    if !works(&python) {
        for (program, arguments) in [
            (own.as_path(), vec!["-m".into(), "venv".into(), folder.clone().into_os_string()]),
            (python.as_path(), ["-m", "pip", "install", "--quiet", "requests"].map(Into::into).to_vec()),
        ] {
            let output = Command::new(program).args(&arguments).output()?;
            if !output.status.success() {
                bail!("{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    Ok(python)
}
