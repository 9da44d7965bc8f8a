//! `plexusctl grants renew`: grants whose time ended, given again as they were.

use crate::{
    agents,
    ended::{also_answered, denials_ended},
    owner::Desk,
    prompt::confirm,
    standing::row,
    table::table,
    terms::window_in_words,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::grants::{Give, List, Renewed, by_agent, is_renewed_unnamed};
use plexus_protocol::{AgentId, CapabilityId, Timestamp, body::StandingGrant};

/// Which of them.
#[derive(Args)]
pub(super) struct Renew {
    /// Only this agent's
    agent: Option<AgentId>,
    /// Only these; an effect is renewed only where it is named
    capabilities: Vec<CapabilityId>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl Renew {
    fn is_chosen(&self, grant: &StandingGrant) -> bool {
        match self.capabilities.is_empty() {
            true => is_renewed_unnamed(grant),
            false => self.capabilities.contains(&grant.capability_id),
        }
    }
}

/// Shows them, asks, gives those of each agent again in one act.
pub(super) async fn run(desk: &Desk, asked: &Renew) -> Result<Exit, Stop> {
    desk.ask_for_person::<Give>()?;
    let mut owner = desk.open().await?;
    if let Some(agent) = &asked.agent {
        agents::known(&mut owner, agent).await?;
    }
    let mut ended = owner.call(&List {}).await?.ended;
    let is_of_agent = |of: &AgentId| asked.agent.as_ref().is_none_or(|agent| agent == of);
    ended.retain(|grant| is_of_agent(&grant.agent_id));
    let (chosen, left): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|grant| asked.is_chosen(grant));
    if chosen.is_empty() {
        return Err(nothing(asked, &left));
    }
    if !desk.json {
        out::line(&shown(&chosen, span::now()))?;
    }
    if !asked.yes {
        let question = match chosen.len() {
            1 => "grant this again, as it was, from now on".to_owned(),
            many => format!("grant these {many} again, each as it was, from now on"),
        };
        confirm(desk, &question, "--yes")?;
    }
    let mut done = Vec::new();
    for (agent, grants) in by_agent(&chosen) {
        let give = Give::again(agent, grants.iter().copied());
        let renewed = match owner.call(&give).await {
            Ok(given) => Renewed::of(agent, &grants, given),
            Err(refused) if done.is_empty() => return Err(refused),
            // Other agents have theirs already: the answer says which do not.
            Err(refused) => Renewed::none(agent, &grants, &refused.why),
        };
        done.push(renewed);
    }
    desk.show(&done, || as_text(&done))?;
    Ok(match done.iter().all(|one| one.declined.is_empty()) {
        true => Exit::Ok,
        false => Exit::Refused,
    })
}

/// The stop where no grant is to be renewed. Effects that ended are named, because they are renewed only by name.
fn nothing(asked: &Renew, left: &[StandingGrant]) -> Stop {
    let effect = left.first().filter(|_| asked.capabilities.is_empty());
    let (why, next) = match effect {
        Some(effect) => (
            "only effects ended; each is renewed by its name",
            format!(
                "plexusctl grants renew {} {}",
                effect.agent_id, effect.capability_id
            ),
        ),
        None => (
            "no such grant ended in the last 30 days",
            "plexusctl grants list".to_owned(),
        ),
    };
    Stop::new(Exit::Failed, "nothing_to_renew", why).next(next)
}

/// The grants that would be given, each for how long from now on.
fn shown(chosen: &[StandingGrant], now: Timestamp) -> String {
    let rows = chosen.iter().map(|grant| {
        let anew = StandingGrant {
            calls_left: None,
            ..grant.clone()
        };
        let [agent, capability, verbs, ended, terms] = row(&anew, now);
        let window = window_in_words(grant.trust_window);
        [agent, capability, verbs, ended, window, terms]
    });
    table(
        ["agent", "capability", "verbs", "ended", "again", "terms"],
        rows.collect(),
        "",
    )
}

fn as_text(done: &[Renewed]) -> String {
    let lines = done.iter().flat_map(|one| {
        let agent = &one.agent_id;
        let granted = text::listed(&one.granted, ", ");
        let more =
            denials_ended("\n", one.denials_ended) + &also_answered("\n", &one.also_answered);
        let granted =
            (!granted.is_empty()).then(|| format!("{agent} may use again: {granted}{more}"));
        let declined = one.declined.iter().map(move |not| {
            let (id, reason) = (text::line(&not.id), text::line(&not.reason));
            format!("{agent} was not given {id} again: {reason}")
        });
        granted.into_iter().chain(declined)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::body::Declined;

    #[test]
    fn declined_grant_is_not_named_as_given() {
        let done = Renewed {
            agent_id: AgentId::parse("a").unwrap(),
            granted: vec![CapabilityId::parse("w.read").unwrap()],
            declined: vec![Declined {
                id: "w.list".to_owned(),
                reason: "no source offers it".to_owned(),
            }],
            also_answered: Vec::new(),
            denials_ended: 2,
        };
        assert_eq!(
            as_text(&[done]),
            "a may use again: w.read\n\
             denials ended: 2 (calls that you had denied are refused no more)\n\
             a was not given w.list again: no source offers it"
        );
    }
}
