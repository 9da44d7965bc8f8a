//! `plexus watch`: what happens, as it happens.
//!
//! ```text
//! session ─▶ stream ─frame─▶ one line          stream ends (the session's hour, a restart) ─▶ a new session
//! ```
//! Events are not repeated: what happened between two streams is for the source to say.

use crate::{gateway::Route, session::Session, settings::Settings};
use clap::Args;
use plexus_client::{Exit, Stop, events::Events, out, text};
use plexus_protocol::SourceId;
use serde_json::Value;
use std::time::Duration;

/// The pause before connecting again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Watching.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Watch {
    /// Only events of these sources
    #[arg(value_name = "SOURCE")]
    sources: Vec<SourceId>,
    /// End after so many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// One JSON object for each line
    #[arg(long)]
    json: bool,
}

/// Prints frames until it is interrupted, has printed as many as were asked for, or has no reader any more.
pub(crate) async fn run(settings: &Settings, watch: Watch) -> Result<Exit, Stop> {
    tokio::select! {
        ended = print(settings, watch) => ended,
        () = out::reader_gone() => Ok(Exit::Ok),
    }
}

async fn print(settings: &Settings, watch: Watch) -> Result<Exit, Stop> {
    let mut left = watch.count.unwrap_or(u64::MAX);
    let mut first = true;
    loop {
        let mut session = match Session::open(settings).await {
            Ok(session) => session,
            // The gateway restarts; at the first try it is not there.
            Err(stop) if !first && stop.exit == Exit::Unreachable => {
                tokio::time::sleep(RECONNECT).await;
                continue;
            }
            Err(stop) => return Err(stop),
        };
        let path = session.gateway.path(Route::Events);
        let mut events = Events::of(session.stream(path).await?);
        if first {
            out::say("watching; Ctrl-C ends it");
        } else {
            out::say("connected again; what happened meanwhile is not repeated");
        }
        first = false;
        // A stream that breaks is opened anew, like one that ends.
        while let Ok(Some(event)) = events.next().await {
            let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
            if !watch.wants(&data) {
                continue;
            }
            if watch.json {
                out::line(&data.to_string())?;
            } else {
                out::line(&as_text(&event.kind, &data))?;
            }
            left -= 1;
            if left == 0 {
                return Ok(Exit::Ok);
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

impl Watch {
    fn wants(&self, data: &Value) -> bool {
        let source = data["source"].as_str();
        self.sources.is_empty() || self.sources.iter().any(|id| source == Some(id.as_str()))
    }
}

fn as_text(kind: &str, data: &Value) -> String {
    let member = |name: &str| text::line(data[name].as_str().unwrap_or_default());
    if kind == "source_event" {
        let payload = text::line(&data["payload"].to_string());
        return format!(
            "{} {}: {} {payload}",
            member("source"),
            member("topic"),
            member("summary")
        );
    }
    let mut rest = data.clone();
    if let Value::Object(members) = &mut rest {
        members.remove("type");
    }
    format!("{} {}", text::line(kind), text::line(&rest.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn event_is_one_line() {
        let data = json!({
            "type": "source_event", "source": "mail", "topic": "new", "summary": "1 letter\u{202e}",
            "payload": {"subject": "a\nb"},
        });
        let line = as_text("source_event", &data);
        assert!(line.starts_with("mail new: 1 letter"), "{line}");
        assert!(!line.contains(['\n', '\u{202e}']), "{line}");
        let line = as_text(
            "grant_resolved",
            &json!({"type": "grant_resolved", "pendingId": "p"}),
        );
        assert_eq!(line, r#"grant_resolved {"pendingId":"p"}"#);
    }
}
