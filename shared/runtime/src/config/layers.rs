//! Lays defaults, file, environment and command line on top of each other, and keeps every problem on the way.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::table::{Row, upper};
use super::value::Setting;
use super::{ConfigErrors, Env, Problem, ServiceRole};

/// Names that begin like ours and belong to the command line client, the agent or the test rig.
const NAMES_OF_OTHERS: &[&str] = &["ROADSTEAD_URL", "ROADSTEAD_API_KEY", "ROADSTEAD_CONFIG", "ROADSTEAD_CONFIG_FILE"];
/// Names of the test rig and of its clusters.
const PREFIXES_OF_TESTS: [&str; 2] = ["ROADSTEAD_TEST_", "ROADSTEAD_KUBE_"];
/// Largest file of settings: far more than every key with a long value.
const FILE_MAX: u64 = 1024 * 1024;

/// Where a value came from; a later one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    File,
    Environment,
    CommandLine,
}

struct Found {
    text: String,
    source: String,
    layer: Layer,
}

/// The rows that a program reads, and the names it understands without doing anything about them.
#[derive(Clone, Copy)]
pub(super) struct Catalogue {
    pub(super) rows: &'static [&'static [Row]],
    /// Paths of files (and so `MCKMT_<PATH>`), each with the reason.
    pub(super) paths_without_effect: &'static [(&'static str, &'static str)],
    /// Variables, each with the reason.
    pub(super) variables_without_effect: &'static [(&'static str, &'static str)],
    /// Rows of the other program: its variables may stand in the same environment.
    pub(super) others: &'static [&'static [Row]],
}

impl Catalogue {
    fn rows(&self) -> impl Iterator<Item = &'static Row> + use<> {
        self.rows.iter().flat_map(|rows| rows.iter())
    }
}

/// What was found so far.
pub(super) struct Values {
    role: ServiceRole,
    catalogue: Catalogue,
    found: BTreeMap<&'static str, Found>,
    /// Everything that is wrong.
    pub(super) problems: Vec<Problem>,
    /// What is worth a warning.
    pub(super) notes: Vec<String>,
}

impl Values {
    pub(super) fn new(role: ServiceRole, catalogue: Catalogue) -> Self {
        Self { role, catalogue, found: BTreeMap::new(), problems: Vec::new(), notes: Vec::new() }
    }

    /// The value of a key, or its default. A text that cannot be read is a problem.
    pub(super) fn get<T: Setting>(&mut self, key: &'static str) -> T {
        let (text, source) = match self.found.get(key) {
            Some(found) => (found.text.as_str(), found.source.as_str()),
            None => (self.row(key).map_or("", |row| row.default_for(self.role)), key),
        };
        match T::parse(text) {
            Ok(value) => value,
            Err(message) => {
                let problem = Problem::new(source, message);
                self.problems.push(problem);
                T::fallback()
            }
        }
    }

