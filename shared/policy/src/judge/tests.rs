use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::TimeZone as _;
use proptest::prelude::*;
use roadstead_contracts::identity::{CredentialKind, Reach};
use roadstead_contracts::ids::{ClusterId, RuleId, TypedId, UserId};
use roadstead_contracts::policy::{ClustersDraft, RuleDraft};
use roadstead_contracts::scope::Scope;
use uuid::Uuid;

use super::*;
use crate::kubernetes;

fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(Uuid::from_u128(number))
}

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap()
}

fn cluster() -> ClusterFacts {
    ClusterFacts { id: id::<ClusterId>(7), name: Some("quay".to_owned()), labels: None, owner: None }
}

fn person(roles: &[Role], granted: bool, rules: Vec<Rule>) -> Principal {
    let clusters: BTreeSet<ClusterId> = granted.then(|| id(7)).into_iter().collect();
    Principal {
        user_id: id::<UserId>(1),
        user_seq: 1,
        username: "ada".to_owned(),
        email: String::new(),
        roles: roles.iter().copied().collect(),
        reach: Reach::Granted(clusters),
        credential: CredentialKind::QueuePeer(String::new()),
        scope: None,
        permissions: None,
        rules,
    }
}

/// `effect permissions namespaces kinds verbs`, lists joined by commas, `-` for every; for the cluster `quay`.
fn rule(number: u128, text: &str) -> Rule {
    let words: Vec<&str> = text.split(' ').collect();
    let list = |text: &str| match text {
        "-" => Vec::new(),
        text => text.split(',').map(str::to_owned).collect(),
    };
    let draft = RuleDraft {
        name: format!("r{number}"),
        effect: if words[0] == "allow" { Effect::Allow } else { Effect::Deny },
        subjects: vec!["*".to_owned()],
        permissions: list(words[1]),
        clusters: ClustersDraft { names: vec!["quay".to_owned()], labels: None },
        namespaces: list(words[2]),
        kinds: list(words[3]),
        verbs: list(words[4]),
        until: None,
        reason: None,
    };
    draft.checked(id::<RuleId>(number)).unwrap()
}

fn told(who: &Principal, line: &str) -> String {
    let (method, path) = line.split_once(' ').unwrap();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let request = kubernetes::read(method, path, query).unwrap();
    let Judgement { verdict, goes_as } = judge(who, &cluster(), &request, now());
    match (verdict.allowed, goes_as) {
        (true, As::Own) => "own".to_owned(),
        (true, As::Raised(role)) => role.as_str().to_owned(),
        (false, _) if verdict.is_invisible() => "invisible".to_owned(),
        (false, _) => verdict.rule().map_or("missing", |(_, name)| name).to_owned(),
    }
}

const IN_A: &str = "/apis/apps/v1/namespaces/team-a/deployments/web";
const IN_B: &str = "/apis/apps/v1/namespaces/team-b/deployments/web";

#[test]
fn without_rules_the_cluster_decides_about_whoever_may_read_it() {
    for role in Role::ALL {
        let who = person(&[role], true, Vec::new());
        for line in ["GET /api", "GET /api/v1/pods", "DELETE /api/v1/nodes", "POST /api/v1/namespaces/a/pods/b/exec"] {
            assert_eq!(told(&who, line), "own", "{role:?} {line}");
        }
        assert_eq!(told(&person(&[role], false, Vec::new()), "GET /api"), "invisible");
    }
    assert_eq!(told(&person(&[], true, Vec::new()), "GET /api"), "missing");
}

