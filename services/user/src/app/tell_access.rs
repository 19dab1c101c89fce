//! What a chat is told of requests: who asks for what, and what was decided. In the form that chats' incoming webhooks take
//! (`text`), with the facts beside it for programs; signed as every webhook of the hub is.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use roadstead_contracts::Result;
use roadstead_contracts::ids::AccessRequestId;
use roadstead_runtime::retry::Backoff;
use roadstead_telemetry::metrics::labels::Outcome;
use serde_json::{Value, json};

use super::App;
use crate::domain::{
    AccessDecision, AccessEnd, AccessRequest, AccessState, NOTICE_CLAIM, NOTICE_TRIES, NOTICES_AT_ONCE,
    NewAccessRequest, Notice, Wanted,
};

/// First pause after a try that failed; doubles.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);

impl App {
    pub(super) fn notice_of_question(&self, new: &NewAccessRequest) -> Option<Notice> {
        let what = what(&new.wanted);
        let text = format!(
            "{} asks for {what} for {}: {} (`roadstead access approve {}`)",
            new.username,
            time(new.wanted.seconds),
            plain(&new.wanted.reason),
            new.id
        );
        self.notice("access.requested", &text, &facts(new.id, &new.username, &new.wanted))
    }

    pub(super) fn notice_of_decision(&self, request: &AccessRequest, decision: &AccessDecision) -> Option<Notice> {
        let what = what(&request.wanted);
        let until = decision.rule.as_ref().and_then(|rule| rule.until);
        let (event, text) = match decision.state {
            AccessState::Approved => {
                let until = until.map_or_else(String::new, |until| format!(" until {}", stamp(until)));
                ("access.approved", format!("{} gave {} {what}{until}", decision.by_name, request.username))
            }
            AccessState::Denied => {
                ("access.denied", format!("{} did not give {} {what}", decision.by_name, request.username))
            }
            _ => ("access.withdrawn", format!("{} asks no longer for {what}", request.username)),
        };
        let note = decision.note.as_deref().map_or_else(String::new, |note| format!(": {}", plain(note)));
        let mut facts = facts(request.id, &request.username, &request.wanted);
        facts["decided_by"] = json!(decision.by_name);
        facts["note"] = json!(decision.note);
        facts["until"] = json!(until.map(stamp));
        self.notice(event, &format!("{text}{note}"), &facts)
    }

    pub(super) fn notice_of_end(&self, request: &AccessRequest, end: &AccessEnd) -> Option<Notice> {
        let by = end.by_name.as_deref().map_or_else(String::new, |name| format!(", ended by {name}"));
        let text = format!("{} no longer has {}{by}", request.username, what(&request.wanted));
        let mut facts = facts(request.id, &request.username, &request.wanted);
        facts["ended_by"] = json!(end.by_name);
        self.notice("access.ended", &text, &facts)
    }

    /// For the outbox; nothing where no chat is told.
    fn notice(&self, event: &'static str, text: &str, request: &Value) -> Option<Notice> {
        self.chat.as_ref()?;
        let body = json!({ "text": text, "event": event, "access_request": request }).to_string();
        Some(Notice { id: self.ids.uuid(), body, attempts: 0 })
    }

    /// Tells what is due; answers how many were told.
    pub async fn tell_chat(&self) -> Result<usize> {
        let Some(chat) = &self.chat else { return Ok(0) };
        let mut count = 0;
        for _ in 0..NOTICES_AT_ONCE {
            let now = self.clock.now();
            let Some(notice) = self.store.claim_notice(now, now + NOTICE_CLAIM).await? else { break };
            let body = notice.body.clone().into_bytes();
            let told = chat.webhooks.tell(chat.url.expose(), &notice.id.to_string(), now.timestamp(), body).await;
            self.metrics.webhooks.get_or_create(&Outcome { outcome: told.outcome() }).inc();
            let Some(why) = told.again() else {
                self.store.notice_told(notice.id).await?;
                count += 1;
                continue;
            };
            if notice.attempts + 1 >= NOTICE_TRIES {
                tracing::warn!("the chat is not told of a request for access: {why}");
            }
            let attempt = u32::try_from(notice.attempts).unwrap_or(u32::MAX);
            let pause = Backoff { base: PAUSE, cap: PAUSE_MAX }.delay(attempt, &self.ids);
            let next_at = self.clock.now() + TimeDelta::from_std(pause).unwrap_or_default();
            self.store.notice_failed(notice.id, next_at).await?;
        }
        Ok(count)
    }
}

fn facts(id: AccessRequestId, username: &str, wanted: &Wanted) -> Value {
    json!({
        "id": id.to_string(),
        "username": username,
        "role": wanted.role.map(roadstead_contracts::identity::Role::as_str),
        "permissions": wanted.permissions,
        "clusters": wanted.clusters,
        "labels": wanted.labels,
        "namespaces": wanted.namespaces,
        "duration_seconds": wanted.seconds,
        "reason": wanted.reason,
    })
}

/// What is asked for, in a few words.
fn what(wanted: &Wanted) -> String {
    let list =
        |words: &std::collections::BTreeSet<String>| words.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut text = match wanted.role {
        Some(role) => format!("the role {}", role.as_str()),
        None => list(&wanted.permissions),
    };
    if !wanted.clusters.is_empty() {
        text = format!("{text} on {}", list(&wanted.clusters));
    }
    if let Some(labels) = &wanted.labels {
        text = format!("{text} where {}", plain(labels));
    }
    if !wanted.namespaces.is_empty() {
        text = format!("{text} in {}", list(&wanted.namespaces));
    }
    text
}

/// A person's words may not call everybody in a channel, or look like a link.
fn plain(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '<' => '‹',
            '>' => '›',
            '@' => '＠',
            '`' | '*' | '_' | '~' | '[' | ']' | '|' => ' ',
            other => other,
        })
        .collect()
}

fn time(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_calls_nobody() {
        let wanted = Wanted {
            role: Some(roadstead_contracts::identity::Role::Operator),
            permissions: std::collections::BTreeSet::new(),
            clusters: ["prod".to_owned()].into(),
            labels: None,
            namespaces: ["shop".to_owned()].into(),
            seconds: 5_400,
            reason: "<!channel> @here [x](http://evil)".to_owned(),
        };
        assert_eq!(what(&wanted), "the role operator on prod in shop");
        assert_eq!(time(wanted.seconds), "90 min");
        let text = plain(&wanted.reason);
        assert!(!text.contains(['<', '>', '@', '[', '`']), "{text}");
    }
}
