//! Verbs and flags: what of kubectl is carried out here.

use super::flags::Line;
use super::{Scope, Told, said, words};

/// Verbs, for whoever used another.
const VERBS: &str = "get, list, describe, logs, delete, scale, rollout restart, version";
/// Most objects that one command names.
const TARGETS_MAX: usize = 32;
/// Most lines of a log.
const TAIL_MAX: u32 = 100_000;
/// Most copies that something is scaled to.
const REPLICAS_MAX: u32 = 10_000;

/// A command that can be carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Get(Get),
    Describe(Describe),
    Logs(Logs),
    Delete(Delete),
    Scale(Scale),
    Restart(Restart),
    Version,
}

/// A kind as it is spelt, and the object when one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Get {
    pub(crate) targets: Vec<Target>,
    pub(crate) scope: Scope,
    pub(crate) selector: Option<String>,
    pub(crate) fields: Option<String>,
    pub(crate) output: Output,
    pub(crate) sort_by: Option<String>,
    pub(crate) show_labels: bool,
    pub(crate) headers: bool,
    pub(crate) ignore_not_found: bool,
}

/// How what was found is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Table { wide: bool },
    Json,
    Yaml,
    Name,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Describe {
    pub(crate) targets: Vec<Target>,
    pub(crate) scope: Scope,
    pub(crate) selector: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) pod: String,
    pub(crate) namespace: String,
    pub(crate) container: Option<String>,
    pub(crate) tail: Option<u32>,
    pub(crate) since: Option<u64>,
    pub(crate) previous: bool,
    pub(crate) timestamps: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) targets: Vec<Target>,
    pub(crate) namespace: String,
    pub(crate) grace: Option<u32>,
    pub(crate) ignore_not_found: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) targets: Vec<Target>,
    pub(crate) namespace: String,
    pub(crate) replicas: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    pub(crate) targets: Vec<Target>,
    pub(crate) namespace: String,
}

impl Command {
    /// Reads a line; with it comes the line as it may be shown.
    pub(crate) fn read(line: &str) -> Told<(Self, String)> {
        let words = words::split(line)?;
        let shown = words::join(&words);
        let mut words = words.into_iter();
        if words.next().as_deref() != Some("kubectl") {
            return said("error: only kubectl is carried out; the command must begin with it");
        }
        let mut line = Line::read(words)?;
        if line.plain.is_empty() {
            return said(format!("error: a verb is missing: {VERBS}"));
        }
        let verb = line.plain.remove(0);
        let command = match verb.as_str() {
            "get" | "list" => Self::Get(line.get()?),
            "describe" => Self::Describe(line.describe()?),
            "logs" | "log" => Self::Logs(line.logs()?),
            "delete" => Self::Delete(line.delete()?),
            "scale" => Self::Scale(line.scale()?),
            "rollout" => Self::Restart(line.restart()?),
            "version" => {
                line.only(&["output", "client"])?;
                line.no_more()?;
                Self::Version
            }
            "exec" | "attach" | "port-forward" | "cp" | "edit" | "proxy" | "debug" | "run" => {
                return said(format!("error: {verb} is not carried out here; use kubectl through the Kubernetes door"));
            }
            "apply" | "create" | "replace" | "patch" => {
                return said(format!("error: {verb} is not carried out here; send the manifest to the hub instead"));
            }
            _ => return said(format!("error: unknown command; known are {VERBS}")),
        };
        Ok((command, shown))
    }

    /// What may be shown of a line that was not understood: a credential may stand in it.
    pub(crate) fn shown(line: &str) -> String {
        let verb = words::split(line).ok().and_then(|words| words.into_iter().nth(1));
        let verb = verb.filter(|verb| verb.len() < 20 && verb.bytes().all(|byte| byte.is_ascii_lowercase()));
        verb.map_or_else(|| "kubectl".to_owned(), |verb| format!("kubectl {verb}"))
    }
}

impl Line {
    fn scope(&self) -> Told<Scope> {
        Scope::of(self.value("namespace"), self.is_set("all-namespaces"))
    }

    fn namespace(&self) -> Told<String> {
        match self.scope()? {
            Scope::One(name) => Ok(name),
            Scope::All => said("error: one namespace is expected"),
        }
    }

    /// `KIND`, `KIND,KIND`, `KIND NAME…` or `KIND/NAME…`.
    fn targets(&self) -> Told<Vec<Target>> {
        let Some(first) = self.plain.first() else {
            return said("error: You must specify the type of resource, for example pods");
        };
        let name = |text: &str| -> Told<Option<String>> {
            if super::is_name(text) { Ok(Some(text.to_owned())) } else { said("error: that is no name of Kubernetes") }
        };
        let mut targets = Vec::new();
        if first.contains('/') {
            for word in &self.plain {
                let Some((kind, one)) = word.split_once('/') else {
                    return said("error: there is no need to specify a resource type as a separate argument");
                };
                targets.push(Target { kind: kind.to_owned(), name: name(one)? });
            }
        } else {
            let kinds: Vec<&str> = first.split(',').filter(|kind| !kind.is_empty()).collect();
            let names = self.plain.get(1..).unwrap_or_default();
            for kind in kinds {
                if names.is_empty() {
                    targets.push(Target { kind: kind.to_owned(), name: None });
                }
                for one in names {
                    targets.push(Target { kind: kind.to_owned(), name: name(one)? });
                }
            }
        }
        if targets.is_empty() || targets.len() > TARGETS_MAX {
            return said(format!("error: name 1 to {TARGETS_MAX} resources"));
        }
        Ok(targets)
    }

