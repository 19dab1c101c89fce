//! The strategy `casbin`: which permission words somebody holds is asked of Casbin, with the model of seed 000 or a file's,
//! and with lines from the hub's own store: the words of the roles, the allow rules that have no limits, and a file's
//! lines beside them.
//!
//! Names in lines are the seed's bare ones. Here a name that is a role's, or the right side of a `g` line, is that role and
//! nothing else: an account that calls itself `admin` is not one.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use casbin::{Adapter, CoreApi as _, DefaultModel, Enforcer, Filter, Model};
use roadstead_contracts::identity::{Action, Role};
use roadstead_contracts::policy::{Actions, Effect, Permissions, Rule, Subject};
use roadstead_policy::Who;
use roadstead_store::async_trait;

/// The model of seed 000.
const MODEL: &str = "\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && (p.obj == r.obj || p.obj == \"*\") && (p.act == r.act || p.act == \"*\")
";
/// The one effect that answers for roles one by one can be put together by.
const EFFECT: &str = "some(where (p_eft == allow))";
/// Largest file: far more lines than there may be rules.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// Most subjects whose words are remembered; then all are asked again.
const KNOWN_MAX: usize = 20_000;

/// The files of the settings.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The model.
    pub model: Option<PathBuf>,
    /// More lines.
    pub lines: Option<PathBuf>,
}

/// Size and time of the files, as far as they can be looked at.
pub type Stamp = [Option<(u64, SystemTime)>; 2];

/// What the files say.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// The model; the seed's when left out.
    pub model: Option<String>,
    /// More lines.
    pub lines: String,
}

impl Files {
    /// Changes when a file does.
    pub fn stamp(&self) -> Stamp {
        [&self.model, &self.lines].map(|path| {
            let metadata = std::fs::metadata(path.as_ref()?).ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        })
    }

    /// Reads them.
    pub fn read(&self) -> anyhow::Result<Texts> {
        let model = self.model.as_deref().map(read).transpose()?;
        let lines = self.lines.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Texts { model, lines })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let context = || format!("failed to read {}", path.display());
    let size = std::fs::metadata(path).with_context(context)?.len();
    ensure!(size <= FILE_MAX, "{} is larger than {FILE_MAX} bytes", path.display());
    std::fs::read_to_string(path).with_context(context)
}

/// Casbin with its lines. It does not change.
pub struct Casbin {
    enforcer: Arc<Enforcer>,
    known: Arc<Mutex<HashMap<String, Actions>>>,
}

impl std::fmt::Debug for Casbin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Casbin")
    }
}

impl Casbin {
    /// Reads model and lines; what cannot be read is an error, not left out.
    pub async fn compile<'r>(texts: &Texts, rules: impl Iterator<Item = &'r Rule>) -> anyhow::Result<Self> {
        let model = DefaultModel::from_str(texts.model.as_deref().unwrap_or(MODEL)).await;
        let model = model.context("Casbin's model cannot be read")?;
        check(&model)?;
        let adapter = Lines::of(&texts.lines, rules)?;
        let enforcer = Enforcer::new(model, adapter).await.context("Casbin does not take its lines")?;
        let casbin = Self { enforcer: Arc::new(enforcer), known: Arc::default() };
        // Asked once now: a matcher that cannot be evaluated is found here.
        ask(&casbin.enforcer, &role_key(Role::Viewer.as_str()))?;
        Ok(casbin)
    }

    /// The words that somebody holds: its own, those of its roles and of its groups.
    pub async fn words(&self, who: Who<'_>) -> anyhow::Result<Permissions> {
        let mut subjects = vec![format!("user:{}", who.username)];
        subjects.extend(who.roles.iter().map(|role| role_key(role.as_str())));
        subjects.extend(who.groups.iter().map(|group| format!("group:{group}")));
        let (enforcer, known) = (Arc::clone(&self.enforcer), Arc::clone(&self.known));
        // It looks at every line for every word: not for a thread on which others wait.
        let held = tokio::task::spawn_blocking(move || held(&enforcer, &known, subjects)).await??;
        Ok(held.into_iter().map(|(resource, verb)| format!("{resource}:{verb}")).collect())
    }

    /// One question, as it is asked of Casbin: for whoever wants to know what it costs.
    pub fn decide(&self, username: &str, action: Action) -> anyhow::Result<bool> {
        let (resource, verb) = action.words();
        Ok(self.enforcer.enforce((format!("user:{username}"), resource, verb))?)
    }
}

type Known = Mutex<HashMap<String, Actions>>;

