//! What is not watched any more, with what went along: a namespace takes what was in it, a definition the objects of its kind.

use roadstead_contracts::operation::ObjectKey;
use serde_json::Value;

use super::memory::Place;

/// An object that is not to be watched any more.
#[derive(Debug, Clone)]
pub(crate) struct Gone {
    pub(super) key: ObjectKey,
    with: With,
}

/// What went along with it.
#[derive(Debug, Clone)]
enum With {
    Nothing,
    /// What was in this namespace.
    Namespace(String),
    /// Objects of a kind. Its own name is known where the definition was read before it was removed.
    Kind {
        group: String,
        plural: String,
        kind: Option<String>,
    },
}

impl Gone {
    /// Only the object itself: it may still be there.
    pub(crate) fn alone(key: ObjectKey) -> Self {
        Self { key, with: With::Nothing }
    }

    /// An operation wanted it away, and it is. `before`: how it was.
    pub(crate) fn removed(key: ObjectKey, before: Option<&Value>) -> Self {
        let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
        let with = match (group, key.kind.as_str()) {
            ("", "Namespace") => With::Namespace(key.name.clone()),
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                let kind = before.and_then(|before| before.pointer("/spec/names/kind")).and_then(Value::as_str);
                // The API server takes no other name than this.
                key.name.split_once('.').map_or(With::Nothing, |(plural, group)| With::Kind {
                    group: group.to_owned(),
                    plural: plural.to_owned(),
                    kind: kind.map(str::to_owned),
                })
            }
            _ => With::Nothing,
        };
        Self { key, with }
    }

    /// Whether anything may have gone along.
    pub(super) fn took_others(&self) -> bool {
        !matches!(self.with, With::Nothing)
    }

    /// Whether what is there went along.
    pub(super) fn took(&self, place: &Place) -> bool {
        match &self.with {
            With::Nothing => false,
            With::Namespace(name) => place.namespace.as_ref() == Some(name),
            With::Kind { group, plural, kind } => {
                let is_kind = match kind {
                    Some(kind) => place.kind == *kind,
                    None => may_be_called(&place.kind, plural),
                };
                place.group == *group && is_kind
            }
        }
    }
}

/// Whether a plural is made of a kind as tools make them. Asked only about a definition that somebody else had removed.
fn may_be_called(kind: &str, plural: &str) -> bool {
    let kind = kind.to_lowercase();
    let rest = plural.strip_prefix(kind.as_str());
    rest.is_some_and(|rest| matches!(rest, "" | "s" | "es"))
        || kind.strip_suffix('y').is_some_and(|stem| plural.strip_prefix(stem) == Some("ies"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectKey {
        ObjectKey {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    fn took(gone: &Gone, key: &ObjectKey) -> bool {
        gone.took(&Place::of(key))
    }

    #[test]
    fn what_was_inside_goes_along_and_nothing_else() {
        let inside = key("v1", "ConfigMap", Some("shop"), "a");
        let namespace = Gone::removed(key("v1", "Namespace", None, "shop"), None);
        assert!(took(&namespace, &inside));
        assert!(!took(&namespace, &key("v1", "ConfigMap", Some("other"), "a")));
        assert!(!took(&namespace, &key("v1", "Node", None, "shop")));
        assert!(!took(&Gone::alone(key("v1", "Namespace", None, "shop")), &inside));
        // Somebody else's kind of that name.
        assert!(!took(&Gone::removed(key("example.com/v1", "Namespace", None, "shop"), None), &inside));

        let definition = key("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, "mice.example.com");
        let mouse = key("example.com/v1beta1", "Mouse", Some("shop"), "m");
        let before = json!({ "spec": { "names": { "kind": "Mouse" } } });
        let read = Gone::removed(definition.clone(), Some(&before));
        assert!(took(&read, &mouse) && !took(&read, &key("example.com/v1", "Cat", None, "c")));
        assert!(!took(&read, &key("example.org/v1", "Mouse", Some("shop"), "m")));
        assert!(!took(&Gone::removed(definition, None), &mouse), "nobody knows what they are called");
        for (kind, plural) in [("Cat", "cats"), ("Policy", "policies"), ("Bus", "buses"), ("Series", "series")] {
            assert!(may_be_called(kind, plural), "{kind}");
        }
        assert!(!may_be_called("Cat", "catalogues"));
    }
}
