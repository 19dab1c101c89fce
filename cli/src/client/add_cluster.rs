//! `roadstead clusters add` and `clusters connection`: clusters that the hub reaches by itself.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::hub::{Hub, segment};
use super::output::{Output, plain};
use crate::args::kube::{AddArgs, ConnectionArgs, SourceArgs};

/// Largest file that is read: kubeconfigs of a hundred clusters stay below this.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Runs `clusters add`.
pub(super) async fn add(hub: &mut Hub, args: &AddArgs, output: Output) -> Result<()> {
    let connection = connection(&args.source)?;
    let labels: Map<String, Value> =
        args.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let body = json!({
        "name": args.name,
        "description": args.description,
        "labels": labels,
        "mode": "direct",
        "profile": args.profile,
        "namespaces": args.namespaces,
        "connection": connection,
    });
    let made: Value = hub.exchange(Method::POST, "/api/v1/clusters", &body).await?;
    output.print(&made, |made| reached(made, "added, reached at"))
}

/// Runs `clusters connection`.
pub(super) async fn reconnect(hub: &mut Hub, args: &ConnectionArgs, output: Output) -> Result<()> {
    let body = Value::Object(connection(&args.source)?);
    let path = format!("/api/v1/clusters/{}/connection", segment(&args.cluster));
    let changed: Value = hub.exchange(Method::PUT, &path, &body).await?;
    output.print(&changed, |changed| reached(changed, "is from now on reached at"))
}

fn reached(cluster: &Value, how: &str) -> String {
    let text = |name: &str| plain(cluster[name].as_str().unwrap_or("-"));
    let (name, endpoint) = (text("name"), text("endpoint"));
    format!("cluster {name} {how} {endpoint}\nLook with `roadstead clusters get {name}` whether the hub gets through.")
}

/// The connection in the hub's words.
fn connection(args: &SourceArgs) -> Result<Map<String, Value>> {
    let mut connection = Map::new();
    let mut set = |name: &str, value: Value| connection.insert(name.to_owned(), value);
    if let Some(file) = &args.kubeconfig {
        set("auth_method", "kubeconfig".into());
        set("kubeconfig", one_context(file, args.context.as_deref())?.to_string().into());
    } else if let Some(server) = &args.server {
        set("auth_method", "token".into());
        set("api_server_url", server.clone().into());
        if let Some(file) = &args.token_file {
            set("service_account_token", text(file)?.trim().to_owned().into());
        }
        let files =
            [("ca_data", &args.ca_file), ("cert_data", &args.client_certificate), ("key_data", &args.client_key)];
        let mut tls = Map::new();
        for (name, file) in files {
            if let Some(file) = file {
                tls.insert(name.to_owned(), text(file)?.into());
            }
        }
        if let Some(name) = &args.tls_server_name {
            tls.insert("server_name".to_owned(), name.clone().into());
        }
        set("tls_config", tls.into());
    } else {
        set("auth_method", "in_cluster".into());
    }
    if let Some(qps) = args.qps {
        set("qps", qps.into());
    }
    if let Some(burst) = args.burst {
        set("burst", burst.into());
    }
    if let Some(timeout) = &args.timeout {
        set("timeout", timeout.clone().into());
    }
    Ok(connection)
}

/// One context of a kubeconfig, with the files that it names put into it: they are on this machine, not on the hub's.
fn one_context(file: &Path, context: Option<&str>) -> Result<Value> {
    let shown = file.display();
    // The parser's message may quote the file, tokens and all.
    let whole: Value = serde_saphyr::from_str(&text(file)?).map_err(|_| anyhow::anyhow!("{shown} is not YAML"))?;
    let wanted = context.or_else(|| whole["current-context"].as_str()).filter(|name| !name.is_empty());
    let wanted = wanted.with_context(|| format!("{shown} has no current-context: name one with --context"))?;
    let entry = |list: &str, name: &str| {
        let found = whole[list].as_array().into_iter().flatten().find(|entry| entry["name"] == name).cloned();
        found.with_context(|| format!("{shown} has no {list} entry {name}"))
    };
    let context = entry("contexts", wanted)?;
    let named = |what: &str| context["context"][what].as_str().map(str::to_owned);
    let mut cluster = entry("clusters", &named("cluster").context("the context names no cluster")?)?;
    let mut user = entry("users", &named("user").context("the context names no user")?)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    put_in(&mut cluster["cluster"], "certificate-authority", "certificate-authority-data", folder)?;
    put_in(&mut user["user"], "client-certificate", "client-certificate-data", folder)?;
    put_in(&mut user["user"], "client-key", "client-key-data", folder)?;
    if let Some(name) = user["user"]["tokenFile"].as_str().map(|name| folder.join(name)) {
        user["user"]["token"] = text(&name)?.trim().to_owned().into();
        if let Some(fields) = user["user"].as_object_mut() {
            fields.remove("tokenFile");
        }
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": wanted,
        "clusters": [cluster],
        "users": [user],
        "contexts": [context],
    }))
}

fn put_in(entry: &mut Value, file: &str, data: &str, folder: &Path) -> Result<()> {
    let Some(fields) = entry.as_object_mut() else { return Ok(()) };
    if let Some(name) = fields.remove(file) {
        let path: PathBuf = folder.join(name.as_str().context("a file's name must be a text")?);
        let content = text(&path)?;
        // kubectl takes the data where both are there.
        fields.entry(data).or_insert_with(|| STANDARD.encode(content).into());
    }
    Ok(())
}

fn text(file: &Path) -> Result<String> {
    let shown = file.display();
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_MAX).read_to_string(&mut text).context("nothing on standard input")?;
        return Ok(text);
    }
    let opened = std::fs::File::open(file).with_context(|| format!("failed to read {shown}"))?;
    opened.take(FILE_MAX + 1).read_to_string(&mut text).with_context(|| format!("failed to read {shown}"))?;
    ensure!(text.len() as u64 <= FILE_MAX, "{shown} is larger than {FILE_MAX} bytes");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_context_is_taken_and_its_files_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", "CA");
        write("token", "canary\n");
        write(
            "config",
            "current-context: other\n\
             clusters: [{name: c, cluster: {server: 'https://a', certificate-authority: ca.pem}}]\n\
             users: [{name: u, user: {tokenFile: token}}, {name: w, user: {token: second}}]\n\
             contexts: [{name: mine, context: {cluster: c, user: u}}]\n",
        );
        let file = folder.path().join("config");
        let one = one_context(&file, Some("mine")).unwrap();
        assert_eq!(one["users"][0]["user"], json!({"token": "canary"}));
        assert_eq!(one["clusters"][0]["cluster"]["certificate-authority-data"], STANDARD.encode("CA"));
        assert!(!one.to_string().contains("second"), "other users stay here");
        let fault = format!("{:#}", one_context(&file, None).unwrap_err());
        assert!(fault.contains("other") && !fault.contains("canary"), "{fault}");
    }
}
