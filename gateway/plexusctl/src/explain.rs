//! `plexusctl explain`: what would happen to a call now, without making it.

use crate::{agents, owner::Desk};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_owner::explain::{Explain as ExplainCall, Explanation};
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
    let input = match explain.input.map(|input| json::parse(input.as_bytes())) {
        None => None,
        Some(Ok(Value::Object(input))) => Some(input),
        Some(Ok(_)) => return Err(Stop::usage("the input is JSON, but not an object")),
        Some(Err(why)) => return Err(Stop::usage(format!("the input is not JSON: {why}"))),
    };
    let asked = ExplainCall {
        agent_id: explain.agent.to_string(),
        capability_id: explain.capability.to_string(),
        input,
    };
    let mut owner = desk.open().await?;
    let reply = match owner.call(&asked).await {
        Err(refused) => return Err(agents::meant(&mut owner, &explain.agent, refused).await),
        reply => reply?,
    };
    let is_unknown = reply.rule == "agent.unknown";
    if is_unknown && !desk.json {
        let refused = Stop::new(Exit::Failed, agents::UNKNOWN, reply.why);
        return Err(agents::meant(&mut owner, &explain.agent, refused).await);
    }
    let shown = desk.show(&reply, || as_text(&reply))?;
    Ok(match is_unknown {
        true => Exit::Failed,
        false => shown,
    })
}

fn as_text(reply: &Explanation) -> String {
    let mut text = format!("{}: {}", reply.in_words(), text::line(&reply.why));
    if !reply.next.is_empty() {
        text.push_str(&format!("\nnext: {}", text::line(&reply.next)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::explain::CallDecision;

    #[test]
    fn a_decision_in_words() {
        let reply = Explanation {
            decision: CallDecision::Pend,
            rule: "no-grant".into(),
            why: "it is an effect".to_owned(),
            next: String::new(),
        };
        assert_eq!(as_text(&reply), "it would wait for you: it is an effect");
    }
}