    fn row(&self, key: &str) -> Option<&'static Row> {
        self.catalogue.rows().find(|row| row.key == key)
    }

    /// Every row this program reads.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'static Row> + use<> {
        self.catalogue.rows()
    }

    /// Adds a problem about a key under the name it was set by.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let name = self.source(key);
        self.problems.push(Problem::new(name, message));
    }

    /// The name a key was set by; ours when it was not set.
    pub(super) fn source(&self, key: &str) -> String {
        self.found
            .get(key)
            .map_or_else(|| self.row(key).map_or_else(|| key.to_owned(), Row::env_name), |found| found.source.clone())
    }

    /// Where a key was set.
    pub(super) fn layer(&self, key: &str) -> Option<Layer> {
        self.found.get(key).map(|found| found.layer)
    }

    /// The text a key was set to.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.found.get(key).map(|found| found.text.as_str())
    }

    /// Sets a key from the command line.
    pub(super) fn set(&mut self, key: &str, text: String, source: &str) {
        match self.row(key) {
            Some(row) => {
                self.found.insert(row.key, Found { text, source: source.to_owned(), layer: Layer::CommandLine });
            }
            None => self.problems.push(Problem::new(key, "is no setting")),
        }
    }

    /// What was loaded, or everything that is wrong.
    pub(super) fn done<T>(&mut self, loaded: T) -> Result<T, ConfigErrors> {
        let problems = std::mem::take(&mut self.problems);
        if problems.is_empty() { Ok(loaded) } else { Err(ConfigErrors { problems }) }
    }

    /// Lays a file on top.
    pub(super) fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match read_yaml(path) {
            Ok(Value::Null) => {}
            Ok(Value::Object(root)) => {
                let mut set: BTreeMap<&'static str, Vec<(String, String)>> = BTreeMap::new();
                self.walk(&name, "", &root, &mut set);
                for (key, candidates) in set {
                    self.agree(key, candidates, Layer::File);
                }
            }
            Ok(_) => self.problems.push(Problem::new(name, "must hold a mapping of sections")),
            Err(message) => self.problems.push(Problem::new(name, message)),
        }
    }

    fn walk(
        &mut self,
        file: &str,
        prefix: &str,
        map: &serde_json::Map<String, Value>,
        set: &mut BTreeMap<&'static str, Vec<(String, String)>>,
    ) {
        for (word, value) in map {
            let path = if prefix.is_empty() { word.clone() } else { format!("{prefix}.{word}") };
            if let Some(row) = self.rows().find(|row| row.paths().any(|known| known == path)) {
                match text_of(value) {
                    Some(text) if text.is_empty() && !matches!(value, Value::String(_)) => {}
                    Some(text) => set.entry(row.key).or_default().push((format!("{path} in {file}"), text)),
                    None => self.problems.push(Problem::new(format!("{path} in {file}"), "must be a plain value")),
                }
            } else if let Some((_, why)) = self.catalogue.paths_without_effect.iter().find(|(known, _)| *known == path)
            {
                self.notes.push(format!("{path} in {file} has no effect: {why}"));
            } else if let Value::Object(inner) = value {
                self.walk(file, &path, inner, set);
            } else {
                let near = nearest(&path, self.rows().flat_map(Row::paths).map(str::to_owned));
                self.problems.push(Problem::new(format!("{path} in {file}"), format!("is no setting{near}")));
            }
        }
    }

    /// Lays the environment on top. An empty variable counts as unset, as compose files write it.
    pub(super) fn environment(&mut self, env: &dyn Env) {
        for row in self.rows() {
            let mut candidates = Vec::new();
            for (name, on, unit, _) in row.names() {
                if !on.counts(self.role) {
                    continue;
                }
                if let Some(text) = set_value(env, &name) {
                    let number = !unit.is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_digit());
                    candidates.push((name.clone(), if number { format!("{}{unit}", text.trim()) } else { text }));
                }
                if row.secret
                    && let Some(path) = set_value(env, &format!("{name}_FILE"))
                {
                    match read_secret(Path::new(&path)) {
                        Ok(text) => candidates.push((format!("{name}_FILE"), text)),
                        Err(message) => self.problems.push(Problem::new(format!("{name}_FILE"), message)),
                    }
                }
            }
            self.agree(row.key, candidates, Layer::Environment);
        }
        self.unknown_names(env);
    }

    /// Several names for one setting must say the same.
    fn agree(&mut self, key: &'static str, candidates: Vec<(String, String)>, layer: Layer) {
        let Some(row) = self.row(key) else { return };
        let mut candidates = candidates.into_iter();
        let Some((source, text)) = candidates.next() else { return };
        for (other, other_text) in candidates {
            if (row.canonical)(&other_text) != (row.canonical)(&text) {
                self.problems.push(Problem::new(
                    format!("{source} and {other}"),
                    "are set to different values for the same setting",
                ));
            }
        }
        self.found.insert(row.key, Found { text, source, layer });
    }

    fn unknown_names(&mut self, env: &dyn Env) {
        let mut known: Vec<String> = NAMES_OF_OTHERS.iter().map(|name| (*name).to_owned()).collect();
        let others = self.catalogue.others.iter().flat_map(|rows| rows.iter());
        for row in self.rows().chain(others) {
            for (name, ..) in row.names() {
                if row.secret {
                    known.push(format!("{name}_FILE"));
                }
                known.push(name);
            }
        }
        let reserved: Vec<(String, &str)> = self
            .catalogue
            .paths_without_effect
            .iter()
            .map(|(path, why)| (format!("MCKMT_{}", upper(path)), *why))
            .chain(self.catalogue.variables_without_effect.iter().map(|(name, why)| ((*name).to_owned(), *why)))
            .collect();
        let mut names = env.names();
        names.sort();
        for name in names {
            let Some(value) = set_value(env, &name) else { continue };
            if known.contains(&name) || PREFIXES_OF_TESTS.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            if let Some((_, why)) = reserved.iter().find(|(other, _)| *other == name) {
                self.notes.push(format!("{name} has no effect: {why}"));
            } else if name.starts_with("ROADSTEAD_") && !is_link_name(&name, &value) {
                let near = nearest(&name, known.iter().cloned());
                self.problems.push(Problem::new(name, format!("is no setting{near}")));
            } else if name.starts_with("MCKMT_") && !name.starts_with("MCKMT_CONFIG_") && !is_link_name(&name, &value) {
                self.notes.push(format!("{name} is not known and has no effect"));
            }
        }
    }
}

