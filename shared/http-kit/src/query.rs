//! Query strings as pairs, so that a handler can say which parameter is wrong in the words of its seed.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use roadstead_contracts::{Code, Error, Result};

use crate::ApiFailure;

/// Most pairs that are looked at.
const PAIRS_MAX: usize = 64;

/// The pairs of a query string. An extractor.
#[derive(Debug, Clone, Default)]
pub struct QueryPairs(Vec<(String, String)>);

impl QueryPairs {
    /// Reads a query string.
    pub fn parse(text: &str) -> Result<Self> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(text).map_err(|_| Error::new(Code::BadRequest, "the query is malformed"))?;
        if pairs.len() > PAIRS_MAX {
            return Err(Error::new(Code::BadRequest, "the query has too many parameters"));
        }
        Ok(Self(pairs))
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be there once: two readers of a query could disagree about which counts
    /// (RFC 6749 §3.1).
    pub fn one(&self, name: &str) -> Result<Option<&str>> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
            _ => Err(Error::new(Code::BadRequest, format!("{name} may be there once"))),
        }
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every parameter, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter that must be there and not empty.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Error::field(&["query", name], "missing", "Field required"))
    }

    /// A number, when the parameter is there.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // No sign but a minus, no spaces: `i64` would take `+1`.
        let plain = text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain).map(Some).ok_or_else(|| {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            Error::field(&["query", name], "int_parsing", message)
        })
    }
}

impl FromRequest for QueryPairs {
    type Error = ApiFailure;
    type Future = Ready<std::result::Result<Self, ApiFailure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.query_string()).map_err(ApiFailure::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named_when_wrong() {
        let query = QueryPairs::parse("limit=5&name=a%20b&name=c&big=99999999999999999999&plus=%2B1").unwrap();
        assert_eq!(query.integer("limit").unwrap(), Some(5));
        assert_eq!(query.integer("none").unwrap(), None);
        assert_eq!(query.all("name").collect::<Vec<_>>(), ["a b", "c"]);
        for bad in ["name", "big", "plus"] {
            assert_eq!(query.integer(bad).unwrap_err().errors[0].loc, ["query", bad]);
        }
        assert_eq!(query.required("agent_id").unwrap_err().errors[0].kind, "missing");
    }
}
