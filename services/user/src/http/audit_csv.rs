//! The trail as a table for spreadsheets: no proof, only the main columns.

use roadstead_contracts::audit::{AuditRecord, AuditRow};

/// Columns.
const HEAD: &str = "seq,at,request_id,phase,action,result,code,actor_kind,actor,credential,resource,name,cluster_id,namespace,source\n";
/// Beginnings that a spreadsheet takes for a formula.
const FORMULA: &[char] = &['=', '+', '-', '@', '\t', '\r'];

/// The rows as RFC 4180 text.
pub(super) fn table(rows: &[AuditRow], with_head: bool) -> String {
    let mut out = if with_head { HEAD.to_owned() } else { String::new() };
    for row in rows {
        let Ok(record) = serde_json::from_str::<AuditRecord>(row.record.get()) else { continue };
        let text = |value: &Option<roadstead_contracts::audit::Text>| {
            value.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
        };
        let credential = record.actor.credential.as_ref().map_or_else(String::new, |credential| {
            credential.id.as_ref().map_or_else(|| credential.kind.to_string(), |id| format!("{} {id}", credential.kind))
        });
        let cells = [
            row.seq.to_string(),
            record.at.to_rfc3339(),
            record.origin.request_id.as_str().to_owned(),
            word(record.phase),
            record.action.as_str().to_owned(),
            record.outcome.map(|outcome| word(outcome.result)).unwrap_or_default(),
            record.outcome.and_then(|outcome| outcome.code).map(|code| code.as_str().to_owned()).unwrap_or_default(),
            word(record.actor.kind),
            text(&record.actor.name),
            credential,
            record.resource.kind.as_str().to_owned(),
            text(&record.resource.name),
            record.resource.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
            text(&record.resource.namespace),
            record.origin.source.map(|address| address.to_string()).unwrap_or_default(),
        ];
        out.push_str(&cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
        out.push('\n');
    }
    out
}

/// Quoted always; what could be a formula gets an apostrophe before it.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(FORMULA) { "'" } else { "" };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

/// The word of a plain enum.
fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas_and_stay_in_their_place() {
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
