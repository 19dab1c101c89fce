//! The API server's audit log: every call that may have changed something.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::Effect;

/// The part of an audit event (audit.k8s.io/v1) that counts here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(default)]
    impersonated_user: Option<User>,
    #[serde(default)]
    object_ref: Option<Reference>,
    #[serde(default)]
    response_status: Option<Status>,
    #[serde(default, rename = "requestURI")]
    uri: String,
    #[serde(default, rename = "requestReceivedTimestamp")]
    at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// A place in the API server's audit log: what was written before does not count.
#[derive(Debug, Clone)]
pub struct AuditLog {
    file: PathBuf,
    /// Which file that was: the API server begins a new one when it has become long.
    inode: u64,
    from: u64,
}

impl AuditLog {
    /// From now on; none where the cluster is somebody's own and its log is elsewhere.
    pub fn from_now(kubeconfig: &Path) -> Option<Self> {
        let file = kubeconfig.parent()?.join("audit.log");
        let now = std::fs::metadata(&file).ok()?;
        Some(Self { inode: now.ino(), from: now.len(), file })
    }

    /// What to read, and from where.
    fn places(&self) -> Result<Vec<(PathBuf, u64)>> {
        if std::fs::metadata(&self.file).context("no audit log")?.ino() == self.inode {
            return Ok(vec![(self.file.clone(), self.from)]);
        }
        for entry in std::fs::read_dir(self.file.parent().context("no folder")?)? {
            let entry = entry?;
            if entry.metadata()?.ino() == self.inode {
                return Ok(vec![(entry.path(), self.from), (self.file.clone(), 0)]);
            }
        }
        bail!("the audit log was begun anew more than once meanwhile")
    }

    /// Calls since then that change objects of these kinds in a namespace. Dry runs are none.
    pub async fn effects(&self, namespace: &str, resources: &[&str]) -> Result<Vec<Effect>> {
        let mut text = String::new();
        for (file, from) in self.places()? {
            let mut file = tokio::fs::File::open(file).await.context("no audit log")?;
            file.seek(std::io::SeekFrom::Start(from)).await?;
            file.read_to_string(&mut text).await.context("the audit log was cut meanwhile")?;
        }
        Ok(effects(&text, namespace, resources))
    }
}

/// Reads lines of an audit log.
fn effects(text: &str, namespace: &str, resources: &[&str]) -> Vec<Effect> {
    let changing = ["create", "update", "patch", "delete", "deletecollection"];
    let one = |line: &str| {
        let event: Event = serde_json::from_str(line).ok()?;
        let object = event.object_ref?;
        let counts = changing.contains(&event.verb.as_str())
            && object.namespace == namespace
            && resources.contains(&object.resource.as_str())
            && !event.uri.contains("dryRun=");
        counts.then(|| Effect {
            verb: event.verb,
            below: object.subresource,
            name: object.name,
            user: event.impersonated_user.unwrap_or(event.user).username,
            code: event.response_status.map_or(0, |status| status.code),
            at: event.at,
        })
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long campaign outlives a file of the log: what it had done until then seemed never to have happened.
    #[tokio::test]
    async fn regression_a_log_that_is_begun_anew_is_read_on() {
        let folder = std::env::temp_dir().join(format!("roadstead-audit-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, line) = (folder.join("audit.log"), |name: &str| {
            format!(
                "{{\"verb\":\"patch\",\"user\":{{}},\"objectRef\":{{\"resource\":\"configmaps\",\"namespace\":\"n\",\
                 \"name\":\"{name}\"}}}}\n"
            )
        });
        std::fs::write(&file, line("before")).unwrap();
        let log = AuditLog::from_now(&folder.join("kubeconfig")).unwrap();
        std::fs::write(&file, line("before") + &line("old")).unwrap();
        std::fs::rename(&file, folder.join("audit-2026-11-21T22-00-00.000.log")).unwrap();
        std::fs::write(&file, line("new")).unwrap();
        let names = log.effects("n", &["configmaps"]).await.unwrap().into_iter().map(|effect| effect.name);
        assert_eq!(names.collect::<Vec<_>>(), ["old", "new"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_audit_log_is_read() {
        const USER: &str = "roadstead:owner";
        let line = |extra: &str| {
            format!(
                "{{\"kind\":\"Event\",\"verb\":\"patch\",\"user\":{{\"username\":\"agent\"}},\"requestURI\":\"/x{extra}\",\
                 \"impersonatedUser\":{{\"username\":\"{USER}\"}},\"objectRef\":{{\"resource\":\"configmaps\",\
                 \"namespace\":\"n\",\"name\":\"a\",\"subresource\":\"scale\"}},\"responseStatus\":{{\"code\":201}},\"requestReceivedTimestamp\":\"2026-11-21T19:00:00.500000Z\"}}"
            )
        };
        let text = format!("{}\n{}\nnonsense\n{{\"verb\":\"get\",\"user\":{{}}}}\n", line(""), line("?dryRun=All"));
        let one = Effect {
            verb: "patch".to_owned(),
            below: "scale".to_owned(),
            name: "a".to_owned(),
            user: USER.to_owned(),
            code: 201,
            at: "2026-11-21T19:00:00.5Z".parse().unwrap(),
        };
        assert_eq!(effects(&text, "n", &["secrets", "configmaps"]), [one]);
        assert!(effects(&text, "m", &["configmaps"]).is_empty() && effects(&text, "n", &["secrets"]).is_empty());
    }
}
