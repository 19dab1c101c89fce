//! Pages of lists that show the newest first, by a per-table integer `seq`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadstead_contracts::message::{Page, PageRequest};
use roadstead_contracts::{Error, Result};

/// Rows of a page when the caller does not say.
pub const LIMIT_DEFAULT: u32 = 100;
/// Most rows of a page.
pub const LIMIT_MAX: u32 = 1_000;
/// First byte of a cursor: the next form gets another.
const CURSOR_VERSION: u8 = 1;

/// What to ask the database for: `WHERE seq < before ORDER BY seq DESC LIMIT fetch OFFSET offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    limit: usize,
    /// Rows older than this one; `i64::MAX` for the first page.
    pub before: i64,
    /// One row more than the page, which tells whether there is another page.
    pub fetch: i64,
    /// Rows to skip.
    pub offset: i64,
}

impl Window {
    /// Checks a request. A limit of 0 means "not said" on the queues; the HTTP doors refuse it before.
    pub fn of(request: &PageRequest) -> Result<Self> {
        let limit = if request.limit == 0 { LIMIT_DEFAULT } else { request.limit };
        if limit > LIMIT_MAX {
            return Err(Error::field(
                &["query", "limit"],
                "less_than_equal",
                format!("limit must be at most {LIMIT_MAX}"),
            ));
        }
        let Ok(offset) = i64::try_from(request.offset) else {
            return Err(Error::field(&["query", "offset"], "less_than_equal", "offset is too large"));
        };
        let before = match &request.cursor {
            None => i64::MAX,
            Some(_) if offset > 0 => {
                return Err(Error::field(&["query", "cursor"], "value_error", "cursor and offset do not go together"));
            }
            Some(text) => read_cursor(text)
                .ok_or_else(|| Error::field(&["query", "cursor"], "value_error", "cursor is not one of ours"))?,
        };
        Ok(Self { limit: limit as usize, before, fetch: i64::from(limit) + 1, offset })
    }

    /// Makes the page out of the fetched rows; `seq` tells a row's number.
    pub fn page<T>(&self, mut rows: Vec<T>, total: u64, seq: impl Fn(&T) -> i64) -> Page<T> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next_cursor = if more { rows.last().map(|row| write_cursor(seq(row))) } else { None };
        Page { items: rows, total, next_cursor }
    }

    /// The same for rows that may be long: the page ends before it grows beyond `most`, but never before its first row.
    pub fn page_within<T>(
        &self,
        rows: Vec<T>,
        total: u64,
        seq: impl Fn(&T) -> i64,
        (size, most): (impl Fn(&T) -> usize, usize),
    ) -> Page<T> {
        let mut sum = 0_usize;
        let fits = |row: &&T| {
            sum = sum.saturating_add(size(row));
            sum <= most
        };
        let fitting = rows.iter().take_while(fits).count().max(1);
        Self { limit: self.limit.min(fitting), ..*self }.page(rows, total, seq)
    }
}

fn write_cursor(seq: i64) -> String {
    let mut bytes = [CURSOR_VERSION; 9];
    bytes[1..].copy_from_slice(&seq.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(text: &str) -> Option<i64> {
    let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let [version, number @ ..] = bytes;
    let seq = i64::from_be_bytes(number);
    (version == CURSOR_VERSION && seq > 0).then_some(seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(limit: u32, offset: u64, cursor: Option<&str>) -> PageRequest {
        PageRequest { limit, offset, cursor: cursor.map(str::to_owned) }
    }

    #[test]
    fn pages_follow_each_other() {
        let window = Window::of(&request(2, 0, None)).unwrap();
        assert_eq!((window.before, window.fetch), (i64::MAX, 3));
        let page = window.page(vec![9, 7, 5], 12, |row| *row);
        assert_eq!((page.items, page.total), (vec![9, 7], 12));
        let next = Window::of(&request(2, 0, page.next_cursor.as_deref())).unwrap();
        assert_eq!(next.before, 7);
        assert_eq!(next.page(vec![5], 12, |row| *row).next_cursor, None);
    }

    #[test]
    fn long_rows_make_short_pages() {
        let window = Window::of(&request(3, 0, None)).unwrap();
        let page = |rows: Vec<i64>, most| {
            window.page_within(rows, 9, |row| *row, (|row| usize::try_from(*row).unwrap(), most))
        };
        assert_eq!(page(vec![9, 7, 5, 3], 16).items, [9, 7]);
        assert!(page(vec![9, 7, 5, 3], 16).next_cursor.is_some());
        assert_eq!(page(vec![9, 7], 16).next_cursor, None);
        assert_eq!((page(vec![9, 7], 1).items, page(vec![], 1).items), (vec![9], vec![]));
        assert_eq!(page(vec![9, 7, 5, 3], 100).items, [9, 7, 5]);
    }

    #[test]
    fn odd_requests_are_refused() {
        for odd in [
            request(LIMIT_MAX + 1, 0, None),
            request(10, u64::MAX, None),
            request(10, 1, Some("AQAAAAAAAAAH")),
            request(10, 0, Some("")),
            request(10, 0, Some("AQAAAAAAAAAHAA")),
            request(10, 0, Some("' OR 1=1")),
        ] {
            assert!(Window::of(&odd).is_err(), "{odd:?}");
        }
    }
}