#[test]
fn a_rule_raises_for_what_it_covers_and_nothing_else() {
    let rules = vec![rule(1, "allow clusters:*,operations:*,*:read team-a - -")];
    let viewer = person(&[Role::Viewer], true, rules.clone());
    for (line, expected) in [
        (format!("PATCH {IN_A}"), "operator"),
        (format!("GET {IN_A}"), "operator"),
        (format!("PATCH {IN_B}"), "own"),
        ("GET /api/v1/namespaces/team-a/secrets".to_owned(), "operator"),
        ("POST /api/v1/namespaces/team-a/pods/x/exec".to_owned(), "operator"),
        ("GET /api/v1/secrets".to_owned(), "own"),
        ("DELETE /apis/apps/v1/deployments".to_owned(), "own"),
        ("POST /api/v1/nodes".to_owned(), "own"),
        ("GET /openapi/v3".to_owned(), "own"),
    ] {
        assert_eq!(told(&viewer, &line), expected, "{line}");
    }
    // P05: without a grant there is the namespace and nothing beside it.
    let of_namespace = person(&[Role::Viewer], false, rules);
    for (line, expected) in [
        (format!("PATCH {IN_A}"), "operator"),
        ("GET /api/v1/namespaces/team-a/pods?watch=1".to_owned(), "operator"),
        ("GET /api/v1/namespaces/team-a".to_owned(), "operator"),
        ("GET /api/v1/pods".to_owned(), "missing"),
        ("GET /api/v1/pods?fieldSelector=metadata.namespace=team-a".to_owned(), "missing"),
        (format!("GET {IN_B}"), "missing"),
        ("DELETE /api/v1/pods".to_owned(), "missing"),
        ("GET /api/v1/nodes/n/proxy/run".to_owned(), "missing"),
        ("GET /api/v1/namespaces".to_owned(), "missing"),
        ("GET /metrics".to_owned(), "missing"),
        ("GET /apis/apps/v1".to_owned(), "viewer"),
        ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(), "viewer"),
    ] {
        assert_eq!(told(&of_namespace, &line), expected, "{line}");
    }
    let shown = namespaces(&of_namespace, &cluster(), now()).unwrap();
    assert!(shown.has("team-a") && !shown.has("team-b"));
    assert!(namespaces(&viewer, &cluster(), now()).unwrap().has("team-b"));
}

#[test]
fn what_a_rule_is_worth() {
    let pods = "GET /api/v1/namespaces/a/pods";
    let secrets = "GET /api/v1/namespaces/a/secrets/x";
    for (text, pods_as, secrets_as) in [
        ("allow clusters:read - - -", "viewer", "viewer"),
        ("allow clusters:read - secrets get,list", "missing", "operator"),
        ("allow *:* - - -", "admin", "admin"),
        ("allow operations:write - - -", "missing", "missing"),
        ("allow clusters:read,operations:write a - -", "operator", "operator"),
    ] {
        let who = person(&[], false, vec![rule(1, text)]);
        assert_eq!((told(&who, pods).as_str(), told(&who, secrets).as_str()), (pods_as, secrets_as), "{text}");
    }
    // Somebody who is more than a rule is worth stays what it is.
    let operator = person(&[Role::Operator], true, vec![rule(1, "allow clusters:read - secrets -")]);
    assert_eq!(told(&operator, secrets), "own");
    let admin_for_now = person(&[Role::Operator], true, vec![rule(1, "allow *:* - - -")]);
    assert_eq!(told(&admin_for_now, "POST /apis/rbac.authorization.k8s.io/v1/clusterroles"), "admin");
}

fn over(rule: Rule) -> Rule {
    Rule { until: Some(now()), ..rule }
}

fn elsewhere(rule: Rule) -> Rule {
    Rule {
        clusters: roadstead_contracts::policy::Clusters { names: ["other".to_owned()].into(), labels: None },
        ..rule
    }
}

#[test]
fn a_rule_that_is_over_or_for_another_cluster_raises_nobody() {
    let gives = || rule(1, "allow clusters:*,operations:*,*:read team-a - -");
    for useless in [over(gives()), elsewhere(gives()), rule(1, "allow users:write - - -")] {
        let viewer = person(&[Role::Viewer], true, vec![useless.clone()]);
        for line in [format!("PATCH {IN_A}"), format!("GET {IN_A}")] {
            assert_eq!(told(&viewer, &line), "own", "{line} {useless:?}");
        }
        let nobody = person(&[], true, vec![useless.clone()]);
        assert_eq!(told(&nobody, &format!("GET {IN_A}")), "missing", "{useless:?}");
        assert!(!enters(&nobody, &cluster(), now()).allowed, "{useless:?}");
        assert_eq!(namespaces(&nobody, &cluster(), now()).unwrap_err().ground, Ground::Missing, "{useless:?}");
    }
}

#[test]
fn who_is_more_than_a_rule_is_worth_stays_what_it_is() {
    let rules = vec![rule(1, "allow clusters:read,operations:write - - -")];
    for role in [Role::Admin, Role::Operator] {
        let who = person(&[role], true, rules.clone());
        for line in [format!("PATCH {IN_A}"), format!("GET {IN_A}")] {
            assert_eq!(told(&who, &line), "own", "{role:?} {line}");
        }
        let change = [RequestKind::of("patch", "configmaps", Some("team-a"))];
        assert_eq!(judge_change(&who, &cluster(), &change, now()).goes_as, As::Own, "{role:?}");
    }
    // Every kind is no kind by name.
    let of_all = person(&[], false, vec![rule(1, "allow clusters:read - * -")]);
    assert_eq!(told(&of_all, "GET /api/v1/namespaces/a/pods"), "viewer");
}

