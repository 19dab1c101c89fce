//! A hub that is not one: it answers what a test says, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::program::roadstead;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub body: Value,
}

impl Asked {
    /// `GET /api/v1/clusters`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap_or_default())
    }

    /// The first value of a query's name.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// An answer: status, `Link`, body.
pub type Answer = (u16, Option<String>, Value);

pub struct FakeHub {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeHub {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let Some(one) = read(&client) else { continue };
                let (status, link, body) = answer(&one);
                kept.lock().unwrap().push(one);
                let link = link.map_or_else(String::new, |link| format!("Link: {link}\r\n"));
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n{link}");
                let body = body.to_string();
                let _ = client.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
            }
        });
        Self { url, asked }
    }

    /// The program as a caller of this hub: nobody is at its standard input.
    pub fn command(&self, home: &Path, arguments: &[&str]) -> Command {
        let mut command = roadstead(home);
        command.args(arguments).env("ROADSTEAD_URL", &self.url).env("ROADSTEAD_API_KEY", "rsk_x").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let home = tempfile::tempdir().unwrap();
        self.command(home.path(), arguments).output().unwrap()
    }

    /// What was asked since the last look.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn read(client: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, target, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// A cluster as the hub shows it.
pub fn cluster(number: usize) -> Value {
    json!({
        "id": format!("00000000-0000-7000-8000-{number:012}"), "seq": number, "name": format!("quay-{number:05}"),
        "status": "connected", "endpoint": "https://10.0.0.1:6443", "created_at": "2026-01-01T00:00:00Z",
        "last_seen_at": null,
    })
}

/// A page of so many clusters, as the hub gives it: its link says nothing of the filter.
pub fn page(asked: &Asked, all: usize) -> Answer {
    let limit: usize = asked.query("limit").unwrap().parse().unwrap();
    let from: usize = asked.query("cursor").map_or(0, |cursor| cursor.strip_prefix("at").unwrap().parse().unwrap());
    let to = (from + limit).min(all);
    let link = (to < all).then(|| format!("</api/v1/clusters?limit={limit}&cursor=at{to}>; rel=\"next\""));
    (200, link, (from..to).map(cluster).collect())
}
