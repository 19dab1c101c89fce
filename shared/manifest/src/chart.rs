//! Charts of Helm, looked at before anything unpacks them: an archive that names places outside its folder, holds links, or
//! grows beyond reason is refused here, at the hub's door and again at the agent.
//!
//! Only what a chart needs of tar is read: files and folders, with the two ways of writing long names.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use roadstead_contracts::{Code, Error};
use serde_json::Value;

use crate::bundle::{Piece, pieces};
use crate::yaml;

/// Bytes of everything in a chart, unpacked: Helm keeps a release in one Secret, so real ones have some hundred KiB.
pub const CHART_UNPACKED_MAX: u64 = 64 * 1024 * 1024;
/// Files and folders of a chart.
pub const CHART_ENTRIES_MAX: usize = 10_000;
/// Longest path in a chart.
const PATH_MAX: usize = 1_024;
/// Longest `Chart.yaml`, and longest record of a long name.
const ABOUT_MAX: u64 = 1024 * 1024;
/// A block of tar.
const BLOCK: usize = 512;

/// What a chart says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

/// Reads what an archive of a chart is; refuses what must not be unpacked.
pub fn check_chart(archive: &[u8]) -> Result<Chart, Error> {
    let mut tar = Tar { unpacked: MultiGzDecoder::new(archive).take(CHART_UNPACKED_MAX + 1) };
    let (mut top, mut about, mut entries) = (None::<String>, None, 0);
    let mut long_name = None;
    while let Some(header) = tar.header()? {
        entries += 1;
        if entries > CHART_ENTRIES_MAX {
            return Err(refused("it holds too many files"));
        }
        match header.kind {
            b'L' => long_name = Some(text(tar.content(header.size, ABOUT_MAX)?)?),
            b'x' => long_name = path_of(&tar.content(header.size, ABOUT_MAX)?)?.or(long_name),
            b'g' => tar.skip(header.size)?,
            b'0' | 0 | b'5' => {
                let path = long_name.take().unwrap_or(header.path);
                let folder = folder_of(&path)?;
                if top.get_or_insert_with(|| folder.to_owned()) != folder {
                    return Err(refused("it holds more than one folder"));
                }
                if path == format!("{folder}/Chart.yaml") {
                    about = Some(tar.content(header.size, ABOUT_MAX)?);
                } else {
                    tar.skip(header.size)?;
                }
            }
            _ => return Err(refused("it holds links or devices")),
        }
    }
    chart(about.ok_or_else(|| refused("it has no Chart.yaml"))?)
}

/// The files of a body that [`fn@crate::bundle`] wrote, with their names.
pub fn files(body: &[u8]) -> Result<Vec<(&str, &[u8])>, Error> {
    let damaged = || Error::new(Code::BadRequest, "the bundle is damaged");
    let pieces = pieces("", body)?.into_iter();
    let file = |piece| match piece {
        // A body that is no bundle comes back as one file without a name.
        Piece::File { name, bytes } if !name.is_empty() => Ok((name, bytes)),
        _ => Err(damaged()),
    };
    pieces.map(file).collect()
}

fn chart(about: Vec<u8>) -> Result<Chart, Error> {
    let broken = || refused("its Chart.yaml cannot be read");
    let read = yaml::read("Chart.yaml", &text(about)?).map_err(|_| broken())?;
    let value = read.into_iter().map(|read| read.value).find(Value::is_object).ok_or_else(broken)?;
    let field =
        |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty() && text.len() < 256);
    match (field("name"), field("version")) {
        (Some(name), Some(version)) => Ok(Chart { name: name.to_owned(), version: version.to_owned() }),
        _ => Err(refused("its Chart.yaml has no name or no version")),
    }
}

