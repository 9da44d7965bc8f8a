//! `plexus whoami`: who the gateway takes us for.

use crate::{session::Session, settings::Settings};
use clap::Args;
use plexus_client::{Exit, Stop, out, span, text};
use serde_json::json;

/// Showing who we are.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Whoami {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the gateway and prints.
pub(crate) async fn run(settings: &Settings, whoami: Whoami) -> Result<Exit, Stop> {
    let mut session = Session::open(settings).await?;
    let grants = session.grants().await?;
    let agent = session
        .agent
        .as_ref()
        .or_else(|| grants.first().map(|g| &g.agent_id));
    let agent = agent.map_or("unknown", |id| id.as_str());
    let about = session.gateway.about().await?.clone();
    let said = |key: &str| about[key].as_str().unwrap_or("").to_owned();
    let credential = session
        .agent
        .as_ref()
        .map(|id| settings.home.pat(id))
        .filter(|_| settings.pat.is_none());
    let credential = credential.map_or_else(
        || "PLEXUS_PAT".to_owned(),
        |path| path.display().to_string(),
    );
    if whoami.json {
        let view = json!({
            "agent": agent, "gateway": session.gateway.address().to_string(), "about": about,
            "credential": credential, "sessionExpiresAt": session.opened.expires_at,
            "capabilities": session.opened.manifest.entries.len(), "standingGrants": grants.len(),
        });
        out::line(&view.to_string())?;
    } else {
        out::line(&format!(
            "agent {agent}\ngateway {} {} {}\naddress {}\ncredential {}\nsession {}\ncapabilities {}, standing \
             grants {}",
            text::line(&said("name")),
            text::line(&said("version")),
            text::line(&said("instance")),
            session.gateway.address(),
            text::line(&credential),
            span::end(session.opened.expires_at, span::now()),
            session.opened.manifest.entries.len(),
            grants.len(),
        ))?;
    }
    Ok(Exit::Ok)
}
