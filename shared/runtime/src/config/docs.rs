//! Writes `.env.example` and the documentation page from the rows.

use std::fmt::Write as _;

use super::sections::{VARIABLES_WITHOUT_EFFECT, WITHOUT_EFFECT};
use super::table::{On, Row};
use super::{SECTIONS, Section, agent};

/// The file `.env.example`: every variable of the mesh, those it does not start without first.
pub fn env_example() -> String {
    let mut text = String::from(
        "# Settings of a Roadstead mesh. Generated from the settings table by `cargo xtask drift`; do not edit.\n\
         # Copy to .env. docs/configuration.md explains each, and which names of the seeds work as well.\n\
         # Every secret can be given as a file instead: NAME_FILE=/path.\n\n\
         # ---- fill these in first: they have no default that a mesh starts with, and samples are refused ----\n",
    );
    for row in SECTIONS.iter().flat_map(|(_, rows)| rows.iter()).filter(|row| row.is_must()) {
        let _ = writeln!(text, "\n# {}\n{}=", line(row.doc), row.env_name());
    }
    for (title, rows) in &SECTIONS {
        let rows: Vec<&Row> = rows.iter().filter(|row| !row.is_must()).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n# ---- {} ----", title.to_lowercase());
        for row in rows {
            let _ = writeln!(text, "\n# {}\n#{}={}", line(row.doc), row.env_name(), row.default);
        }
    }
    text
}

/// The page `docs/configuration.md`.
pub fn page() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Generated from the settings table by `cargo xtask drift`; do not edit. -->\n\n\
         Built-in defaults, then a YAML file, then the environment, then the command line: the later wins. The file is named by\n\
         `--config`, `ROADSTEAD_CONFIG_FILE`, or seed 000's `MCKMT_CONFIG_FILE` and `MCKMT_CONFIG_PATH`. A key `server.port` is\n\
         `port` under `server:` in the file and `ROADSTEAD_SERVER_PORT` in the environment. Lists are separated by commas in the\n\
         environment; pairs are written `name=value`.\n\n\
         - An empty variable counts as unset.\n\
         - A secret may come from a file: `NAME_FILE=/path`, for each of its names.\n\
         - Two names of one setting that are set to different values are an error, and so is an unknown `ROADSTEAD_…` name or key.\n\
         - Names that Kubernetes makes for Services (`…_SERVICE_HOST`, `…_PORT=tcp://…`, `…_PORT_80_TCP…`) are passed over.\n\
         - Sample secrets from documents are refused, unless `dev` is on.\n\
         - All problems are shown at once, without any secret, and the exit code is 2.\n\n\
         `up` names the default of `roadstead up` where it differs. Names marked *serve* count only for `roadstead serve`.\n",
    );
    for section in &SECTIONS {
        write_section(&mut text, section);
    }
    text.push_str("\n# The agent\n\nThe file is named by `--config` or seed 000's `MCKMT_CONFIG_PATH`.\n");
    for section in &agent::SECTIONS {
        write_section(&mut text, section);
    }
    text.push_str(
        "\n# Names without effect\n\nThese names of the seeds are understood, so that their files and environments load; whoever sets one is told.\n\n\
         | Name | Why |\n|---|---|\n",
    );
    for (path, why) in WITHOUT_EFFECT {
        let _ = writeln!(text, "| `{path}`, `MCKMT_{}` | {why} |", super::table::upper(path));
    }
    for (name, why) in VARIABLES_WITHOUT_EFFECT {
        let _ = writeln!(text, "| `{name}` | {why} |");
    }
    for (path, why) in agent::WITHOUT_EFFECT {
        let _ = writeln!(text, "| `{path}` (agent) | {why} |");
    }
    text
}

fn write_section(text: &mut String, (title, rows): &Section) {
    let _ = write!(text, "\n## {title}\n\n| Key | Environment | Default | Kind | Meaning |\n|---|---|---|---|---|\n");
    for row in *rows {
        let mut names = Vec::new();
        for (name, on, unit, from) in row.names() {
            let mut shown = format!("`{name}`");
            let unit = match unit {
                "m" => "minutes",
                other => other,
            };
            let mut remarks: Vec<String> = Vec::new();
            if !unit.is_empty() {
                remarks.push(unit.to_owned());
            }
            match on {
                On::Any => {}
                On::Serve => remarks.push("*serve*".to_owned()),
                On::Only(role) => remarks.push(format!("*serve {}*", role.as_str())),
            }
            if !from.is_empty() {
                remarks.push(from.to_owned());
            }
            if !remarks.is_empty() {
                let _ = write!(shown, " ({})", remarks.join(", "));
            }
            if !names.contains(&shown) {
                names.push(shown);
            }
        }
        let up = row.default_for(super::ServiceRole::Up);
        let default = match (row.default, up) {
            (default, up) if default == up => shown_default(default),
            (default, up) => format!("{}; up: {}", shown_default(default), shown_default(up)),
        };
        let also: Vec<String> =
            row.paths().skip(1).filter(|path| *path != row.key).map(|path| format!("`{path}`")).collect();
        let key = if also.is_empty() {
            format!("`{}`", row.key)
        } else {
            format!("`{}`, {} (seed 000)", row.key, also.join(", "))
        };
        let _ = writeln!(text, "| {key} | {} | {default} | {} | {} |", names.join(", "), row.kind, line(row.doc));
    }
}

fn shown_default(default: &str) -> String {
    if default.is_empty() { "none".to_owned() } else { format!("`{default}`") }
}

/// The lines of a documentation comment as one.
fn line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
