//! `plexusctl explain`: what would happen to a call now, without making it.

use crate::owner::{Desk, text_of};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_protocol::{AgentId, CapabilityId, json};
use serde_json::Value;

/// Which call.
#[derive(Args)]
pub(crate) struct Explain {
    /// Agent that would call
    agent: AgentId,
    /// Capability that it would call
    capability: CapabilityId,
    /// Input of the call, as a JSON object
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
}

/// Asks and prints.
pub(crate) async fn run(desk: &Desk, explain: Explain) -> Result<Exit, Stop> {
    let mut body =
        serde_json::json!({"agentId": explain.agent, "capabilityId": explain.capability});
    if let Some(input) = explain.input {
        body["input"] = match json::parse(input.as_bytes()) {
            Ok(input @ Value::Object(_)) => input,
            Ok(_) => return Err(Stop::usage("the input is JSON, but not an object")),
            Err(why) => return Err(Stop::usage(format!("the input is not JSON: {why}"))),
        };
    }
    let reply = desk.open().await?.post("/admin/api/explain", &body).await?;
    desk.show(&reply, || as_text(&reply))
}

fn as_text(reply: &Value) -> String {
    let decision = match text_of(reply, "decision") {
        // The gateway lets it through, but the source looks at what the path resolves to.
        "permit" if text_of(reply, "rule") == "grant.constraint-resolved" => {
            "the source would decide, and refuse what lies outside".to_owned()
        }
        "permit" => "it would run".to_owned(),
        "pend" => "it would wait for you".to_owned(),
        "refuse" => "it would be refused".to_owned(),
        other => text::line(other),
    };
    let mut text = format!("{decision}: {}", text::line(text_of(reply, "why")));
    if !text_of(reply, "next").is_empty() {
        text.push_str(&format!("\nnext: {}", text::line(text_of(reply, "next"))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_in_words() {
        let reply = serde_json::json!({"decision": "pend", "rule": "no-grant", "why": "it is an effect", "next": ""});
        assert_eq!(as_text(&reply), "it would wait for you: it is an effect");
    }
}
