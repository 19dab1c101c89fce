//! Pages that are written by hand and must be complete: one for each error code, one line for each dependency.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use roadstead_contracts::Code;

/// Each code has a page that begins with its name, status and title, and no page is about anything else.
pub(crate) fn check_errors(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let folder = root.join("docs/errors");
    for code in Code::ALL {
        let name = format!("docs/errors/{code}.md");
        let head = format!("# {code}\n\n**{} {}**\n", code.status(), code.title());
        match fs::read_to_string(root.join(&name)) {
            Ok(page) if page.starts_with(&head) => {}
            Ok(_) => faults.push(format!("{name} does not begin with {head:?}")),
            Err(_) => faults.push(format!("{name} is missing")),
        }
    }
    for entry in fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = Code::ALL.iter().any(|code| name == format!("{code}.md")) || name == "README.md";
        if !known {
            faults.push(format!("docs/errors/{name} is about no error code"));
        }
    }
    Ok(())
}

/// Each third-party dependency of the workspace has a line in the table, and no line is about anything else.
pub(crate) fn check_dependencies(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let page = fs::read_to_string(root.join("docs/dependencies.md")).unwrap_or_default();
    let crates = dependencies(&manifest);
    let rows: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    for name in &crates {
        if !rows.contains(name) {
            faults.push(format!("docs/dependencies.md has no line for {name}"));
        }
    }
    for row in rows {
        if !crates.contains(&row) {
            faults.push(format!("docs/dependencies.md has a line for {row}, which the workspace does not name"));
        }
    }
    Ok(())
}

/// Names in `[workspace.dependencies]` that are not ours.
fn dependencies(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("roadstead") && !name.starts_with('#'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_third_parties_are_listed() {
        let manifest = "[workspace]\nx = 1\n[workspace.dependencies]\nroadstead-a = { path = \"a\" }\n# why\n\nserde = \"1\"\n[profile]\ny = 2\n";
        assert_eq!(dependencies(manifest), ["serde"]);
    }
}