/// A variable that is set to something, unless Kubernetes put it there for a Service that happens to have such a name
/// (`RABBITMQ_PORT=tcp://10.0.0.7:5672`).
fn set_value(env: &dyn Env, name: &str) -> Option<String> {
    let value = env.var(name).filter(|value| !value.is_empty())?;
    (!(name.ends_with("_PORT") && is_link_value(&value))).then_some(value)
}

fn is_link_value(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// Names of Kubernetes service links and Docker links: `X_SERVICE_HOST`, `X_SERVICE_PORT[_NAME]`, `X_PORT`,
/// `X_PORT_80_TCP[_ADDR|_PORT|_PROTO]`.
fn is_link_name(name: &str, value: &str) -> bool {
    let numbered = name.rsplit_once("_PORT_").map(|(_, tail)| tail).or_else(|| {
        // `X_PORT_80_TCP_PORT`: the last `_PORT` is the suffix, look before it.
        name.strip_suffix("_PORT").and_then(|head| head.rsplit_once("_PORT_")).map(|(_, tail)| tail)
    });
    let digits_then_protocol = numbered.is_some_and(|tail| {
        let mut parts = tail.split('_');
        parts.next().is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    });
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || digits_then_protocol
        || (name.ends_with("_PORT") && is_link_value(value))
}

fn read_yaml(path: &Path) -> Result<Value, String> {
    let length = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if length > FILE_MAX {
        return Err(format!("is larger than {FILE_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    parse_yaml(&text)
}

/// Reads YAML. The error gives the place only: the text around it may be a password.
pub(super) fn parse_yaml(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str::<Value>(text).map_err(|error| match error.location() {
        Some(place) => format!("is not valid YAML at line {}, column {}", place.line(), place.column()),
        None => "is not valid YAML".to_owned(),
    })
}

fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("names a file that cannot be read: {error}"))?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() { Err("names a file that is empty".to_owned()) } else { Ok(text) }
}

/// A value of the file as the text that the environment would hold.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => items
            .iter()
            .map(|item| if item.is_object() || item.is_array() { None } else { text_of(item) })
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        Value::Object(pairs) => pairs
            .iter()
            .map(|(name, item)| match item {
                Value::Object(_) | Value::Array(_) | Value::Null => None,
                item => text_of(item).map(|text| format!("{name}={text}")),
            })
            .collect::<Option<Vec<_>>>()
            .map(|pairs| pairs.join(",")),
    }
}

/// `; did you mean X?` for a name that is almost one of ours.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    /// Typing errors are one or two; more is another word.
    const NEAR: usize = 3;
    known
        .map(|candidate| (distance(name, &candidate), candidate))
        .filter(|(far, _)| *far <= NEAR)
        .min()
        .map(|(_, candidate)| format!("; did you mean {candidate}?"))
        .unwrap_or_default()
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = index;
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
        for (column, other) in right.iter().enumerate() {
            let above = row.get(column + 1).copied().unwrap_or(usize::MAX);
            let before = row.get(column).copied().unwrap_or(usize::MAX);
            let cost = diagonal + usize::from(letter != *other);
            if let Some(cell) = row.get_mut(column + 1) {
                *cell = cost.min(above.saturating_add(1)).min(before.saturating_add(1));
            }
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_are_told_from_typing_errors() {
        for name in [
            "ROADSTEAD_CLUSTER_SERVICE_HOST",
            "ROADSTEAD_CLUSTER_SERVICE_PORT",
            "ROADSTEAD_CLUSTER_SERVICE_PORT_HTTP",
            "ROADSTEAD_CLUSTER_PORT_8008_TCP",
            "ROADSTEAD_CLUSTER_PORT_8008_TCP_ADDR",
            "ROADSTEAD_CLUSTER_PORT_8008_TCP_PORT",
            "ROADSTEAD_CLUSTER_PORT_8008_TCP_PROTO",
        ] {
            assert!(is_link_name(name, "x"), "{name}");
        }
        assert!(is_link_name("ROADSTEAD_CLUSTER_PORT", "tcp://10.0.0.1:8008"));
        for name in ["ROADSTEAD_SERVER_PORTS", "ROADSTEAD_CLUSTER_PORT", "ROADSTEAD_SERVER_HOST"] {
            assert!(!is_link_name(name, "8008"), "{name}");
        }
    }

    #[test]
    fn near_names_are_found() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("abd", ["abc".to_owned(), "xyz".to_owned()].into_iter()), "; did you mean abc?");
        assert_eq!(nearest("abd", ["uvwxyz".to_owned()].into_iter()), "");
    }
}