fn held(
    enforcer: &Enforcer,
    known: &Known,
    subjects: Vec<String>,
) -> anyhow::Result<BTreeSet<(&'static str, &'static str)>> {
    let mut words = BTreeSet::new();
    for subject in subjects {
        let remembered = known.lock().unwrap_or_else(PoisonError::into_inner).get(&subject).copied();
        let actions = if let Some(actions) = remembered {
            actions
        } else {
            let actions = ask(enforcer, &subject)?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(subject, actions);
            actions
        };
        words.extend(actions.iter().map(Action::words));
    }
    Ok(words)
}

fn ask(enforcer: &Enforcer, subject: &str) -> anyhow::Result<Actions> {
    let mut granted = Vec::new();
    for action in Action::ALL {
        let (resource, verb) = action.words();
        if enforcer.enforce((subject, resource, verb)).context("Casbin could not evaluate its matcher")? {
            granted.push(*action);
        }
    }
    Ok(Actions::that(|action| granted.contains(&action)))
}

/// Casbin panics on an effect that it does not know, and the others cannot be put together from several answers.
fn check(model: &DefaultModel) -> anyhow::Result<()> {
    let definition = |section: &str| model.get_model().get(section).and_then(|kinds| kinds.get(section));
    let effect = definition("e").context("Casbin's model has no effect")?;
    ensure!(
        effect.value == EFFECT,
        "Casbin's model must have the effect {EFFECT}: what denies are rules of the policy"
    );
    for section in ["r", "p"] {
        let parts = definition(section).map(|definition| definition.tokens.len());
        ensure!(parts == Some(3), "Casbin's model must define {section} = sub, obj, act");
    }
    ensure!(definition("m").is_some(), "Casbin's model has no matcher");
    Ok(())
}

fn role_key(name: &str) -> String {
    format!("role:{name}")
}

/// The adapter: the hub's own lines. Nothing is written through it.
struct Lines {
    policies: Vec<Vec<String>>,
    links: Vec<Vec<String>>,
}

impl Lines {
    fn of<'r>(text: &str, rules: impl Iterator<Item = &'r Rule>) -> anyhow::Result<Self> {
        let (policies, links) = parse(text)?;
        let roles: BTreeSet<&str> =
            Role::ALL.iter().map(|role| role.as_str()).chain(links.iter().map(|[_, role]| role.as_str())).collect();
        let key = |name: &str| {
            if roles.contains(name) { role_key(name) } else { format!("user:{name}") }
        };
        let mut lines = Self { policies: Vec::new(), links: Vec::new() };
        for role in Role::ALL {
            for word in role.permissions() {
                lines.grant(&role_key(role.as_str()), word);
            }
        }
        let whole = |rule: &&Rule| {
            rule.effect == Effect::Allow
                && rule.clusters.is_every()
                && !rule.is_within_clusters()
                && rule.until.is_none()
        };
        for rule in rules.filter(whole) {
            // For everyone is for nobody whom Casbin knows by name: that rule is decided like any other.
            for subject in rule.subjects.iter().filter(|subject| **subject != Subject::Everyone) {
                for word in rule.permissions.words() {
                    lines.grant(&subject.to_string(), word);
                }
            }
        }
        for [subject, object, act] in &policies {
            lines.grant(&key(subject), &format!("{object}:{act}"));
        }
        lines.links = links.iter().map(|[user, role]| vec![key(user), role_key(role)]).collect();
        Ok(lines)
    }

    /// A word as lines. `*` with a verb never reaches accounts, the hub or the trail: it is told resource by resource.
    fn grant(&mut self, subject: &str, word: &str) {
        let Some((object, act)) = word.split_once(':') else { return };
        let mut push = |object: &str| self.policies.push(vec![subject.to_owned(), object.to_owned(), act.to_owned()]);
        if object == "*" && act != "*" {
            let covered: Permissions = [word.to_owned()].into_iter().collect();
            let objects: BTreeSet<&str> = covered.actions().iter().map(|action| action.words().0).collect();
            objects.into_iter().for_each(push);
        } else {
            push(object);
        }
    }
}

type Parsed = (Vec<[String; 3]>, Vec<[String; 2]>);

fn parse(text: &str) -> anyhow::Result<Parsed> {
    let (mut policies, mut links) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let odd = |field: &&str| field.is_empty() || field.contains(['"', '\'']) || field.chars().any(char::is_control);
        let fields = if fields.iter().any(odd) { Vec::new() } else { fields };
        match fields.as_slice() {
            ["p", subject, object, act] => policies.push([*subject, *object, *act].map(str::to_owned)),
            ["g", user, role] => links.push([*user, *role].map(str::to_owned)),
            // The line itself is not repeated: whoever reads the log need not be who may read the file.
            _ => bail!("line {} of Casbin's lines is neither `p, SUBJECT, OBJECT, ACT` nor `g, USER, ROLE`", index + 1),
        }
    }
    Ok((policies, links))
}

