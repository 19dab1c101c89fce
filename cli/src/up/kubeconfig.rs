//! What `up` needs to know of a kubeconfig before the agent library reads it: that it is one, and a name for its cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use roadstead_contracts::names::ClusterName;
use serde::Deserialize;

/// Largest kubeconfig that is looked at: with inlined certificates of a hundred clusters they stay below this.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// Longest name of a cluster.
const NAME_MAX: usize = 63;

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "current-context")]
    current_context: Option<String>,
}

/// A cluster to host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosted {
    /// Name for it in the hub.
    pub name: ClusterName,
    /// The kubeconfig, by its full path.
    pub kubeconfig: PathBuf,
}

/// Names a cluster for each file: its current context as a DNS label, with a number where two are the same.
pub fn name_clusters(files: &[PathBuf]) -> Result<Vec<Hosted>> {
    let mut taken = BTreeSet::new();
    files
        .iter()
        .map(|file| {
            let shown = file.display();
            let path = file.canonicalize().with_context(|| format!("there is no kubeconfig {shown}"))?;
            let base = label(&current_context(&path).with_context(|| format!("{shown} is not a usable kubeconfig"))?);
            let mut name = base.clone();
            let mut number = 1;
            while !taken.insert(name.clone()) {
                number += 1;
                name = format!("{base}-{number}");
            }
            let name = ClusterName::parse(&name).with_context(|| format!("{shown} gives no name for its cluster"))?;
            Ok(Hosted { name, kubeconfig: path })
        })
        .collect()
}

fn current_context(path: &Path) -> Result<String> {
    let length = std::fs::metadata(path).context("it cannot be read")?.len();
    ensure!(length <= FILE_MAX, "it is larger than {FILE_MAX} bytes");
    let text = std::fs::read_to_string(path).context("it cannot be read")?;
    // The parser's message may quote the file, tokens and all.
    let head: Head =
        serde_saphyr::from_str(&text).map_err(|_| anyhow::anyhow!("it is not YAML with a current-context"))?;
    head.current_context.filter(|context| !context.is_empty()).context("it has no current-context")
}

/// `kind-one` of `kind-one`, `admin-prod-eu` of `admin@prod.eu`.
fn label(context: &str) -> String {
    let mut out = String::new();
    for character in context.to_lowercase().chars() {
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            out.push(character);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    // Room for `-2` and the like; a label is ASCII by now.
    out.truncate(NAME_MAX - 4);
    let out = out.trim_matches('-').to_owned();
    if ClusterName::parse(&out).is_ok() { out } else { format!("cluster-{out}").trim_matches('-').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_become_names() {
        for (context, name) in [
            ("kind-one", "kind-one"),
            ("admin@Prod.EU", "admin-prod-eu"),
            ("42", "cluster-42"),
            ("☃", "cluster"),
            ("--a--", "a"),
        ] {
            assert_eq!(label(context), name, "{context}");
            ClusterName::parse(&label(context)).unwrap();
        }
        assert!(label(&"x".repeat(300)).len() < NAME_MAX);
    }

    #[test]
    fn two_files_with_one_context_get_two_names() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = ["a", "b"].iter().map(|name| folder.path().join(name)).collect();
        for file in &files {
            std::fs::write(file, "apiVersion: v1\ncurrent-context: same\nusers: []\n").unwrap();
        }
        let hosted = name_clusters(&files).unwrap();
        assert_eq!(hosted.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["same", "same-2"]);
    }

    #[test]
    fn what_is_no_kubeconfig_is_refused_by_name_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad");
        for text in ["", "users: [{token: canary", "current-context: ''", "- canary"] {
            std::fs::write(&file, text).unwrap();
            let fault = format!("{:#}", name_clusters(std::slice::from_ref(&file)).unwrap_err());
            assert!(fault.contains("bad") && !fault.contains("canary"), "{fault}");
        }
        assert!(name_clusters(&[folder.path().join("nowhere")]).is_err());
    }
}