#[test]
fn the_rule_that_raises_is_named() {
    let rules = vec![rule(2, "allow clusters:*,operations:*,*:read team-a - -"), rule(1, "allow clusters:read - - -")];
    let viewer = person(&[Role::Viewer], true, rules.clone());
    let patch = RequestKind::of("patch", "configmaps", Some("team-a"));
    for verdict in [
        judge(&viewer, &cluster(), &patch, now()).verdict,
        judge_change(&viewer, &cluster(), std::slice::from_ref(&patch), now()).verdict,
    ] {
        assert_eq!(verdict.rule().map(|(_, name)| name), Some("r2"));
    }
    // Allowed by its role, and done in the higher one of a rule: the rule is what is told.
    let operator = person(&[Role::Operator], true, vec![rule(1, "allow *:* - - -")]);
    let judged = judge_change(&operator, &cluster(), std::slice::from_ref(&patch), now());
    assert_eq!((judged.goes_as, judged.verdict.rule().map(|(_, name)| name)), (As::Raised(Role::Admin), Some("r1")));
    assert_eq!(judge(&operator, &cluster(), &patch, now()), judged);
    let nobody = person(&[], false, rules);
    assert_eq!(enters(&nobody, &cluster(), now()).rule().map(|(_, name)| name), Some("r1"));
    let of_namespace = person(&[], false, vec![rule(3, "allow operations:write team-a - -")]);
    let verdict = enters(&of_namespace, &cluster(), now());
    assert_eq!((verdict.allowed, verdict.rule().map(|(_, name)| name)), (true, Some("r3")));
}

#[test]
fn namespaces_are_shown_as_far_as_rules_reach() {
    let listed = |rules: Vec<Rule>| {
        let who = person(&[], false, rules);
        let shown = namespaces(&who, &cluster(), now()).unwrap();
        ["team-a", "team-b", "team-c"].map(|name| shown.has(name))
    };
    let (a, b) = (|| rule(1, "allow clusters:read team-a pods -"), || rule(2, "allow clusters:read team-b pods -"));
    assert_eq!(listed(vec![a(), b()]), [true, true, false]);
    assert_eq!(listed(vec![a(), over(b())]), [true, false, false]);
    assert_eq!(listed(vec![a(), elsewhere(b())]), [true, false, false]);
    assert_eq!(listed(vec![a(), rule(2, "deny clusters:read team-b pods -")]), [true, false, false]);
    let every = || Rule { clusters: roadstead_contracts::policy::Clusters::default(), ..b() };
    assert_eq!(listed(vec![a(), every()]), [true, true, false]);
    assert_eq!(listed(vec![a(), rule(3, "allow clusters:read - pods -")]), [true, true, true], "in every namespace");
    // A rule that denies the list is named; who may not look at the cluster is told that.
    let viewer = person(&[Role::Viewer], true, vec![rule(1, "deny clusters:read - namespaces list")]);
    assert_eq!(namespaces(&viewer, &cluster(), now()).unwrap_err().rule().map(|(_, name)| name), Some("r1"));
    let stranger = person(&[Role::Viewer], false, Vec::new());
    assert!(namespaces(&stranger, &cluster(), now()).unwrap_err().is_invisible());
}

#[test]
fn deny_rules_refuse_changes_that_would_show_what_is_hidden() {
    let rules = vec![rule(3, "deny *:read - secrets -"), rule(4, "deny operations:write prod - -")];
    let operator = person(&[Role::Operator], true, rules);
    for (line, expected) in [
        ("GET /api/v1/namespaces/a/secrets", "r3"),
        ("GET /api/v1/secrets?watch=true", "r3"),
        ("PATCH /api/v1/namespaces/a/secrets/x", "r3"),
        ("GET /api/v1/namespaces/prod/pods", "own"),
        ("DELETE /api/v1/namespaces/prod/pods/x", "r4"),
        ("DELETE /api/v1/pods", "r4"),
        ("DELETE /api/v1/namespaces/prod", "r4"),
        ("GET /api/v1/namespaces/prod/pods/x/exec", "r4"),
        ("GET /apis", "own"),
    ] {
        assert_eq!(told(&operator, line), expected, "{line}");
    }
    let out = person(&[Role::Admin], true, vec![rule(5, "deny *:* - - -")]);
    for line in ["GET /api", "GET /api/v1/pods", "DELETE /api/v1/nodes/x"] {
        assert_eq!(told(&out, line), "r5", "{line}");
    }
}

