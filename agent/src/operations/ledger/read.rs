//! A file, read back.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use roadstead_contracts::operation::{RUN_EVENT_MAX, RunEvent};

use super::{Damaged, FILE_BYTES_MAX, Record, Story};

/// Longest line: an event and its frame.
const LINE_MAX: usize = RUN_EVENT_MAX + 64 * 1024;

/// Reads a file. The last line may be cut.
pub(in crate::operations) fn read(path: &Path) -> io::Result<Result<Story, Damaged>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut story = Story::default();
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = reader.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut text)?;
        if length == 0 {
            break;
        }
        let whole = text.last() == Some(&b'\n');
        let record = serde_json::from_slice::<Record>(&text);
        let (Ok(record), true) = (record, whole) else {
            // Only the end may be torn: behind it nothing was written any more.
            let torn = !whole && length <= LINE_MAX && story.head.is_some();
            if torn && reader.fill_buf()?.is_empty() {
                break;
            }
            return Ok(Err(Damaged));
        };
        let at = story.length;
        story.length += length as u64;
        let first = story.head.is_none();
        match record {
            Record::Head(head) if first => story.head = Some(head),
            Record::Head(_) => return Ok(Err(Damaged)),
            _ if first => return Ok(Err(Damaged)),
            Record::Before { position, key, .. } => {
                story.before.insert(position, at);
                story.touched.extend(key.map(|key| (position, key)));
            }
            Record::Event { told: RunEvent::Object(result) } => {
                story.finished.insert(result.position, result.outcome);
            }
            Record::Event { .. } => {}
            Record::Ended { ending } => story.ending = Some(ending),
        }
    }
    if story.head.is_none() { Ok(Err(Damaged)) } else { Ok(Ok(story)) }
}

/// Takes the earlier states of another attempt over.
pub(super) fn carry(path: &Path, text: &mut Vec<u8>, story: &mut Story) -> io::Result<()> {
    let Ok(old) = read(path)? else { return Ok(()) };
    let mut file = File::open(path)?;
    for (position, at) in &old.before {
        let record = line_at(&mut file, *at)?;
        if text.len() + record.len() > usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) {
            break;
        }
        story.before.insert(*position, text.len() as u64);
        text.extend_from_slice(&record);
    }
    Ok(())
}

/// The line that begins there.
pub(super) fn line_at(file: &mut File, at: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut text = Vec::new();
    BufReader::new(file.take(LINE_MAX as u64)).read_until(b'\n', &mut text)?;
    Ok(text)
}
