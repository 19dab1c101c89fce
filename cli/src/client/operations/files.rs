//! Manifests from where the command line says: files, folders, standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// What the hub takes; more is refused there anyway.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most files of one command.
const FILES_MAX: usize = 256;
/// What is taken from a folder.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// A file that was read.
pub(super) struct Manifest {
    /// Its name, for messages.
    pub(super) name: String,
    /// What is in it.
    pub(super) text: Vec<u8>,
}

/// Reads what is named: folders give their manifests in the order of their names, not those of folders within.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Manifest>> {
    let mut found = Vec::new();
    let mut left = BYTES_MAX;
    for path in paths {
        if path.as_os_str() == "-" {
            let text = take(std::io::stdin().lock(), &mut left).context("failed to read standard input")?;
            found.push(Manifest { name: "stdin".to_owned(), text });
        } else if path.is_dir() {
            let files = folder(path)?;
            if files.is_empty() {
                bail!("{} holds no .yaml, .yml or .json", path.display());
            }
            for file in files {
                found.push(one(&file, &mut left)?);
            }
        } else {
            found.push(one(path, &mut left)?);
        }
        if found.len() > FILES_MAX {
            bail!("more than {FILES_MAX} files; join some with ---");
        }
    }
    Ok(found)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(path).with_context(|| format!("failed to list {}", path.display()))?;
    let mut files = Vec::new();
    for entry in list {
        let file = entry.with_context(|| format!("failed to list {}", path.display()))?.path();
        let fits = file.extension().and_then(|end| end.to_str()).is_some_and(|end| ENDINGS.contains(&end));
        if fits && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn one(path: &Path, left: &mut u64) -> Result<Manifest> {
    let file = std::fs::File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let text = take(file, left).with_context(|| format!("failed to read {}", path.display()))?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Manifest { name, text })
}

fn take(reader: impl std::io::Read, left: &mut u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    reader.take(*left + 1).read_to_end(&mut text)?;
    *left = left.checked_sub(text.len() as u64).with_context(|| format!("more than {BYTES_MAX} bytes of manifests"))?;
    Ok(text)
}

/// The files as a form of manifests; answers its content type too.
pub(super) fn form(files: &[Manifest]) -> (String, Vec<u8>) {
    parts(files.iter().map(|file| ("manifests", file)))
}

/// Files as a form, each in a field.
pub(super) fn fields(files: &[(&str, Manifest)]) -> (String, Vec<u8>) {
    parts(files.iter().map(|(field, file)| (*field, file)))
}

/// A form (RFC 7578).
fn parts<'f>(files: impl Iterator<Item = (&'f str, &'f Manifest)> + Clone) -> (String, Vec<u8>) {
    let mut boundary = "roadstead-manifests".to_owned();
    while files.clone().any(|(_, file)| contains(&file.text, boundary.as_bytes())) {
        boundary.push_str("-0");
    }
    let mut body = Vec::new();
    for (field, file) in files {
        let plain: String =
            file.name.chars().filter(|character| !matches!(character, '"' | '\\') && !character.is_control()).collect();
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{plain}\"\r\n\r\n")
                .as_bytes(),
        );
        body.extend_from_slice(&file.text);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// The files as texts of a JSON body.
pub(super) fn texts(files: &[Manifest]) -> Result<Vec<String>> {
    let text =
        |file: &Manifest| String::from_utf8(file.text.clone()).with_context(|| format!("{} is not UTF-8", file.name));
    files.iter().map(text).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_in_order_and_only_manifests() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", "c.json", "d.txt", "e.yaml.bak"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::create_dir(folder.path().join("f.yaml")).unwrap();
        let found = read(&[folder.path().to_owned()]).unwrap();
        assert_eq!(found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a.yaml", "b.yml", "c.json"]);
        assert!(read(&[folder.path().join("none.yaml")]).is_err());
    }

    #[test]
    fn a_boundary_is_in_no_file() {
        let file = Manifest { name: "a\"\r\n.yaml".to_owned(), text: b"# roadstead-manifests\n".to_vec() };
        let (kind, body) = form(&[file]);
        assert!(kind.ends_with("roadstead-manifests-0"));
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("filename=\"a.yaml\"") && body.ends_with("--roadstead-manifests-0--\r\n"));
    }
}
