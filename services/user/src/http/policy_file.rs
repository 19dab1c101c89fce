//! Rules out of a YAML file: what is wrong is told with its place, and never repeated.

use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::body;
use serde_saphyr::Error as Fault;

use super::policy_shapes::RuleSet;

/// Reads `rules:`. The parser bounds depth and aliases.
pub(super) fn read(bytes: &[u8]) -> Result<RuleSet> {
    let mut place = None;
    let read = serde_saphyr::with_deserializer_from_slice(bytes, |reader| {
        serde_path_to_error::deserialize(reader).map_err(|fault| {
            place = Some(fault.path().clone());
            fault.into_inner()
        })
    });
    read.map_err(|fault| match (place, sentence(fault.without_snippet())) {
        (Some(place), Some(sentence)) => body::refused(&place, &sentence),
        _ => Error::new(Code::BadRequest, "the YAML is not a list of rules under `rules:`"),
    })
}

/// serde's sentence of a fault, as the reader of JSON has it; the parser's own may repeat what was sent.
fn sentence(fault: &Fault) -> Option<String> {
    Some(match fault {
        Fault::SerdeUnknownVariant { expected, .. } => {
            let good: Vec<String> = expected.iter().map(|word| format!("`{word}`")).collect();
            format!("unknown variant , expected {}", good.join(" or "))
        }
        Fault::SerdeInvalidType { expected, .. } => format!("invalid type: , expected {expected}"),
        Fault::SerdeInvalidValue { expected, .. } => format!("invalid value: , expected {expected}"),
        Fault::SerdeMissingField { field, .. } => format!("missing field `{field}`"),
        Fault::SerdeUnknownField { .. } => "unknown field `it`".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn regression_a_wrong_effect_is_told_with_its_place() {
        let good = "{name: a, effect: deny, subjects: ['*'], permissions: ['users:read']}";
        let detail = |text: &str| read(text.as_bytes()).unwrap_err().detail.into_owned();
        let wrong = good.replace("deny", "hunter2");
        assert_eq!(
            detail(&format!("rules:\n- {good}\n- {good}\n- {good}\n- {wrong}\n")),
            "rules[3].effect: expected `allow` or `deny`"
        );
        assert_eq!(detail("rules: [{name: a}]"), "rules[0].effect: Field required");
        assert_eq!(detail("other: []"), "Extra inputs are not permitted");
        for odd in ["", "rules: [", "rules: [&a [*a, *a]]", "7"] {
            assert!(!detail(odd).is_empty(), "{odd}");
        }
        assert_eq!(read(format!("rules: [{good}]").as_bytes()).unwrap().rules.len(), 1);
    }

    #[test]
    fn regression_clusters_in_a_list_are_told_what_they_should_be() {
        let rule = |clusters: &str| {
            let text = format!(
                "{{name: a, effect: deny, subjects: ['*'], permissions: ['users:read'], clusters: {clusters}}}"
            );
            read(format!("rules: [{text}]").as_bytes())
        };
        assert_eq!(
            rule("[prod]").unwrap_err().detail,
            "rules[0].clusters: expected an object with `names`, a list, or `labels`, a selector"
        );
        assert_eq!(rule("{name: prod}").unwrap_err().detail, "rules[0].clusters.name: Extra inputs are not permitted");
        assert_eq!(rule("{names: [prod]}").unwrap().rules.len(), 1);
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in ".{0,80}") {
            let _ = read(text.as_bytes());
            let _ = read(format!("rules: [{text}]").as_bytes());
        }
    }
}
