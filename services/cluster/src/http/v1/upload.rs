//! Manifests in the ways that clients send them: a form with files, YAML, a JSON object, and the JSON around texts that
//! seed 000 declares. Its Python client says JSON and sends a form: the body itself tells then.

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use bytes::Bytes;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::body;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::SourceFile;
use crate::domain::multipart::{self, Broken};

/// Name of the form's field (seed 000).
const FIELD: &str = "manifests";
/// The seed's sentences.
const NO_FORM: &str = "Failed to parse multipart form";
const NO_FILE: &str = "No manifests file provided";

/// What came.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) files: Vec<SourceFile>,
    pub(super) namespace: Option<String>,
    pub(super) dry_run: Option<bool>,
}

/// Manifests as texts: one, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Texts {
    /// One text of any number of documents.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn files(self) -> Vec<SourceFile> {
        let texts = match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        };
        let one = texts.len() == 1;
        let name = |number: usize| if one { FIELD.to_owned() } else { format!("{FIELD}[{number}]") };
        texts
            .into_iter()
            .enumerate()
            .map(|(number, text)| SourceFile { name: name(number), text: text.into() })
            .collect()
    }
}

/// Seed 000's `ApplyManifests`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManifestsBody {
    /// YAML or JSON texts.
    manifests: Texts,
    /// For objects that name no namespace.
    #[serde(default)]
    namespace: Option<String>,
    /// Only ask the API server what would change.
    #[serde(default)]
    dry_run: Option<bool>,
}

/// Reads a body by its type.
pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Upload> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "multipart/form-data" => form(body, multipart::boundary_of(kind).or_else(|| multipart::sniff(body))),
        "application/json" if body.starts_with(b"--") => form(body, multipart::sniff(body)),
        "application/json" => json(body),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" | "text/vnd.yaml" => {
            Ok(Upload { files: vec![SourceFile { name: FIELD.to_owned(), text: body.clone() }], ..Upload::default() })
        }
        _ => Err(Error::new(
            Code::UnsupportedMediaType,
            "send a form (multipart/form-data) with the field manifests, application/yaml or application/json",
        )),
    }
}

fn form(body: &Bytes, boundary: Option<String>) -> Result<Upload> {
    let broken = |Broken| Error::new(Code::BadRequest, NO_FORM);
    let parts = multipart::parse(body, &boundary.ok_or(Broken).map_err(broken)?).map_err(broken)?;
    let files: Vec<SourceFile> = parts
        .into_iter()
        .filter(|part| part.field == FIELD)
        .map(|part| {
            let name = part.file.filter(|name| !name.is_empty()).unwrap_or_else(|| FIELD.to_owned());
            SourceFile { name, text: part.body }
        })
        .collect();
    if files.iter().all(|file| file.text.iter().all(u8::is_ascii_whitespace)) {
        return Err(Error::new(Code::BadRequest, NO_FILE));
    }
    Ok(Upload { files, ..Upload::default() })
}

/// An object, a List, or the seed's JSON around texts.
fn json(body: &Bytes) -> Result<Upload> {
    // Read strictly, so that what is no JSON is told with its position.
    let value: Value = body::parse(body)?;
    if value.get("kind").is_some() || value.get("apiVersion").is_some() {
        let file = SourceFile { name: FIELD.to_owned(), text: body.clone() };
        return Ok(Upload { files: vec![file], ..Upload::default() });
    }
    let read: ManifestsBody = body::parse(body)?;
    Ok(Upload { files: read.manifests.files(), namespace: read.namespace, dry_run: read.dry_run })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn upload(kind: &'static str, body: &str) -> Result<Upload> {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        read(&headers, &Bytes::copy_from_slice(body.as_bytes()))
    }

    fn texts(upload: Upload) -> Vec<(String, String)> {
        let text = |file: SourceFile| (file.name, String::from_utf8(file.text.to_vec()).unwrap());
        upload.files.into_iter().map(text).collect()
    }

    const FORM: &str =
        "--b\r\nContent-Disposition: form-data; name=\"manifests\"; filename=\"manifests\"\r\n\r\nkind: A\r\n--b--\r\n";

    #[test]
    fn every_way_of_the_seeds_is_read() {
        let one = vec![("manifests".to_owned(), "kind: A".to_owned())];
        for kind in ["multipart/form-data; boundary=b", "multipart/form-data", "application/json"] {
            assert_eq!(texts(upload(kind, FORM).unwrap()), one, "{kind}");
        }
        for kind in ["application/yaml", "text/yaml; charset=utf-8", "application/x-yaml"] {
            assert_eq!(texts(upload(kind, "kind: A").unwrap()), one, "{kind}");
        }
        let seed =
            upload("application/json", r#"{"manifests":["kind: A","kind: B"],"namespace":"web","dry_run":true}"#);
        let seed = seed.unwrap();
        assert_eq!((seed.namespace.as_deref(), seed.dry_run), (Some("web"), Some(true)));
        assert_eq!(texts(seed)[1], ("manifests[1]".to_owned(), "kind: B".to_owned()));
        assert_eq!(texts(upload("application/json", r#"{"manifests":"kind: A"}"#).unwrap()), one);
        let object = r#"{"apiVersion":"v1","kind":"List","items":[]}"#;
        assert_eq!(texts(upload("application/json", object).unwrap())[0].1, object);
    }

    #[test]
    fn what_is_wrong_is_said_in_the_seeds_words() {
        for (kind, body, code, detail) in [
            ("multipart/form-data; boundary=b", "--b\r\n\r\nnever closed", Code::BadRequest, NO_FORM),
            ("multipart/form-data", "", Code::BadRequest, NO_FORM),
            ("multipart/form-data; boundary=b", "--b--", Code::BadRequest, NO_FILE),
            (
                "multipart/form-data; boundary=b",
                &FORM.replace("\"manifests\"; f", "\"other\"; f"),
                Code::BadRequest,
                NO_FILE,
            ),
            ("multipart/form-data; boundary=b", &FORM.replace("kind: A", " "), Code::BadRequest, NO_FILE),
            ("application/json", "{", Code::BadJson, "malformed JSON at line 1 column 1"),
            ("application/json", "{}", Code::Validation, "Field required"),
            ("application/json", "[]", Code::Validation, "expected an object"),
            ("application/json", "7", Code::Validation, "Field required"),
        ] {
            let error = upload(kind, body).unwrap_err();
            assert_eq!(error.code, code, "{kind} {body}: {error:?}");
            assert!(code == Code::Validation || error.detail == detail, "{kind} {body}: {error:?}");
        }
        for kind in ["", "text/plain", "application/x-www-form-urlencoded"] {
            assert_eq!(upload(kind, "kind: A").unwrap_err().code, Code::UnsupportedMediaType, "{kind}");
        }
    }
}
