//! Lists the files under `migrations/` for `src/migrate.rs`, so that the binary carries them and a new file is noticed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?)
        .join("../../migrations")
        .canonicalize()?;
    println!("cargo:rerun-if-changed={}", root.display());
    let mut rows = String::from("&[\n");
    for dialect in ["postgres", "sqlite"] {
        for service in sorted(&root.join(dialect))? {
            for up in sorted(&service)? {
                let name = file_name(&up);
                let Some(stem) = name.strip_suffix(".up.sql") else { continue };
                let Some((version, what)) = stem.split_once('_') else { continue };
                let (up, down) = (quoted(&up), quoted(&service.join(format!("{stem}.down.sql"))));
                let version: i64 = version.parse().map_err(io::Error::other)?;
                writeln!(
                    rows,
                    "    Migration {{ dialect: {dialect:?}, service: {:?}, version: {version}, name: {what:?}, up: include_str!({up}), down: include_str!({down}) }},",
                    file_name(&service),
                )
                .map_err(io::Error::other)?;
            }
        }
    }
    rows.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join("migrations.rs");
    fs::write(out, rows)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// As a string literal.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