/// The first folder of a path that stays below it.
fn folder_of(path: &str) -> Result<&str, Error> {
    let clean = path.strip_suffix('/').unwrap_or(path);
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let strange = |character: char| character.is_control() || matches!(character, '\\' | ':');
    if path.len() > PATH_MAX || clean.split('/').any(odd) || clean.contains(strange) {
        return Err(refused("it names a place outside its folder"));
    }
    Ok(clean.split('/').next().unwrap_or_default())
}

/// The path of extended headers, if they have one: `length key=value`, line by line.
fn path_of(records: &[u8]) -> Result<Option<String>, Error> {
    let mut rest = records;
    let mut path = None;
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length: usize =
            std::str::from_utf8(&rest[..space]).ok().and_then(|text| text.parse().ok()).ok_or_else(broken)?;
        let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(broken)?;
        if let Some(value) = record.strip_prefix(b"path=") {
            path = Some(text(value.to_vec())?);
        }
        rest = &rest[length..];
    }
    Ok(path)
}

fn text(bytes: Vec<u8>) -> Result<String, Error> {
    let text = String::from_utf8(bytes).map_err(|_| broken())?;
    Ok(text.trim_end_matches('\0').to_owned())
}

fn broken() -> Error {
    refused("it is not a whole .tgz archive")
}

fn refused(why: &str) -> Error {
    Error::new(Code::ChartRefused, format!("the chart is refused: {why}"))
}

struct Header {
    path: String,
    size: u64,
    kind: u8,
}

/// An archive being read.
struct Tar<R> {
    unpacked: std::io::Take<R>,
}

