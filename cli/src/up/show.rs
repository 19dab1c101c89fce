//! What `up` prints on a terminal.

use std::io::Write as _;
use std::path::Path;

use anyhow::Result;

use super::Ready;

pub(super) fn show(ready: &Ready, folder: &Path, remarks: &[String]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text(ready, folder, remarks).as_bytes())?;
    out.flush()?;
    Ok(())
}

fn text(ready: &Ready, folder: &Path, remarks: &[String]) -> String {
    let mut lines = vec![
        String::new(),
        "Roadstead is running.".to_owned(),
        String::new(),
        format!("  Hub       {}", ready.url),
        format!("  Agents    {}", ready.agent_url),
    ];
    lines.extend(ready.kubernetes_url.iter().map(|url| format!("  Kubectl   {url}/k/CLUSTER")));
    lines.push(format!("  Data      {}", folder.display()));
    lines.extend(remarks.iter().map(|remark| format!("  Note      {remark}")));
    if let Some(admin) = &ready.admin {
        lines.push(String::new());
        lines.push("First start. What follows is shown once:".to_owned());
        lines.push(String::new());
        lines.push(format!("  User      {}", admin.username));
        lines.push(format!("  Password  {}", admin.password));
        if let Some(key) = &ready.api_key {
            lines.push(format!("  API key   {key}"));
        }
        lines.push(String::new());
        lines.push("Log in:".to_owned());
        lines.push(format!("  roadstead login --url {} --username {}", ready.url, admin.username));
    }
    if let Some(token) = &ready.join_token {
        lines.push(String::new());
        lines.push("Let a cluster join, where its kubeconfig is:".to_owned());
        lines.push(format!("  roadstead-agent run --hub {} --join {token} --name NAME", ready.agent_url));
    }
    lines.push(String::new());
    lines.push("Ctrl-C stops it.".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::Admin;

    #[test]
    fn later_starts_show_no_secret() {
        let mut ready = Ready {
            url: "http://127.0.0.1:8008".to_owned(),
            agent_url: "http://127.0.0.1:8007".to_owned(),
            kubernetes_url: Some("https://127.0.0.1:8443".to_owned()),
            ca_file: None,
            admin: Some(Admin { username: "owner".to_owned(), password: "one-time".to_owned() }),
            api_key: Some("rsk_x".to_owned()),
            join_token: Some("rsj_x".to_owned()),
        };
        let first = text(&ready, Path::new("/data"), &[]);
        for part in ["one-time", "rsk_x", "--join rsj_x", "http://127.0.0.1:8008"] {
            assert!(first.contains(part), "{part}");
        }
        (ready.admin, ready.api_key, ready.join_token) = (None, None, None);
        let later = text(&ready, Path::new("/data"), &["a remark".to_owned()]);
        assert!(later.contains("http://127.0.0.1:8008") && later.contains("a remark") && !later.contains("Password"));
    }
}
