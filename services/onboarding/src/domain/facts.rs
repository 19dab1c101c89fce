//! What an agent says about its cluster is text from outside: cut and cleaned before it is kept, shown or logged
//! (reliability row W10).

use roadstead_contracts::agent::{FACT_TEXT_MAX, ISSUES_MAX};
use roadstead_contracts::message::ClusterFacts;

/// The words of seed 000 for a cluster's health.
const HEALTH: [&str; 3] = ["healthy", "degraded", "unhealthy"];

/// Cuts every text and list to its limit.
pub(crate) fn cut_facts(facts: ClusterFacts) -> ClusterFacts {
    ClusterFacts {
        kubernetes_version: facts.kubernetes_version.map(|text| cut_text(&text)),
        agent_version: facts.agent_version.map(|text| cut_text(&text)),
        platform: facts.platform.map(|text| cut_text(&text)),
        node_count: facts.node_count,
        ready_nodes: facts.ready_nodes,
        health: facts.health.filter(|word| HEALTH.contains(&word.as_str())),
        issues: facts.issues.into_iter().take(ISSUES_MAX).map(|text| cut_text(&text)).collect(),
    }
}

/// One line of at most [`FACT_TEXT_MAX`] bytes: control and direction-changing characters become spaces.
pub(crate) fn cut_text(text: &str) -> String {
    let mut cut = String::with_capacity(text.len().min(FACT_TEXT_MAX));
    for character in text.chars() {
        let odd = character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}');
        let character = if odd { ' ' } else { character };
        if cut.len() + character.len_utf8() > FACT_TEXT_MAX {
            break;
        }
        cut.push(character);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_short_line() {
        assert_eq!(cut_text("a\r\nb\u{1b}[31m\u{202e}c"), "a  b [31m c");
        assert_eq!(cut_text(&"é".repeat(1 << 20)).len(), FACT_TEXT_MAX);
    }

    #[test]
    fn facts_are_bounded() {
        let facts = ClusterFacts {
            agent_version: Some("v".repeat(1 << 20)),
            health: Some("<script>".to_owned()),
            issues: vec!["x".repeat(1_000); 10_000],
            ..ClusterFacts::default()
        };
        let cut = cut_facts(facts);
        assert_eq!(cut.agent_version.unwrap().len(), FACT_TEXT_MAX);
        assert_eq!(cut.health, None);
        assert_eq!(cut.issues.len(), ISSUES_MAX);
    }
}
