//! `roadstead policy …`

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::hub::{Hub, segment};
use super::output::{Output, age, or_dash, state, table, write_line};
use crate::args::policy::{PolicyCommand, TestArgs};

/// Where rules are.
const RULES: &str = "/api/v1/policies";
/// Rules of a page: what the hub gives at most.
const PAGE: usize = 1_000;
/// Largest file: what the hub takes.
const FILE_MAX: u64 = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Rule {
    id: String,
    name: String,
    effect: String,
    subjects: Vec<String>,
    permissions: Vec<String>,
    #[serde(default)]
    clusters: Clusters,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    until: Option<DateTime<Utc>>,
    reason: Option<String>,
    origin: Option<String>,
    active: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Default, Serialize, Deserialize)]
struct Clusters {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    labels: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    allowed: bool,
    allowed_now: bool,
    permission: String,
    #[serde(default)]
    rule: Option<String>,
    reason: String,
    #[serde(default)]
    ask: Option<String>,
}

pub(super) async fn run(hub: &mut Hub, command: &PolicyCommand, output: Output) -> Result<()> {
    match command {
        PolicyCommand::Ls { subject } => {
            let rules = list(hub, subject.as_deref()).await?;
            output.print(&rules, |rules| lines(rules))
        }
        PolicyCommand::Get { rule } => {
            let rule: Rule = hub.get(&format!("{RULES}/{}", segment(rule))).await?;
            output.print(&rule, sheet)
        }
        PolicyCommand::Apply { file, replace } => {
            let rules = read(file, "rules")?;
            let path = format!("{RULES}/import?replace={replace}");
            let done: Value = hub.exchange(Method::POST, &path, &json!({ "rules": rules })).await?;
            output.print(&done, |done| {
                let count = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or_default();
                let [created, changed, unchanged, removed] = ["created", "changed", "unchanged", "removed"].map(count);
                format!("{created} rules created, {changed} changed, {unchanged} unchanged, {removed} removed")
            })
        }
        PolicyCommand::Delete { rule } => {
            hub.delete(&format!("{RULES}/{}", segment(rule))).await?;
            output.print(&json!({ "rule": rule, "deleted": true }), |_| format!("rule {rule} deleted"))
        }
        PolicyCommand::Export { file } => {
            let bytes = hub.send(Method::GET, &format!("{RULES}/export"), None).await?;
            match file {
                Some(file) => {
                    std::fs::write(file, bytes).with_context(|| format!("failed to write {}", file.display()))
                }
                None => write_line(&String::from_utf8(bytes).context("the hub's answer is not text")?),
            }
        }
        PolicyCommand::Test(args) => test(hub, args, output).await,
    }
}

async fn list(hub: &mut Hub, subject: Option<&str>) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    loop {
        let mut path = format!("{RULES}?limit={PAGE}");
        for (name, value) in [("subject", subject), ("cursor", rules.last().map(|rule| rule.name.as_str()))] {
            if let Some(value) = value {
                path.extend(["&", name, "=", &segment(value)]);
            }
        }
        let page: Vec<Rule> = hub.get(&path).await?;
        let last = page.len() < PAGE;
        rules.extend(page);
        if last {
            return Ok(rules);
        }
    }
}

fn lines(rules: &[Rule]) -> String {
    let now = SystemClock.now();
    let rows = rules
        .iter()
        .map(|rule| {
            let ends = match rule.until {
                None => Cell::new("never"),
                Some(_) if !rule.active => state("expired"),
                Some(end) => Cell::new(age(Some(end), now)),
            };
            vec![
                Cell::new(&rule.name),
                Cell::new(&rule.effect),
                Cell::new(rule.subjects.join(",")),
                Cell::new(rule.permissions.join(",")),
                Cell::new(place(rule)),
                ends,
            ]
        })
        .collect();
    table(&["NAME", "EFFECT", "SUBJECTS", "PERMISSIONS", "WHERE", "ENDS"], rows)
}

/// What a rule is limited to, on one line.
fn place(rule: &Rule) -> String {
    let mut parts = Vec::new();
    let lists = [
        ("clusters", &rule.clusters.names),
        ("namespaces", &rule.namespaces),
        ("kinds", &rule.kinds),
        ("verbs", &rule.verbs),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            parts.push(format!("{name} {}", list.join(",")));
        }
    }
    if let Some(labels) = &rule.clusters.labels {
        parts.insert(0, format!("clusters with {labels}"));
    }
    if parts.is_empty() { "everywhere".to_owned() } else { parts.join("; ") }
}

