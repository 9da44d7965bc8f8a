//! `plexus enroll`: a one-time code becomes this agent's credential (docs/protocol/agents.md#enroll).

use crate::{
    command,
    credential::{self, CredentialSlot},
    gateway::{Gateway, Route},
    session::refusal,
    settings::Settings,
};
use clap::Args;
use plexus_client::{Exit, Request, Stop, out, text};
use plexus_protocol::{
    AgentId, NEW_CODE,
    credential::{EnrollmentCode, Pat},
};
use serde::Deserialize;
use serde_json::json;

/// Redeeming a code.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Enroll {
    /// One-time code (plx_enroll_…) that the owner gave you [env: PLEXUS_ENROLL_CODE]
    code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enrolled {
    pat: String,
    agent_id: AgentId,
}

/// Redeems the code and keeps the credential.
pub(crate) async fn run(settings: &Settings, enroll: Enroll) -> Result<Exit, Stop> {
    let given = enroll.code.or_else(|| {
        std::env::var("PLEXUS_ENROLL_CODE")
            .ok()
            .filter(|code| !code.is_empty())
    });
    let new_code = plexus_protocol::new_code(settings.agent.as_ref());
    let code = read(given.as_deref()).map_err(|why| Stop::usage(why).next(&*new_code))?;
    let mut gateway = Gateway::find(settings).await?;
    let place = CredentialSlot::reserve(&settings.home)?;
    let body = json!({"code": code.expose()});
    let reply = gateway
        .send(Request::post(gateway.path(Route::Enroll), &body))
        .await?;
    if !reply.is_success() {
        let mut stop = refusal(&reply);
        if stop.next.is_empty() || stop.next == NEW_CODE {
            stop.next = new_code;
        }
        return Err(stop);
    }
    let enrolled: Enrolled = reply.json()?;
    let pat = Pat::parse(&enrolled.pat).ok_or_else(|| {
        Stop::new(
            Exit::Failed,
            "not_a_gateway",
            "what the gateway gave is no credential",
        )
        .next(&*new_code)
    })?;
    let path = place.keep(&enrolled.agent_id, &pat)?;
    out::line(&format!(
        "enrolled as {}; credential in {}",
        enrolled.agent_id,
        path.display()
    ))?;
    // If others are enrolled too, each command has to say who calls.
    let agents = credential::enrolled(&settings.home);
    if agents.len() > 1 {
        let agents = text::listed(&agents, ", ");
        out::say(&format!(
            "several agents are enrolled here now ({agents}): each has to name itself, with --agent or PLEXUS_AGENT_ID"
        ));
    }
    let next = match settings.agent.is_some() || agents.len() == 1 {
        true => command::line("list"),
        false => command::line(format_args!("--agent {} list", enrolled.agent_id)),
    };
    out::say(&format!("next: {next}"));
    Ok(Exit::Ok)
}

/// The code that was given; else why it is none.
fn read(given: Option<&str>) -> Result<EnrollmentCode, String> {
    let form = "an enrollment code is plx_enroll_ and 43 characters";
    match given {
        Some(code) => EnrollmentCode::parse(code).ok_or_else(|| form.to_owned()),
        None => Err(format!("the code is missing: {form}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_code_is_told_from_a_wrong_one() {
        let why = |given| read(given).map(drop).unwrap_err();
        assert!(why(None).starts_with("the code is missing: an enrollment code is plx_enroll_"));
        assert!(why(Some("letmein")).starts_with("an enrollment code is plx_enroll_"));
    }
}
