//! Who may do what, as one table: every route of every service, every message of the queues and every kind of request to a
//! cluster's API, against every role, scope and kind of rule. It is made from the tables of routes and the list of messages,
//! by the decisions that the doors ask for; that the doors do ask is tested beside each of them.
//!
//! `matrix.golden` is the table. A change of it is a change of who may do what: look at it, then renew it with
//! `ROADSTEAD_RENEW_MATRIX=1 cargo test -p roadstead-cli --test it matrix`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use chrono::{DateTime, TimeZone as _, Utc};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::Action::{
    self, ClustersDelete, ClustersManage, ClustersRead, ClustersWrite, OperationsCancel, OperationsRead,
    OperationsWrite, UsersWrite,
};
use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ClusterId, RuleId, TypedId, UserId};
use roadstead_contracts::policy::{ClusterFacts, ClustersDraft, Effect, RuleDraft};
use roadstead_contracts::scope::Scope;
use roadstead_http_kit::{Access, RouteRow};
use roadstead_policy::{As, Asked, Ground, Verdict, kubernetes};
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};

/// Where the messages are.
const MESSAGES: &str = "../shared/contracts/src/message";

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap()
}

fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(uuid::Uuid::from_u128(number))
}

/// The cluster that everything is about.
fn cluster() -> ClusterFacts {
    ClusterFacts { id: id::<ClusterId>(7), name: Some("quay".to_owned()), labels: None, owner: Some(id::<UserId>(9)) }
}

/// A column.
struct Subject {
    name: &'static str,
    principal: Principal,
}

fn subjects() -> Vec<Subject> {
    let person = |roles: &[Role], reach: Reach| Principal {
        user_id: id::<UserId>(1),
        user_seq: 1,
        username: "ada".to_owned(),
        email: String::new(),
        roles: roles.iter().copied().collect(),
        reach,
        credential: CredentialKind::QueuePeer(String::new()),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    };
    let granted = || Reach::Granted([id::<ClusterId>(7)].into());
    let none = || Reach::Granted(BTreeSet::new());
    let held = |words: &[&str]| {
        let permissions = words.iter().map(|word| (*word).to_owned()).collect();
        let scope = Some(Scope { permissions: Some(permissions), ..Scope::default() });
        Principal { scope, ..person(&[Role::Admin], Reach::All) }
    };
    let elsewhere = Scope { clusters: Some([id::<ClusterId>(8)].into()), ..Scope::default() };
    let rule = |effect: Effect, words: &[&str], namespaces: &[&str], kinds: &[&str]| {
        let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let draft = RuleDraft {
            name: "rule".to_owned(),
            effect,
            subjects: vec!["*".to_owned()],
            permissions: texts(words),
            clusters: ClustersDraft { names: vec!["quay".to_owned()], labels: None },
            namespaces: texts(namespaces),
            kinds: texts(kinds),
            verbs: Vec::new(),
            until: None,
            reason: None,
        };
        draft.checked(id::<RuleId>(3)).unwrap()
    };
    let ruled = |roles: &[Role], reach: Reach, rule| Principal { rules: vec![rule], ..person(roles, reach) };
    let in_team_a = || rule(Effect::Allow, &["clusters:*", "operations:*", "*:read"], &["team-a"], &[]);
    let all = [
        ("no role, granted", person(&[], granted())),
        ("viewer", person(&[Role::Viewer], granted())),
        ("operator", person(&[Role::Operator], granted())),
        ("operator of other clusters", person(&[Role::Operator], none())),
        ("admin", person(&[Role::Admin], Reach::All)),
        ("admin's key held to *:read", held(&["*:read"])),
        ("admin's key held to clusters:*", held(&["clusters:*"])),
        ("admin's key held to operations:*", held(&["operations:*"])),
        ("admin's key held to users:*", held(&["users:*"])),
        ("admin's key held to clusters:read", held(&["clusters:read"])),
        (
            "admin's key held to another cluster",
            Principal { scope: Some(elsewhere), ..person(&[Role::Admin], Reach::All) },
        ),
        ("viewer, rule allows changes in team-a", ruled(&[Role::Viewer], granted(), in_team_a())),
        ("no role, not granted, the same rule", ruled(&[], none(), in_team_a())),
        (
            "operator, rule denies secrets",
            ruled(&[Role::Operator], granted(), rule(Effect::Deny, &["*:*"], &[], &["secrets"])),
        ),
        (
            "operator, rule denies the cluster",
            ruled(&[Role::Operator], granted(), rule(Effect::Deny, &["*:*"], &[], &[])),
        ),
        ("viewer, rule makes an admin", ruled(&[Role::Viewer], granted(), rule(Effect::Allow, &["*:*"], &[], &[]))),
    ];
    all.into_iter().map(|(name, principal)| Subject { name, principal }).collect()
}