fn sheet(rule: &Rule) -> String {
    let mut text = format!(
        "{} {} {} to {}\n{}",
        rule.name,
        if rule.effect == "deny" { "denies" } else { "allows" },
        rule.permissions.join(", "),
        rule.subjects.join(", "),
        place(rule)
    );
    for (name, value) in [
        ("until", rule.until.map(|until| until.to_rfc3339())),
        ("reason", rule.reason.clone()),
        ("made by", rule.origin.clone()),
    ] {
        if let Some(value) = value {
            text.extend(["\n", name, ": ", &value]);
        }
    }
    text
}

async fn test(hub: &mut Hub, args: &TestArgs, output: Output) -> Result<()> {
    let mut questions = match &args.questions {
        Some(file) => read(file, "questions")?,
        None => vec![question(args)],
    };
    let expected: Vec<Option<bool>> = questions.iter_mut().map(expectation).collect::<Result<_>>()?;
    let mut body = json!({ "questions": questions });
    if let (Some(file), Some(body)) = (&args.file, body.as_object_mut()) {
        body.insert("rules".to_owned(), Value::Array(read(file, "rules")?));
        body.insert("replace".to_owned(), Value::Bool(args.replace));
    }
    let answers: Vec<Answer> = hub.exchange(Method::POST, &format!("{RULES}/test"), &body).await?;
    ensure!(answers.len() == questions.len(), "the hub answered another number of questions");
    output.print(&answers, |answers| verdicts(answers))?;
    let wrong: Vec<String> = answers
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(_, (answer, expected))| expected.is_some_and(|expected| expected != answer.allowed))
        .map(|(index, _)| (index + 1).to_string())
        .collect();
    if wrong.is_empty() { Ok(()) } else { bail!("not as expected: question {}", wrong.join(", ")) }
}

fn verdicts(answers: &[Answer]) -> String {
    let rows = answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            let word = |allowed: bool| if allowed { "allowed" } else { "denied" };
            let change = if answer.allowed == answer.allowed_now { "-" } else { word(answer.allowed_now) };
            vec![
                Cell::new(index + 1),
                Cell::new(word(answer.allowed)),
                Cell::new(change),
                or_dash(answer.rule.as_ref()),
                Cell::new(&answer.reason),
            ]
        })
        .collect();
    table(&["#", "ANSWER", "NOW", "RULE", "WHY"], rows)
}

fn question(args: &TestArgs) -> Value {
    let mut question = Map::new();
    for (name, value) in [
        ("user", &args.user),
        ("permission", &args.permission),
        ("cluster", &args.cluster),
        ("namespace", &args.namespace),
        ("kind", &args.kind),
        ("verb", &args.verb),
    ] {
        if let Some(value) = value {
            question.insert(name.to_owned(), Value::String(value.clone()));
        }
    }
    for (name, list) in [("roles", &args.roles), ("groups", &args.groups)] {
        if !list.is_empty() {
            question.insert(name.to_owned(), json!(list));
        }
    }
    if !args.labels.is_empty() {
        let labels: Map<String, Value> =
            args.labels.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        question.insert("labels".to_owned(), Value::Object(labels));
    }
    Value::Object(question)
}

/// What a question of a file expects; the hub is not told.
fn expectation(question: &mut Value) -> Result<Option<bool>> {
    let expected = question.as_object_mut().and_then(|question| question.shift_remove("expect"));
    match expected.as_ref().map(Value::as_str) {
        None => Ok(None),
        Some(Some("allow")) => Ok(Some(true)),
        Some(Some("deny")) => Ok(Some(false)),
        Some(_) => bail!("expect must be allow or deny"),
    }
}

/// A list out of a file of YAML, of which JSON is a part.
fn read(path: &Path, name: &str) -> Result<Vec<Value>> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(FILE_MAX + 1)
            .read_to_string(&mut text)
            .context("failed to read standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
        file.take(FILE_MAX + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("failed to read {}", path.display()))?;
    }
    ensure!(text.len() as u64 <= FILE_MAX, "{} is larger than {FILE_MAX} bytes", path.display());
    let value: Value = serde_saphyr::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?;
    match value.get(name) {
        Some(Value::Array(list)) => Ok(list.clone()),
        _ => bail!("{} has no list `{name}`", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_lists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        std::fs::write(&path, "rules:\n- name: a\n  effect: deny\n").unwrap();
        assert_eq!(read(&path, "rules").unwrap(), [json!({"name": "a", "effect": "deny"})]);
        assert!(read(&path, "questions").is_err());
        std::fs::write(&path, "x".repeat(2 * 1024 * 1024)).unwrap();
        assert!(read(&path, "rules").is_err());
    }

    #[test]
    fn what_is_expected_is_not_sent() {
        let mut question = json!({"user": "ada", "expect": "deny"});
        assert_eq!(expectation(&mut question).unwrap(), Some(false));
        assert_eq!(question, json!({"user": "ada"}));
        assert!(expectation(&mut json!({"expect": "maybe"})).is_err());
    }
}