fn read_only<T>() -> casbin::Result<T> {
    let fault = std::io::Error::new(std::io::ErrorKind::Unsupported, "the lines come from the hub's store");
    Err(casbin::Error::IoError(fault))
}

#[async_trait]
impl Adapter for Lines {
    async fn load_policy(&mut self, model: &mut dyn Model) -> casbin::Result<()> {
        for line in &self.policies {
            model.add_policy("p", "p", line.clone());
        }
        for link in &self.links {
            model.add_policy("g", "g", link.clone());
        }
        Ok(())
    }

    async fn load_filtered_policy<'a>(&mut self, _: &mut dyn Model, _: Filter<'a>) -> casbin::Result<()> {
        read_only()
    }

    async fn save_policy(&mut self, _: &mut dyn Model) -> casbin::Result<()> {
        read_only()
    }

    async fn clear_policy(&mut self) -> casbin::Result<()> {
        read_only()
    }

    fn is_filtered(&self) -> bool {
        false
    }

    async fn add_policy(&mut self, _: &str, _: &str, _: Vec<String>) -> casbin::Result<bool> {
        read_only()
    }

    async fn add_policies(&mut self, _: &str, _: &str, _: Vec<Vec<String>>) -> casbin::Result<bool> {
        read_only()
    }

    async fn remove_policy(&mut self, _: &str, _: &str, _: Vec<String>) -> casbin::Result<bool> {
        read_only()
    }

    async fn remove_policies(&mut self, _: &str, _: &str, _: Vec<Vec<String>>) -> casbin::Result<bool> {
        read_only()
    }

    async fn remove_filtered_policy(&mut self, _: &str, _: &str, _: usize, _: Vec<String>) -> casbin::Result<bool> {
        read_only()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn compiled(lines: &str) -> anyhow::Result<Casbin> {
        let texts = Texts { model: None, lines: lines.to_owned() };
        Casbin::compile(&texts, std::iter::empty()).await
    }

    async fn words(casbin: &Casbin, username: &str, roles: &[Role]) -> Permissions {
        let (roles, groups) = (roles.iter().copied().collect(), BTreeSet::new());
        casbin.words(Who { username, roles: &roles, groups: &groups }).await.unwrap()
    }

    #[tokio::test]
    async fn roles_hold_what_they_hold_without_it() {
        let casbin = compiled("").await.unwrap();
        for role in Role::ALL {
            let held = words(&casbin, "ada", &[role]).await;
            for action in Action::ALL {
                assert_eq!(held.cover(*action), role.allows(*action), "{role:?} {action:?}");
            }
        }
        assert_eq!(words(&casbin, "admin", &[]).await.words().count(), 0, "a name is not a role");
    }

    #[tokio::test]
    async fn lines_of_a_file_count_beside_them() {
        let text = "# who does what\np, ada, operations, cancel\np, builders, clusters, write\n\ng, bob, builders\np, eve, *, read\n";
        let casbin = compiled(text).await.unwrap();
        assert!(words(&casbin, "ada", &[]).await.cover(Action::OperationsCancel));
        assert!(words(&casbin, "bob", &[]).await.cover(Action::ClustersWrite));
        assert!(!words(&casbin, "builders", &[]).await.cover(Action::ClustersWrite));
        let eve = words(&casbin, "eve", &[]).await;
        assert!(eve.cover(Action::ClustersRead) && !eve.cover(Action::AuditRead) && !eve.cover(Action::UsersRead));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_policy() {
        for odd in
            ["p, ada, clusters", "p, ada, clusters, read, allow", "q, a, b", "g, ada", "p, , clusters, read", "x"]
        {
            assert!(compiled(odd).await.is_err(), "{odd}");
        }
        let model = |text: &str| Texts { model: Some(text.to_owned()), lines: String::new() };
        for text in [
            String::new(),
            "[request_definition".to_owned(),
            MODEL.replace("some(where (p.eft == allow))", "!some(where (p.eft == deny))"),
            MODEL.replace("some(where (p.eft == allow))", "whatever"),
            MODEL.replace("r = sub, obj, act", "r = sub, obj"),
            MODEL.replace("g(r.sub, p.sub) &&", "nobody(r.sub) &&"),
            MODEL.replace("g(r.sub, p.sub) &&", "g(r.sub, p.sub) & & ("),
        ] {
            assert!(Casbin::compile(&model(&text), std::iter::empty()).await.is_err(), "{text}");
        }
    }
}
