//! This agent's credential on disk: `agents/<id>.pat`, mode 0600 in a directory of mode 0700.

use crate::{command, settings::Settings};
use plexus_client::{
    Exit, Home, Stop,
    private_file::{self, Unnamed, Unusable},
    text,
};
use plexus_protocol::{AgentId, credential::Pat};
use std::{fs, io::ErrorKind, path::PathBuf};

/// The next step of an agent that has no credential. A code keeps the grants of an agent that is connected.
fn how_to_enroll(agent: Option<&AgentId>) -> String {
    let run = match agent {
        None => "`plexusctl connect <agent>`".to_owned(),
        Some(agent) => format!(
            "`plexusctl agents code {agent}`, or, where I am not connected, `plexusctl connect {agent}`,"
        ),
    };
    format!("stop; tell the owner: run {run} and give me the `plexus enroll …` line that it prints")
}

/// Finds the credential and, where that is known, whose it is: `PLEXUS_PAT`, else the file of the named agent, else
/// the only file there is.
pub(crate) fn load(settings: &Settings) -> Result<(Option<AgentId>, Pat), Stop> {
    if let Some(pat) = settings
        .pat
        .as_ref()
        .and_then(|pat| Pat::parse(pat.expose()))
    {
        return Ok((settings.agent.clone(), pat));
    }
    let agent = match settings.agent.clone() {
        Some(agent) => agent,
        None => only_agent(&settings.home)?,
    };
    let path = settings.home.pat(&agent);
    let text = private_file::read(&path).map_err(|why| match why {
        Unusable::Missing(_) => not_enrolled(
            Some(&agent),
            format!("no credential of agent {agent} at {}", path.display()),
        ),
        Unusable::Open { .. } => {
            Stop::new(Exit::NotEnrolled, "credential_not_private", why.to_string())
                .next("stop; tell the owner: others could read my credential; connect me again")
        }
        other => Stop::new(Exit::NotEnrolled, "credential_unusable", other.to_string())
            .next(how_to_enroll(Some(&agent))),
    })?;
    let pat = Pat::parse(&text).ok_or_else(|| {
        let why = format!("{} holds no credential", path.display());
        Stop::new(Exit::NotEnrolled, "credential_unusable", why).next(how_to_enroll(Some(&agent)))
    })?;
    Ok((Some(agent), pat))
}

fn not_enrolled(agent: Option<&AgentId>, why: String) -> Stop {
    Stop::new(Exit::NotEnrolled, "not_enrolled", why).next(how_to_enroll(agent))
}

fn only_agent(home: &Home) -> Result<AgentId, Stop> {
    let mut agents = enrolled(home);
    match (agents.pop(), agents.is_empty()) {
        (Some(agent), true) => Ok(agent),
        (None, _) => Err(match fs::read_dir(home.agents()) {
            Err(why) if why.kind() != ErrorKind::NotFound => {
                let why = format!("{}: {why}", home.agents().display());
                Stop::new(Exit::NotEnrolled, "credential_unusable", why)
                    .next("stop; tell the owner: the system refuses me that folder")
            }
            _ => {
                let why = format!("no agent is enrolled in {}", home.path().display());
                not_enrolled(None, why)
            }
        }),
        (Some(last), false) => {
            let names: Vec<_> = agents.iter().chain([&last]).map(AgentId::as_str).collect();
            Err(Stop::usage(format!(
                "several agents are enrolled here ({}): name the one that you are",
                text::line(&names.join(", "))
            ))
            .next(command::again_by_id()))
        }
    }
}

/// The agents that have a file, by name.
pub(crate) fn enrolled(home: &Home) -> Vec<AgentId> {
    let Ok(entries) = fs::read_dir(home.agents()) else {
        return Vec::new();
    };
    let mut agents: Vec<_> = entries
        .flatten()
        .filter_map(|entry| AgentId::parse(entry.file_name().to_str()?.strip_suffix(".pat")?).ok())
        .collect();
    agents.sort();
    agents
}

/// A place for a credential that does not exist yet.
pub(crate) struct CredentialSlot(Unnamed);

impl CredentialSlot {
    /// Makes sure, before a one-time code is spent, that its fruit can be kept.
    pub(crate) fn reserve(home: &Home) -> Result<Self, Stop> {
        let fail = |why: Unusable| {
            Stop::new(Exit::Failed, "cannot_save", why.to_string()).next(
                "nothing was spent: make the directory writable, then run the same command again",
            )
        };
        private_file::make_dir(&home.agents()).map_err(fail)?;
        Unnamed::create(&home.agents()).map(Self).map_err(fail)
    }

    /// Keeps `pat` as the credential of `agent`. An older one is replaced: a new code has already ended it.
    pub(crate) fn keep(self, agent: &AgentId, pat: &Pat) -> Result<PathBuf, Stop> {
        let line = zeroize::Zeroizing::new(format!("{}\n", pat.expose()));
        self.0.name(&format!("{agent}.pat"), &line).map_err(|why| {
            Stop::new(
                Exit::Failed,
                "cannot_save",
                format!("the code is spent, but {why}"),
            )
            .done(plexus_client::Done::Done)
            .next("stop; tell the owner: my credential could not be saved; connect me again")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn settings(home: &Home) -> Settings {
        Settings {
            home: home.clone(),
            gateway: None,
            agent: None,
            pat: None,
            proxy: None,
            pinned: false,
        }
    }

    fn kept(home: &Home, agent: &AgentId, pat: &Pat) -> PathBuf {
        let slot = CredentialSlot::reserve(home).unwrap();
        slot.keep(agent, pat).unwrap()
    }

    #[test]
    fn one_file_needs_no_name_two_do() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        assert_eq!(load(&settings(&home)).unwrap_err().code, "not_enrolled");
        // As any folder that cannot be listed.
        let odd = Home::at(dir.path().join("odd"));
        fs::create_dir(odd.path()).unwrap();
        fs::write(odd.agents(), "").unwrap();
        let stop = load(&settings(&odd)).unwrap_err();
        assert_eq!(stop.code, "credential_unusable", "{stop}");

        let (a, b) = (AgentId::parse("a").unwrap(), AgentId::parse("b").unwrap());
        let pat = Pat::fresh().unwrap();
        let path = kept(&home, &a, &pat);
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&home.agents())), (0o600, 0o700));
        let (agent, found) = load(&settings(&home)).unwrap();
        assert!(found.matches(&pat));
        assert_eq!(agent, Some(a));

        kept(&home, &b, &Pat::fresh().unwrap());
        let stop = load(&settings(&home)).unwrap_err();
        assert_eq!(stop.exit, Exit::Usage);
        assert!(stop.why.contains("(a, b)"), "{stop}");
        let mut named = settings(&home);
        named.agent = Some(b);
        assert!(!load(&named).unwrap().1.matches(&pat));
    }

    #[test]
    fn a_credential_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let agent = AgentId::parse("a").unwrap();
        let path = kept(&home, &agent, &Pat::fresh().unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let stop = load(&settings(&home)).unwrap_err();
        assert_eq!(stop.exit, Exit::NotEnrolled);
        assert_eq!(stop.code.as_str(), "credential_not_private");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load(&settings(&home)).is_ok());
    }
}