    /// Targets that all have a name: what is changed is named.
    fn named(&self) -> Told<Vec<Target>> {
        let targets = self.targets()?;
        if targets.iter().any(|target| target.name.is_none()) {
            return said("error: name each object: nothing is changed by selector or kind here");
        }
        Ok(targets)
    }

    fn get(&self) -> Told<Get> {
        self.only(&[
            "namespace",
            "all-namespaces",
            "selector",
            "field-selector",
            "output",
            "sort-by",
            "show-labels",
            "no-headers",
            "ignore-not-found",
            "chunk-size",
        ])?;
        let output = match self.value("output") {
            None => Output::Table { wide: false },
            Some("wide") => Output::Table { wide: true },
            Some("json") => Output::Json,
            Some("yaml") => Output::Yaml,
            Some("name") => Output::Name,
            Some(_) => {
                return said(
                    "error: unable to match a printer suitable for the output format; known are json, name, wide, yaml",
                );
            }
        };
        let (targets, scope) = (self.targets()?, self.scope()?);
        let named = targets.iter().any(|target| target.name.is_some());
        if named && scope == Scope::All {
            return said("error: a resource cannot be retrieved by name across all namespaces");
        }
        if named && (self.value("selector").is_some() || self.value("field-selector").is_some()) {
            return said("error: selectors may not be specified when resources are named");
        }
        Ok(Get {
            targets,
            scope,
            selector: self.value("selector").map(str::to_owned),
            fields: self.value("field-selector").map(str::to_owned),
            output,
            sort_by: self.value("sort-by").map(str::to_owned),
            show_labels: self.is_set("show-labels"),
            headers: !self.is_set("no-headers"),
            ignore_not_found: self.is_set("ignore-not-found"),
        })
    }

    fn describe(&self) -> Told<Describe> {
        self.only(&["namespace", "all-namespaces", "selector", "chunk-size"])?;
        let selector = self.value("selector").map(str::to_owned);
        Ok(Describe { targets: self.targets()?, scope: self.scope()?, selector })
    }

    fn logs(&self) -> Told<Logs> {
        self.only(&["namespace", "container", "tail", "since", "previous", "timestamps"])?;
        let [pod, rest @ ..] = self.plain.as_slice() else {
            return said("error: expected 'logs POD': name the pod");
        };
        let container = match (rest, self.value("container")) {
            ([], container) => container.map(str::to_owned),
            ([container], None) => Some(container.clone()),
            _ => return said("error: only one container may be named"),
        };
        let pod = match pod.split_once('/') {
            None => pod.as_str(),
            Some(("pod" | "pods" | "po", pod)) => pod,
            Some(_) => return said("error: logs are taken of a pod here: name one"),
        };
        if !super::is_name(pod) || container.as_deref().is_some_and(|container| !super::is_name(container)) {
            return said("error: that is no name of Kubernetes");
        }
        let since = match self.value("since") {
            None => None,
            Some(text) => match seconds(text) {
                Some(seconds) => Some(seconds),
                None => return said("error: since must be a time such as 5s, 2m or 3h"),
            },
        };
        Ok(Logs {
            pod: pod.to_owned(),
            namespace: self.namespace()?,
            container,
            // kubectl's own word for everything.
            tail: if self.value("tail") == Some("-1") { None } else { self.number("tail", TAIL_MAX)? },
            since,
            previous: self.is_set("previous"),
            timestamps: self.is_set("timestamps"),
        })
    }

    fn delete(&self) -> Told<Delete> {
        self.only(&["namespace", "grace-period", "now", "ignore-not-found", "wait"])?;
        if self.is_set("wait") {
            return said("error: the hub does not wait for deletions; leave --wait away");
        }
        let grace = if self.is_set("now") { Some(1) } else { self.number("grace-period", 86_400)? };
        let ignore_not_found = self.is_set("ignore-not-found");
        Ok(Delete { targets: self.named()?, namespace: self.namespace()?, grace, ignore_not_found })
    }

    fn scale(&self) -> Told<Scale> {
        self.only(&["namespace", "replicas"])?;
        let Some(replicas) = self.number("replicas", REPLICAS_MAX)? else {
            return said("error: required flag(s) \"replicas\" not set");
        };
        Ok(Scale { targets: self.named()?, namespace: self.namespace()?, replicas })
    }

    fn restart(&mut self) -> Told<Restart> {
        self.only(&["namespace"])?;
        if self.plain.first().map(String::as_str) != Some("restart") {
            return said("error: of rollout only restart is carried out here");
        }
        self.plain.remove(0);
        Ok(Restart { targets: self.named()?, namespace: self.namespace()? })
    }
}

/// `90s`, `5m`, `2h`, `1h30m`.
fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut digits = String::new();
    for character in text.chars() {
        let unit = match character {
            '0'..='9' if digits.len() < 9 => {
                digits.push(character);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            _ => return None,
        };
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(unit)?)?;
        digits.clear();
    }
    Some(total).filter(|total| digits.is_empty() && *total > 0)
}

#[cfg(test)]
mod tests;
