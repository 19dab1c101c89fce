//! KubeSage's role names and permission words, mapped onto our roles.

use std::collections::BTreeSet;

use roadstead_contracts::identity::Role;

/// The names, with the role each stands for.
pub const SEED_ROLES: [(&str, Role); 5] = [
    ("Super Admin", Role::Admin),
    ("Platform Engineer", Role::Operator),
    ("DevOps", Role::Operator),
    ("Developer", Role::Viewer),
    ("Security Engineer", Role::Viewer),
];

/// The name under which a KubeSage client sees a role.
pub fn seed_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "Super Admin",
        Role::Operator => "DevOps",
        Role::Viewer => "Developer",
    }
}

/// Names of all roles, most powerful first, joined by commas; `None` when there is none.
pub fn seed_names(roles: &BTreeSet<Role>) -> Option<String> {
    let names: Vec<_> = roles.iter().rev().map(|role| seed_name(*role)).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// Reads role names: ours or KubeSage's in any spelling (`super_admin`), separated by commas. Empty parts do not count;
/// `None` when a name is unknown.
pub fn parse_roles<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<BTreeSet<Role>> {
    names
        .into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(parse_role)
        .collect()
}

fn parse_role(name: &str) -> Option<Role> {
    let key = key(name);
    Role::parse(&key).or_else(|| SEED_ROLES.iter().find(|(seed, _)| self::key(seed) == key).map(|(_, role)| *role))
}

/// The upstream's own spelling of a role as a key: lower case, spaces to lines.
fn key(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

/// What a KubeSage role's holder sees in its web UI. Unknown roles see nothing.
pub fn permission_words(name: &str) -> &'static [&'static str] {
    match key(name).as_str() {
        "super_admin" | "admin" => &["all"],
        "platform_engineer" | "devops" | "operator" => &[
            "dashboard",
            "clusters",
            "applications",
            "workloads",
            "analyze",
            "chatops",
            "insights",
            "observability",
            "carbon-emission",
            "cost",
            "backup",
            "settings",
            "integrations",
            "help",
            "remediations",
            "anomalies",
        ],
        "developer" | "viewer" => {
            &["dashboard", "applications", "workloads", "analyze", "chatops", "insights", "observability", "help"]
        }
        "security_engineer" => {
            &["dashboard", "insights", "observability", "security", "compliance", "anomalies", "help"]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        assert_eq!(parse_roles(["Super Admin"]), Some([Role::Admin].into()));
        assert_eq!(parse_roles(["super_admin,viewer"]), Some([Role::Admin, Role::Viewer].into()));
        assert_eq!(parse_roles(["operator", "Developer"]), Some([Role::Operator, Role::Viewer].into()));
        assert_eq!(parse_roles([""]), Some(BTreeSet::new()));
        // The predecessor asked `"Super Admin" in roles`, and matched parts of words.
        for odd in ["non-admin", "not Super Admin", "a", "adm", "Super  Admin"] {
            assert_eq!(parse_roles([odd]), None, "{odd}");
        }
    }

    #[test]
    fn names_are_joined_as_the_seed_does() {
        assert_eq!(seed_names(&[Role::Viewer, Role::Admin].into()).as_deref(), Some("Super Admin,Developer"));
        assert_eq!(seed_names(&BTreeSet::new()), None);
    }

    #[test]
    fn words() {
        assert_eq!(permission_words("Super Admin"), ["all"]);
        assert!(permission_words("devops").contains(&"clusters") && permission_words("nobody").is_empty());
    }
}