fn mark(verdict: &Verdict) -> char {
    match verdict {
        verdict if verdict.allowed => '+',
        verdict if verdict.is_invisible() => '0',
        _ => '-',
    }
}

/// What a message is about.
#[derive(Clone, Copy)]
enum About {
    /// Asked by members of the mesh, about nobody's right.
    Members,
    /// The hub itself.
    Hub(Action),
    /// The cluster.
    Cluster(Action),
    /// A look at the cluster.
    Entry,
    /// A list, which leaves out what is not the caller's.
    List(Action),
    /// A change of a ConfigMap in team-a.
    Change,
    /// The same, asked about later.
    Made(Action),
    /// The caller itself; what is shown is its own.
    Own,
}

/// Every message of the queues, and what its owner asks of the policy before anything is done.
fn about(kind: &str) -> Option<About> {
    use About::{Change, Cluster, Entry, Hub, List, Made, Members, Own};
    Some(match kind.split('.').next()? {
        "authenticate" | "authenticate_as" | "identify_peer" | "identity_keys" | "sign_operation" | "record_audit"
        | "locate_agent" | "find_replica" | "count_clusters" | "check_join_token" | "locate_body_stage"
        | "report_drift" => Members,
        "list_clusters" | "list_agents" | "list_seed_clusters" | "list_recordings" | "read_recording" => {
            List(ClustersRead)
        }
        "list_join_tokens" => List(ClustersManage),
        // Of an agent of the seeds: beyond this, what the question stands for is judged like the same request to the cluster's API.
        "get_cluster" | "get_seed_cluster" | "resolve_agent" | "get_namespaces" | "ask_seed_agent" => Entry,
        "create_cluster" | "connect_cluster" => Hub(ClustersWrite),
        "update_cluster" | "reconnect_cluster" | "onboard_seed_cluster" => Cluster(ClustersWrite),
        "delete_cluster" => Cluster(ClustersDelete),
        "create_join_token" | "revoke_join_token" | "revoke_agent" | "generate_agent_id" => Cluster(ClustersManage),
        "grant_cluster" | "revoke_cluster" => Hub(UsersWrite),
        "create_operation" | "create_rollout" => Change,
        "retry_operation" | "undo_operation" | "delete_operation" | "change_rollout" => Made(OperationsWrite),
        "cancel_operation" => Made(OperationsCancel),
        "get_operation" | "list_operation_steps" | "get_rollout" | "get_drift" => Made(OperationsRead),
        "list_operations" | "list_rollouts" => List(OperationsRead),
        "access_request" | "access_requests" => Own,
        _ => return None,
    })
}

fn of_message(principal: &Principal, about: About) -> char {
    let (facts, now) = (cluster(), now());
    let change = [
        RequestKind::of("create", "configmaps", Some("team-a")),
        RequestKind::of("patch", "configmaps", Some("team-a")),
    ];
    let verdict = match about {
        About::Members | About::Own => return '.',
        About::Hub(action) => roadstead_policy::decide(principal, &Asked::hub(action), now),
        About::Cluster(action) => roadstead_policy::decide(principal, &Asked::cluster(action, &facts), now),
        About::Entry => roadstead_policy::enters(principal, &facts, now),
        About::List(action) => roadstead_policy::gate(principal, action, now),
        About::Change => roadstead_policy::judge_change(principal, &facts, &change, now).verdict,
        About::Made(action) => {
            let whole = roadstead_policy::decide(principal, &Asked::cluster(action, &facts), now);
            let place = kubernetes::place(&change[0]);
            let object = roadstead_policy::Object { verb: "get", kind: "configmaps", also: None, place };
            match whole.ground {
                Ground::Missing => roadstead_policy::decide(principal, &Asked::object(action, &facts, object), now),
                _ => whole,
            }
        }
    };
    mark(&verdict)
}

/// Requests to a cluster's API, one of each sort.
const PROXY: [&str; 24] = [
    "GET /api",
    "GET /openapi/v3",
    "GET /metrics",
    "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
    "GET /api/v1/namespaces",
    "GET /api/v1/nodes",
    "GET /api/v1/pods",
    "GET /api/v1/namespaces/team-a/pods",
    "GET /api/v1/namespaces/team-a/pods?watch=true",
    "GET /api/v1/namespaces/team-b/pods",
    "GET /api/v1/namespaces/team-a/pods/p/log",
    "GET /api/v1/namespaces/team-a/pods/p/exec",
    "POST /api/v1/namespaces/team-a/pods/p/portforward",
    "GET /api/v1/namespaces/team-a/secrets/s",
    "GET /api/v1/secrets",
    "POST /api/v1/namespaces/team-a/pods",
    "PATCH /apis/apps/v1/namespaces/team-a/deployments/d",
    "PATCH /apis/apps/v1/namespaces/team-b/deployments/d",
    "DELETE /api/v1/namespaces/team-a/pods/p",
    "DELETE /api/v1/namespaces/team-a/pods",
    "DELETE /api/v1/pods",
    "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "GET /api/v1/nodes/n/proxy/run",
];