#[test]
fn a_scope_narrows_what_rules_give() {
    let reads = Scope { permissions: Some(["*:read".to_owned()].into()), ..Scope::default() };
    let mut who = person(&[Role::Viewer], true, vec![rule(1, "allow operations:*,clusters:* team-a - -")]);
    who.scope = Some(reads);
    assert_eq!(told(&who, &format!("PATCH {IN_A}")), "own", "as the viewer that the key is held to");
    who.reach = Reach::Granted(BTreeSet::new());
    assert_eq!(told(&who, &format!("PATCH {IN_A}")), "missing");
    who.scope = Some(Scope { clusters: Some([id(8)].into()), ..Scope::default() });
    assert_eq!(told(&who, &format!("PATCH {IN_A}")), "invisible");
}

#[test]
fn every_kind_of_change_is_judged() {
    let kinds = |texts: &[&str]| -> Vec<RequestKind> {
        let read = |text: &&str| {
            let words: Vec<&str> = text.split(' ').collect();
            RequestKind::of(words[0], words[1], words.get(2).copied())
        };
        texts.iter().map(read).collect()
    };
    let told = |who: &Principal, texts: &[&str]| {
        let judged = judge_change(who, &cluster(), &kinds(texts), now());
        (judged.verdict.allowed, judged.goes_as)
    };
    let here = ["create configmaps team-a", "patch configmaps team-a"];
    let mixed = ["patch configmaps team-a", "patch configmaps team-b"];
    let anything = ["delete * "];
    let viewer = person(&[Role::Viewer], true, vec![rule(1, "allow operations:* team-a - -")]);
    assert_eq!(told(&viewer, &here), (true, As::Raised(Role::Operator)));
    assert!(!told(&viewer, &mixed).0 && !told(&viewer, &["delete *"]).0 && !told(&viewer, &[]).0);
    let operator = person(&[Role::Operator], true, vec![rule(1, "deny *:* team-b - -")]);
    assert_eq!(told(&operator, &here), (true, As::Own));
    assert!(!told(&operator, &mixed).0);
    let no_secrets = person(&[Role::Operator], true, vec![rule(1, "deny *:* - secrets delete")]);
    assert!(told(&no_secrets, &here).0 && !told(&no_secrets, &["delete *"]).0);
    assert!(told(&person(&[Role::Operator], true, Vec::new()), &anything).0);
    assert!(!told(&person(&[Role::Operator], false, Vec::new()), &here).0);
}

/// Only the API server knows that a `Mouse` is one of the `mice`: a rule may name either, and each holds.
#[test]
fn regression_a_kind_with_an_odd_plural_is_named_by_its_kind() {
    let mouse = RequestKind {
        also: Some("mouse.example.org".to_owned()),
        ..RequestKind::of("patch", "mouses.example.org", Some("team-a"))
    };
    let told = |who: &Principal| judge_change(who, &cluster(), std::slice::from_ref(&mouse), now()).verdict.allowed;
    for kinds in ["mouse.example.org", "mouses.example.org", "*.example.org"] {
        assert!(told(&person(&[], false, vec![rule(1, &format!("allow operations:* team-a {kinds} -"))])), "{kinds}");
        assert!(!told(&person(&[Role::Admin], true, vec![rule(1, &format!("deny *:* - {kinds} -"))])), "{kinds}");
    }
    assert!(!told(&person(&[Role::Admin], true, vec![rule(1, "deny *:* - mouse -")])), "in any group");
    for other in ["mice.example.org", "mouse.example.com"] {
        assert!(!told(&person(&[], false, vec![rule(1, &format!("allow operations:* team-a {other} -"))])), "{other}");
    }
}

