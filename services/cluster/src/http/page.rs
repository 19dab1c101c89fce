//! Pages of lists on `/api/v1`: bare arrays with `X-Total-Count` and `Link`.

use actix_web::HttpResponse;
use actix_web::http::header::LINK;
use roadstead_contracts::message::{Page, PageRequest};
use roadstead_contracts::names::Labels;
use roadstead_contracts::percent::escape;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::QueryPairs;
use serde::Serialize;

/// Rows when the caller names no number.
const LIMIT_DEFAULT: u32 = 100;
/// Most rows.
pub(super) const LIMIT_MAX: u32 = 1_000;
/// Longest cursor: ours have some 60 bytes.
const CURSOR_MAX: usize = 512;

/// Reads `limit`, `offset` and `cursor`, with seed 000's sentences.
pub(super) fn read(query: &QueryPairs) -> Result<PageRequest> {
    let fault = |name: &str, message: String| Error::field(&["query", name], "value_error", message);
    let limit = number(query, "limit")?;
    let offset = number(query, "offset")?;
    let limit = match limit {
        None => LIMIT_DEFAULT,
        Some(limit) if limit < 1 => return Err(fault("limit", "Limit must be positive".to_owned())),
        Some(limit) => u32::try_from(limit)
            .ok()
            .filter(|limit| *limit <= LIMIT_MAX)
            .ok_or_else(|| fault("limit", format!("Limit must be at most {LIMIT_MAX}")))?,
    };
    if offset.is_some_and(|offset| offset < 0) {
        return Err(fault("offset", "Offset must be non-negative".to_owned()));
    }
    let cursor = query.get("cursor").filter(|cursor| !cursor.is_empty());
    if cursor.is_some() && offset.is_some() {
        return Err(fault("cursor", "give either cursor or offset".to_owned()));
    }
    if cursor.is_some_and(|cursor| cursor.len() > CURSOR_MAX || !cursor.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(fault("cursor", "Invalid cursor parameter".to_owned()));
    }
    let offset = offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0);
    Ok(PageRequest { limit, offset, cursor: cursor.map(str::to_owned) })
}

fn number(query: &QueryPairs, name: &str) -> Result<Option<i64>> {
    let mut all = query.all(name);
    if all.next().is_some() && all.next().is_some() {
        return Err(Error::field(&["query", name], "value_error", format!("{name} is given twice")));
    }
    query.integer(name).map_err(|_| Error::field(&["query", name], "int_parsing", format!("Invalid {name} parameter")))
}

/// Reads `labels=key=value,key=value`.
pub(super) fn labels(query: &QueryPairs) -> Result<Labels> {
    let mut labels = Labels::default();
    let fault =
        || Error::field(&["query", "labels"], "value_error", "labels must be key=value pairs, joined by commas");
    for pair in query.all("labels").flat_map(|text| text.split(',')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(fault)?;
        labels.0.insert(key.to_owned(), value.to_owned());
    }
    labels.check().map_err(|_| fault())?;
    Ok(labels)
}

/// A page of a list with filters: the next page has the same ones.
pub(super) fn answer<T, V: Serialize>(
    path: &str,
    filters: &QueryPairs,
    page: Page<T>,
    asked: &PageRequest,
    view: impl Fn(T) -> V,
) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(("x-total-count", page.total.to_string()));
    if let Some(cursor) = &page.next_cursor {
        // Relative: the hub does not guess under which name it was called (RFC 8288 §3).
        let limit = asked.limit.to_string();
        let own = [("limit", limit.as_str()), ("cursor", cursor.as_str())];
        let kept = filters.pairs().filter(|(name, _)| !matches!(*name, "limit" | "cursor" | "offset"));
        let query: Vec<String> =
            own.into_iter().chain(kept).map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        response.insert_header((LINK, format!("<{path}?{}>; rel=\"next\"", query.join("&"))));
    }
    response.json(page.items.into_iter().map(view).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Result<PageRequest> {
        read(&QueryPairs::parse(text).unwrap())
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page("").unwrap(), PageRequest { limit: 100, offset: 0, cursor: None });
        assert_eq!(page("limit=5&offset=7").unwrap(), PageRequest { limit: 5, offset: 7, cursor: None });
        assert_eq!(page("cursor=abc").unwrap().cursor.as_deref(), Some("abc"));
        for (text, words) in [
            ("limit=abc", "Invalid limit parameter"),
            ("limit=0", "Limit must be positive"),
            ("limit=-1", "Limit must be positive"),
            ("limit=1000000000", "Limit must be at most 1000"),
            ("limit=99999999999999999999", "Invalid limit parameter"),
            ("offset=-1", "Offset must be non-negative"),
            ("offset=9223372036854775808", "Invalid offset parameter"),
            ("offset=x", "Invalid offset parameter"),
            ("cursor=a&offset=1", "give either cursor or offset"),
            ("limit=1&limit=2", "limit is given twice"),
        ] {
            assert_eq!(page(text).unwrap_err().detail, words, "{text}");
        }
    }

    #[test]
    fn labels_are_pairs() {
        let read = |text: &str| labels(&QueryPairs::parse(text).unwrap());
        assert_eq!(read("labels=a%3Db,c%3Dd").unwrap().0.len(), 2);
        assert!(read("").unwrap().0.is_empty());
        for bad in ["labels=a", "labels=%25%3Db", "labels=a%3D%27%20OR%201"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn regression_the_next_page_has_the_filter_of_this_one() {
        let query = QueryPairs::parse("labels=env%3Dprod&limit=2&offset=4").unwrap();
        let shown = Page { items: vec![1, 2], total: 3, next_cursor: Some("c".to_owned()) };
        let answer = answer("/api/v1/clusters", &query, shown, &page("limit=2").unwrap(), |item| item);
        let link = answer.headers().get(LINK).unwrap().to_str().unwrap();
        assert_eq!(link, "</api/v1/clusters?limit=2&cursor=c&labels=env%3Dprod>; rel=\"next\"");
    }
}