impl<R: Read> Tar<R> {
    /// The next header; none at the end.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let field = |from: usize, to: usize| {
            let bytes = &block[from..to];
            bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
        };
        let name = text(field(0, 100))?;
        let prefix = if block[257..262] == *b"ustar" { text(field(345, 500))? } else { String::new() };
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let size = std::str::from_utf8(&block[124..136]).map_err(|_| broken())?;
        let size = size.trim_matches(|character| character == ' ' || character == '\0');
        let size = if size.is_empty() { 0 } else { u64::from_str_radix(size, 8).map_err(|_| broken())? };
        Ok(Some(Header { path, size, kind: block[156] }))
    }

    fn content(&mut self, size: u64, longest: u64) -> Result<Vec<u8>, Error> {
        if size > longest {
            return Err(refused("a file of it is too long"));
        }
        let mut content = vec![0; usize::try_from(size).map_err(|_| broken())?];
        self.fill(&mut content)?;
        self.pad(size)?;
        Ok(content)
    }

    fn skip(&mut self, size: u64) -> Result<(), Error> {
        let skipped = std::io::copy(&mut self.unpacked.by_ref().take(size), &mut std::io::sink());
        if skipped.ok() != Some(size) {
            return Err(self.cut());
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if over > 0 {
            let mut rest = [0; BLOCK];
            self.fill(&mut rest[..BLOCK - over])?;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.unpacked.read_exact(buffer).map_err(|_| self.cut())
    }

    /// Why there is no more.
    fn cut(&self) -> Error {
        if self.unpacked.limit() == 0 { refused("it is too large when it is unpacked") } else { broken() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn entry(path: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut block = [0_u8; BLOCK];
        block[..path.len()].copy_from_slice(path.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = kind;
        block[257..262].copy_from_slice(b"ustar");
        let mut out = block.to_vec();
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    fn packed(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&entries.concat()).unwrap();
        packer.write_all(&[0; 2 * BLOCK]).unwrap();
        packer.finish().unwrap()
    }

    fn about() -> Vec<u8> {
        entry("buoy/Chart.yaml", b'0', b"apiVersion: v2\nname: buoy\nversion: 1.0.0\n")
    }

    #[track_caller]
    fn refused_with(entries: &[Vec<u8>], why: &str) {
        let error = check_chart(&packed(entries)).unwrap_err();
        assert_eq!(error.code, Code::ChartRefused);
        assert!(error.detail.contains(why), "{}", error.detail);
    }

    #[test]
    fn a_chart_says_what_it_is() {
        let entries = [entry("buoy/", b'5', b""), about(), entry("buoy/templates/a.yaml", b'0', b"kind: A\n")];
        let chart = Chart { name: "buoy".to_owned(), version: "1.0.0".to_owned() };
        assert_eq!(check_chart(&packed(&entries)).unwrap(), chart);
        let long = format!("buoy/{}", "a/".repeat(60));
        let record = format!("path={long}a\n");
        let record = format!("{} {record}", record.len() + 4);
        let entries = [about(), entry("x", b'x', record.as_bytes()), entry("buoy/short", b'0', b"x")];
        assert_eq!(check_chart(&packed(&entries)).unwrap(), chart);
    }

    #[test]
    fn nothing_leaves_the_folder() {
        for path in ["buoy/../../etc/passwd", "/etc/passwd", "../x", "buoy//x", "buoy/./x", "buoy\\x", "C:/x", ""] {
            refused_with(&[about(), entry(path, b'0', b"x")], "outside");
        }
        let record = b"21 path=buoy/../../x\n";
        refused_with(&[about(), entry("p", b'x', record), entry("buoy/ok", b'0', b"x")], "outside");
        refused_with(&[about(), entry("other/x", b'0', b"x")], "more than one folder");
        for kind in [b'1', b'2', b'3', b'6'] {
            refused_with(&[about(), entry("buoy/link", kind, b"")], "links");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let content = vec![0; usize::try_from(CHART_UNPACKED_MAX).unwrap()];
        let bomb = packed(&[about(), entry("buoy/zeros", b'0', &content)]);
        assert!(bomb.len() < 1024 * 1024);
        assert!(check_chart(&bomb).unwrap_err().detail.contains("too large"));
        let many: Vec<_> = (0..=CHART_ENTRIES_MAX).map(|number| entry(&format!("buoy/{number}"), b'0', b"")).collect();
        refused_with(&many, "too many");
    }

    #[test]
    fn garbage_is_no_chart() {
        let good = packed(&[about()]);
        for garbage in [&b""[..], b"nonsense", &good[..good.len() / 2], &good[1..]] {
            assert_eq!(check_chart(garbage).unwrap_err().code, Code::ChartRefused);
        }
        refused_with(&[entry("buoy/values.yaml", b'0', b"a: 1\n")], "no Chart.yaml");
        refused_with(&[entry("buoy/Chart.yaml", b'0', b"name: buoy\n")], "no version");
        refused_with(&[entry("buoy/Chart.yaml", b'0', b"[")], "cannot be read");
        let mut odd = about();
        odd[124..136].copy_from_slice(b"77777777777\0");
        refused_with(&[odd], "too long");
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_archive_does_not_panic(
            damage in proptest::collection::vec((0_usize..3 * BLOCK, proptest::num::u8::ANY), 0..12),
            kind in proptest::num::u8::ANY,
        ) {
            let mut tar = [about(), entry("buoy/x", kind, b"12 path=buoy\n")].concat();
            for (at, byte) in damage {
                tar[at] = byte;
            }
            if let Ok(chart) = check_chart(&packed(&[tar.clone()])) {
                assert!(!chart.name.is_empty() && !chart.version.is_empty());
            }
            let _ = check_chart(&tar);
        }
    }

    #[test]
    fn files_of_a_bundle_come_back() {
        let body = crate::bundle([("chart.tgz", &b"\x1f\x8b"[..]), ("values.yaml", b"a: 1\n")]);
        assert_eq!(files(&body).unwrap(), [("chart.tgz", &b"\x1f\x8b"[..]), ("values.yaml", b"a: 1\n")]);
        assert!(files(&crate::bundle([])).unwrap().is_empty());
        assert!(files(b"kind: A").is_err() && files(b"#roadstead-bundle\n#file 9 x\na").is_err());
    }
}
