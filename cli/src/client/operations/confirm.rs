//! Asks before a change that removes or stops something goes to more than one cluster.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

use super::super::ended::Ended;
use super::files::Manifest;
use super::model::plain;

/// Clusters that are named; of the others there is a number.
const NAMED: usize = 10;

/// Asks about a change that removes or stops something, when it goes to more than one cluster: says how many and which.
pub(super) fn several(what: &str, clusters: &[String], yes: bool) -> Result<()> {
    if yes || clusters.len() < 2 { Ok(()) } else { ask(&question(what, clusters)) }
}

/// `Remove 7 objects in each of 12 clusters (a, b, … and 2 more)?`
pub(super) fn question(what: &str, clusters: &[String]) -> String {
    let mut names: Vec<&str> = clusters.iter().take(NAMED).map(String::as_str).collect();
    let more = clusters.len().saturating_sub(NAMED);
    let last = if more > 0 { format!("{more} more") } else { names.pop().unwrap_or_default().to_owned() };
    let listed = if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) };
    match clusters.len() {
        1 => format!("{what} in the cluster {listed}?"),
        count => format!("{what} in each of {count} clusters ({listed})?"),
    }
}

/// Asks on a terminal; refuses to guess elsewhere.
pub(super) fn ask(question: &str) -> Result<()> {
    let question = plain(question);
    if !std::io::stdin().is_terminal() {
        let said = format!("{question}\nNobody can be asked here, and nothing was done: say --yes to do it");
        return Err(Ended::usage(said).into());
    }
    // Not on standard output, where a program may read the answer to the command.
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Ended { code: 3, said: "nothing was done".to_owned() }.into())
    }
}

/// How many objects are in files, as the hub reads them: `1 object`, `7 objects`.
pub(super) fn objects(files: &[Manifest]) -> Result<String> {
    let mut count = 0;
    for file in files {
        // What is wrong with them is told now, in the hub's words.
        count += roadstead_manifest::parse_named(&file.name, &file.text)?.len();
    }
    Ok(if count == 1 { "1 object".to_owned() } else { format!("{count} objects") })
}

/// `to revision 3`, `to the revision before`.
pub(super) fn revision(revision: Option<impl std::fmt::Display>) -> String {
    revision.map_or_else(|| "the revision before".to_owned(), |number| format!("revision {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("c{number}")).collect()
    }

    #[test]
    fn clusters_are_counted_and_named_up_to_ten() {
        let asked = |count| question("Remove 1 object", &clusters(count));
        assert_eq!(asked(1), "Remove 1 object in the cluster c1?");
        assert_eq!(asked(3), "Remove 1 object in each of 3 clusters (c1, c2 and c3)?");
        let ten = "Remove 1 object in each of 10 clusters (c1, c2, c3, c4, c5, c6, c7, c8, c9 and c10)?";
        assert_eq!(asked(10), ten);
        assert!(asked(12).ends_with("of 12 clusters (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10 and 2 more)?"));
    }

    #[test]
    fn regression_objects_are_counted_not_files() {
        let file = |text: &str| Manifest { name: "a.yaml".to_owned(), text: text.as_bytes().to_vec() };
        let map = |name: &str| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n");
        let two = format!("{}---\n{}", map("a"), map("b"));
        let list = format!("{{apiVersion: v1, kind: List, items: [{}, {}]}}", map("c").trim(), map("d").trim());
        assert_eq!(objects(&[file(&two), file(&list)]).unwrap(), "4 objects");
        assert_eq!(objects(&[file(&map("a"))]).unwrap(), "1 object");
        assert!(objects(&[file("a: [")]).unwrap_err().to_string().contains("a.yaml"));
    }

    #[test]
    fn one_cluster_and_a_yes_need_no_answer() {
        assert!(several("Stop it", &clusters(1), false).is_ok());
        assert!(several("Stop it", &clusters(9), true).is_ok());
    }
}