#[test]
fn whoever_acts_as_somebody_must_be_allowed_it_and_so_must_they() {
    let asked = |line: &str| {
        let (method, path) = line.split_once(' ').unwrap();
        kubernetes::read(method, path, None).unwrap()
    };
    let acting = |who: &Principal, line: &str| judge_acting(who, &cluster(), &asked(line), now()).allowed;
    let admin = person(&[Role::Admin], true, Vec::new());
    assert!(
        acting(&admin, &format!("DELETE {IN_A}")) && acting(&admin, "GET /api") && acting(&admin, "GET /api/v1/nodes")
    );
    // A key that only reads changes nothing as somebody else, whatever the cluster gave to them.
    let words = ["clusters:read", "clusters:impersonate"].map(str::to_owned);
    let reads = Scope { permissions: Some(words.into()), ..Scope::default() };
    let reader = Principal { scope: Some(reads), ..admin.clone() };
    assert_eq!(told(&reader, &format!("DELETE {IN_A}")), "own", "as themselves the cluster's RBAC decides");
    assert!(!acting(&reader, &format!("DELETE {IN_A}")) && acting(&reader, &format!("GET {IN_A}")));
    let denied_to_admin = person(&[Role::Admin], true, vec![rule(1, "deny operations:write team-a - -")]);
    assert!(
        !acting(&denied_to_admin, &format!("DELETE {IN_A}")) && acting(&denied_to_admin, &format!("DELETE {IN_B}"))
    );

    let rules =
        [rule(2, "deny operations:write team-a - -"), rule(3, "deny *:read - secrets -"), rule(4, "allow *:* - - -")];
    let by = |line: &str| {
        let found = denied(&rules, &cluster(), &asked(line), now());
        found.and_then(|verdict| verdict.rule().map(|(_, name)| name.to_owned()))
    };
    assert_eq!(by(&format!("DELETE {IN_A}")).as_deref(), Some("r2"));
    assert_eq!(by("PATCH /api/v1/namespaces/b/secrets/x").as_deref(), Some("r3"), "what is hidden is not changed");
    assert_eq!((by(&format!("GET {IN_A}")), by("GET /api"), by(&format!("DELETE {IN_B}"))), (None, None, None));
}

#[test]
fn what_denies_is_the_first_rule_that_stands() {
    let patch = RequestKind::of("patch", "configmaps", Some("team-a"));
    let by = |rules: &[Rule]| denied(rules, &cluster(), &patch, now()).map(|verdict| verdict.ground);
    let deny = |number| rule(number, "deny operations:write team-a - -");
    let named = |number: u128| Some(Ground::Rule { id: id(number), name: format!("r{number}") });
    assert_eq!(by(&[deny(3), deny(2), rule(1, "deny operations:write team-b - -")]), named(2));
    assert_eq!(by(&[over(deny(2)), deny(3)]), named(3));
    assert_eq!(by(&[over(deny(2)), elsewhere(deny(3)), rule(1, "allow *:* - - -")]), None);
}

#[test]
fn namespaces_are_listed_in_ones_own_name_or_for_nothing_else() {
    let by = |who: &Principal| lists_namespaces_by(who, &cluster(), now());
    let every = Some(RequestKind::of("list", "namespaces", None));
    assert_eq!(by(&person(&[Role::Viewer], true, Vec::new())), None);
    assert_eq!(by(&person(&[], false, vec![rule(1, "allow clusters:read - - -")])), every);
    assert_eq!(by(&person(&[Role::Viewer], true, vec![rule(1, "allow clusters:read - namespaces -")])), every);
    let of_namespace = person(&[], false, vec![rule(1, "allow clusters:read team-a - -")]);
    assert_eq!(by(&of_namespace), Some(RequestKind::discovery()));
}

proptest! {
    /// However a path is spelt: it is refused, or it is judged as the plain one.
    #[test]
    fn no_spelling_changes_a_verdict(
        namespace in "(team-a|team-b)", kind in "(secrets|configmaps)",
        marks in prop::collection::vec(0_u8..25, 70), slash in any::<bool>(),
    ) {
        let who = person(
            &[Role::Viewer],
            false,
            vec![rule(1, "allow *:* team-a - -"), rule(2, "deny *:* team-a secrets -")],
        );
        let plain = format!("/api/v1/namespaces/{namespace}/{kind}/x");
        let mut spelt = String::new();
        for (byte, mark) in plain.bytes().zip(marks) {
            match mark {
                0 => drop(write!(spelt, "%{byte:02x}")),
                1 => spelt.push(char::from(byte).to_ascii_uppercase()),
                2 if byte == b'/' => spelt.push_str("//"),
                3 if byte == b'/' => spelt.push_str("/%2e/"),
                4 if byte == b'/' => spelt.push_str("/x/../"),
                _ => spelt.push(char::from(byte)),
            }
        }
        if slash {
            spelt.push('/');
        }
        let expected = judge(&who, &cluster(), &kubernetes::read("GET", &plain, None).unwrap(), now());
        if let Ok(request) = kubernetes::read("GET", &spelt, None) {
            prop_assert_eq!(judge(&who, &cluster(), &request, now()), expected, "{}", spelt);
        }
    }
}