/// As whom a request goes to the cluster: in its own role, or raised for this kind of request; the cluster's RBAC is asked
/// then. Two letters, the second says `+` where a rule raised it.
fn of_request(principal: &Principal, line: &str) -> String {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let request = kubernetes::read(method, path, query).unwrap();
    let judged = roadstead_policy::judge(principal, &cluster(), &request, now());
    let letter = |role: Role| &role.as_str()[..1];
    match judged.goes_as {
        _ if !judged.verdict.allowed => mark(&judged.verdict).to_string(),
        As::Raised(role) => format!("{}+", letter(role)),
        // Without a role that a cluster knows no identity is signed.
        As::Own => principal.cluster_roles().last().map_or("-".to_owned(), |role| letter(*role).to_owned()),
    }
}

fn rows_of(settings: &Settings) -> Vec<(&'static str, Vec<RouteRow>)> {
    vec![
        ("cluster", roadstead_cluster::routes(settings)),
        ("user", roadstead_user::routes()),
        ("operations", roadstead_operations::routes()),
    ]
}

fn table() -> String {
    let settings = Settings::load(ServiceRole::Up, None, &MapEnv::default()).unwrap();
    let subjects = subjects();
    let mut text = String::from("Who may do what. Columns:\n");
    for (number, subject) in subjects.iter().enumerate() {
        let _ = writeln!(text, "  {:>2} {}", number + 1, subject.name);
    }
    text.push_str(
        "\n+ allowed   - 403   0 404   . anybody, or the caller's own   > decided by the service behind\n\
         Routes with a permission: + means that there is something for which it is allowed; the owner decides about which.\n\
         To a cluster: v, o, a = goes on as viewer, operator, admin, and the cluster's RBAC decides; with + by a rule, for\n\
         this kind of request only.\n",
    );
    let line = |text: &mut String, marks: Vec<String>, name: &str| {
        for mark in marks {
            let _ = write!(text, "{mark:<3}");
        }
        let _ = writeln!(text, " {name}");
    };
    let head: Vec<String> = (1..=subjects.len()).map(|number| number.to_string()).collect();
    for (service, rows) in rows_of(&settings) {
        let _ = writeln!(text, "\n## REST: {service}");
        line(&mut text, head.clone(), "");
        for row in rows {
            let mark_of = |subject: &Subject| match row.access {
                Access::Action(action) => mark(&roadstead_policy::gate(&subject.principal, action, now())),
                Access::Delegated => '>',
                Access::Public | Access::Optional | Access::Authenticated => '.',
            };
            let access = match row.access {
                Access::Action(action) => format!("{}:{}", action.words().0, action.words().1),
                other => format!("{other:?}").to_lowercase(),
            };
            let marks = subjects.iter().map(|subject| mark_of(subject).to_string()).collect();
            line(&mut text, marks, &format!("{} {} ({access})", row.method, row.path));
        }
    }
    text.push_str("\n## Queues and handovers\n");
    line(&mut text, head.clone(), "");
    for kind in kinds() {
        let about = about(&kind).unwrap_or_else(|| panic!("{kind} is a message that this table does not know"));
        let marks = subjects.iter().map(|subject| of_message(&subject.principal, about).to_string()).collect();
        line(&mut text, marks, &kind);
    }
    text.push_str("\n## To a cluster's API: kubectl, proxy, terminal, logs\n");
    line(&mut text, head, "");
    for request in PROXY {
        let marks = subjects.iter().map(|subject| of_request(&subject.principal, request)).collect();
        line(&mut text, marks, request);
    }
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// The names of all messages: those of the queues and those that are handed over past them, `Name = "kind.v1" -> Reply`.
fn kinds() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(MESSAGES);
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let named = |line: &str| {
        let (name, _) = line.split_once("\" -> ")?;
        name.split_once(" = \"").map(|(_, name)| name.to_owned())
    };
    let found: BTreeSet<String> = texts.iter().flat_map(|text| text.lines()).filter_map(named).collect();
    assert!(found.len() > 40, "only {found:?}");
    found
}

#[test]
fn the_matrix_is_as_it_was() {
    let (file, table) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/matrix.golden"), table());
    if std::env::var_os("ROADSTEAD_RENEW_MATRIX").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    let drift = table.lines().zip(golden.lines().chain(std::iter::repeat(""))).find(|(one, two)| one != two);
    assert!(table == golden, "who may do what has changed; see the head of matrix.rs: {drift:?}");
}
