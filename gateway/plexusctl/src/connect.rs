//! `plexusctl connect`: a one-time code for an agent, and what it may do from the start
//! (docs/protocol/owner.md#agents).

mod here;

pub(crate) use here::{EditView, edit_views, not_agreed, shown};

use crate::{
    owner::{Desk, Owner},
    pause::heard,
    prompt,
    service::Ask,
    standing,
    table::table,
    terms::Terms,
};
use clap::{Args, ValueEnum};
use plexus_client::{Exit, Stop, out, shell, span, text};
use plexus_owner::agents::{
    Connect as ConnectCall, Connected, EnrollingAgent, ListEnrollments, NestedAgent,
};
use plexus_owner::{exposure::ListEntries, grants::List, pending};
use plexus_protocol::{
    AgentId, CapabilityId, EnrollmentStatus, ErrorCode, Reach, Timestamp, TrustWindow, Verbs,
    body::StandingGrant,
};
use serde::Deserialize;
use std::path::PathBuf;

/// Connecting an agent.
#[derive(Args)]
pub(crate) struct Connect {
    /// Agent id [default: its type]
    #[arg(required_unless_present = "kind")]
    agent: Option<AgentId>,
    /// Kind of agent: claude-code, codex, mcp, in-context, or any word
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Capabilities that it may use: a read needs no further approval, an effect asks each time
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    allow: Vec<CapabilityId>,
    /// Effects to grant from the start
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    standing: Vec<CapabilityId>,
    #[command(flatten)]
    terms: Terms,
    /// Whether it sees every exposed capability, or only those named here
    #[arg(long)]
    reach: Option<ReachArg>,
    /// How long the code is valid
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = span::parse)]
    code_ttl: u64,
    /// Also set up the agent on this machine: its command; for claude-code and codex instructions and permission rules
    #[arg(long, requires = "kind")]
    here: bool,
    /// Also give claude-code the capabilities as MCP tools; codex always gets them
    #[arg(long, requires = "here")]
    mcp: bool,
    /// Also let codex work by commands: where you chose no sandbox, this opens every port of 127.0.0.1 to all its commands
    #[arg(long, requires = "here")]
    commands: bool,
    /// For sessions in this folder only [default: for all of the agent's sessions]
    #[arg(long, value_name = "DIR", requires = "here")]
    project: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
}

/// What an agent sees.
#[derive(Clone, Copy, ValueEnum)]
enum ReachArg {
    /// Every exposed capability; one without a grant asks
    Exposed,
    /// Only the capabilities named at connect
    Selected,
}

/// Connects and prints what to hand to the agent.
pub(crate) async fn run(desk: &Desk, connect: Connect) -> Result<Exit, Stop> {
    desk.ask_for_person::<ConnectCall>()?;
    if connect.here {
        return here::run(desk, &connect).await;
    }
    if connect.ask.dry_run {
        return Err(Stop::usage("--dry-run belongs to --here"));
    }
    let asked = connect.asked()?;
    let (mut owner, agent) = (desk.open().await?, connect.named()?);
    let status = status_of(&mut owner, &agent).await?;
    let ended = EarlierAccess::of(&mut owner, &agent, status).await?;
    // No connection is open while a person is asked.
    drop(owner);
    if let Some(ended) = &ended
        && desk.can_ask()
        && !desk.caller.sworn
        && !connect.ask.yes
    {
        out::say(&ended.before());
        prompt::confirm(desk, &format!("connect {agent} anew"), "--yes")?;
    }
    let mut owner = desk.open().await?;
    let (reply, asks) = connected(desk, &mut owner, &connect, &asked).await?;
    desk.show(&reply, || {
        let ended = |granted: &[_]| ended.map(|ended| ended.after(granted)).unwrap_or_default();
        match &reply {
            Connected::Nested(agent) => {
                nested_as_text(agent, &asks, span::now()) + &ended(&agent.granted)
            }
            // The code is a secret, and this is the one place that hands it over.
            Connected::Enrolling(agent) => {
                let line = enroll_line(desk, &agent.code);
                as_text(agent, &line, &asks, span::now()) + &ended(&agent.granted)
            }
        }
    })
}

/// Connects, and warns of limits to what is not there. Beside the reply: what is not granted, each with why.
async fn connected(
    desk: &Desk,
    owner: &mut Owner,
    connect: &Connect,
    asked: &ConnectCall,
) -> Result<(Connected, Vec<[String; 2]>), Stop> {
    let named = [&*connect.allow, &*connect.standing].concat();
    let reply = match owner.call(asked).await {
        Ok(reply) => reply,
        Err(refused) if refused.code == ErrorCode::UnknownCapability.as_str() => {
            return Err(desk.meant(&named, refused).await);
        }
        Err(refused) => return Err(refused),
    };
    standing::warn_of_missing(owner, &named, asked.constraint.as_ref()).await;
    let (skipped, refused) = reply.not_granted();
    let skipped = skipped.iter();
    let skipped: Vec<_> = skipped
        .filter(|id| !refused.iter().any(|refused| refused.id == **id))
        .collect();
    let entries = match skipped.is_empty() || desk.json {
        true => Vec::new(),
        false => catalogue(owner).await,
    };
    let skipped = skipped.into_iter().map(|id| {
        let entry = entries.iter().find(|entry| entry.id == *id);
        [id.to_string(), connect.cause(id, entry).to_owned()]
    });
    let refused = refused.iter();
    let refused = refused.map(|refused| [refused.id.to_string(), refused.reason.clone()]);
    let asks = skipped.chain(refused).collect();
    Ok((reply, asks))
}

/// As much of an entry of the catalogue as says why it is not granted at connect.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CatalogueEntry {
    id: CapabilityId,
    grants: Verbs,
    recommended_trust_window: TrustWindow,
}

/// The catalogue; empty where it is not heard in time.
async fn catalogue(owner: &mut Owner) -> Vec<CatalogueEntry> {
    let listed = heard(owner.call(&ListEntries {})).await;
    let entries = listed.into_iter().flat_map(|all| all.entries);
    entries
        .filter_map(|entry| CatalogueEntry::deserialize(entry).ok())
        .collect()
}

/// How the gateway knows an agent; none: it does not.
async fn status_of(owner: &mut Owner, agent: &AgentId) -> Result<Option<EnrollmentStatus>, Stop> {
    let known = owner.call(&ListEnrollments {}).await?.agents;
    let own = known.iter().find(|one| one.agent_id == *agent);
    Ok(own.map(|one| one.status))
}

/// What an agent that was connected has, which ends when it is connected anew.
struct EarlierAccess {
    agent: AgentId,
    grants: Vec<CapabilityId>,
    requests: usize,
}

impl EarlierAccess {
    /// None: it is not connected, or was revoked.
    async fn of(
        owner: &mut Owner,
        agent: &AgentId,
        status: Option<EnrollmentStatus>,
    ) -> Result<Option<Self>, Stop> {
        if matches!(status, None | Some(EnrollmentStatus::Revoked)) {
            return Ok(None);
        }
        let grants = owner.call(&List {}).await?.grants.into_iter();
        let grants = grants.filter(|grant| grant.agent_id == *agent);
        let waits = owner.call(&pending::List { begins: None }).await?.pending;
        let waits = waits.iter().flatten();
        Ok(Some(Self {
            agent: agent.clone(),
            grants: grants.map(|row| row.grant.capability_id).collect(),
            requests: waits
                .filter(|item| item.heading.agent_id.as_ref() == Some(agent))
                .count(),
        }))
    }

    /// Before it is done; what is granted anew, as far as it was asked for, is granted on the terms of now.
    fn before(&self) -> String {
        let Self { agent, .. } = self;
        let code = match agent.is_nested() {
            true => String::new(),
            false => format!("\nA new code alone: plexusctl agents code {agent}"),
        };
        format!(
            "{agent} is connected. To connect it anew ends {}.\n\
             To allow more:    plexusctl grants allow {agent} ID --window 1d{code}",
            self.words(&[])
        )
    }

    /// After it; `granted`: what was granted anew.
    fn after(&self, granted: &[StandingGrant]) -> String {
        let Self { agent, .. } = self;
        let words = self.words(granted);
        format!("\n{agent} was connected before. This ended {words}.\n")
    }

    fn words(&self, granted: &[StandingGrant]) -> String {
        let is_again = |id: &CapabilityId| granted.iter().any(|grant| grant.capability_id == *id);
        let grants: Vec<_> = self.grants.iter().filter(|id| !is_again(id)).collect();
        let mut words = vec!["what you approved and it has not done".to_owned()];
        if !self.agent.is_nested() {
            words.insert(0, "its credential".to_owned());
        }
        if !grants.is_empty() {
            words.push(format!("its grants of {}", text::listed(&grants, ", ")));
        }
        if self.requests > 0 {
            words.push(format!("its requests that wait ({})", self.requests));
        }
        words.join("; ")
    }
}

impl Connect {
    /// The agent that was named, else its type.
    fn named(&self) -> Result<AgentId, Stop> {
        match (&self.agent, &self.kind) {
            (Some(agent), _) => Ok(agent.clone()),
            (None, kind) => {
                let kind = kind.as_deref().unwrap_or_default();
                AgentId::parse(kind).map_err(|e| {
                    Stop::usage(format!("the type {kind:?} is {e}"))
                        .next("name the agent: plexusctl connect NAME --type …")
                })
            }
        }
    }

    /// The one cause for which a capability that was named asks all the same.
    fn cause(&self, id: &CapabilityId, entry: Option<&CatalogueEntry>) -> &'static str {
        match (self.terms.window, entry) {
            (Some(TrustWindow::Once), _) => "a window of once grants nothing in advance",
            (_, None) => "it asks first",
            (_, Some(entry)) if !entry.grants.is_read() && !self.standing.contains(id) => {
                "it asks first: it changes something"
            }
            (None, Some(entry)) if entry.recommended_trust_window == TrustWindow::Once => {
                "it asks first: its usual window is once"
            }
            (_, Some(_)) if self.terms.has_limit() => {
                "it asks first: it has no field that you limit"
            }
            (_, Some(_)) => "it asks each time",
        }
    }

    fn asked(&self) -> Result<ConnectCall, Stop> {
        let standing = self.standing.iter();
        let also = standing.filter(|id| !self.allow.contains(id));
        Ok(ConnectCall {
            agent_id: self.named()?.to_string(),
            agent_type: self.kind.clone(),
            capabilities: self
                .allow
                .iter()
                .chain(also)
                .map(ToString::to_string)
                .collect(),
            standing: self.standing.iter().map(ToString::to_string).collect(),
            standing_execute: Vec::new(),
            reach: self.reach.map(|reach| match reach {
                ReachArg::Exposed => Reach::Exposed,
                ReachArg::Selected => Reach::Selected,
            }),
            ttl_ms: Some(self.code_ttl.into()),
            trust_window: self.terms.window,
            constraint: self.terms.constraint()?,
        })
    }
}

/// The command that the agent runs, with the state directory where that is not the usual one.
pub(crate) fn enroll_line(desk: &Desk, code: &str) -> String {
    let user = std::env::var_os("HOME").map(PathBuf::from);
    let prefix = shell::home_prefix(desk.home.path(), user.as_deref());
    format!("{prefix}plexus enroll {}", text::line(&shell::quote(code)))
}

/// The line that an agent is handed, and how long it works.
pub(crate) fn handed(agent: &AgentId, enroll: &str, until: Timestamp, now: Timestamp) -> String {
    let within = span::length(until.since(now));
    format!("Hand {agent} this line. It works once, within {within}:\n\n    {enroll}\n\n")
}

fn as_text(agent: &EnrollingAgent, enroll: &str, asks: &[[String; 2]], now: Timestamp) -> String {
    let id = &agent.agent_id;
    let mut text = handed(id, enroll, agent.expires_at, now);
    text.push_str(&at_once(&agent.granted, id, now));
    text.push('\n');
    text.push_str(&not_granted(asks));
    let rest = match agent.reach {
        Some(Reach::Selected) => "It sees nothing else.",
        _ => "Everything else that you share asks you first.",
    };
    text.push_str(&format!("\n{rest} To answer: plexusctl approvals watch\n"));
    text
}

/// A nested agent has no code: its source calls for it.
fn nested_as_text(agent: &NestedAgent, asks: &[[String; 2]], now: Timestamp) -> String {
    let id = &agent.agent_id;
    let mut text = format!(
        "{id} is connected. Its source makes its calls; there is no code to hand over.\n\n{}\n",
        at_once(&agent.granted, id, now)
    );
    text.push_str(&not_granted(asks));
    text
}

/// What the agent may do from the start.
fn at_once(granted: &[StandingGrant], agent: &AgentId, now: Timestamp) -> String {
    let granted = granted
        .iter()
        .map(|grant| standing::row(grant, now))
        .map(|[_, id, _, ends, terms]| [id, ends, terms]);
    table(
        ["may, without asking", "until", "terms"],
        granted.collect(),
        &format!("{agent} may do nothing without asking."),
    )
}

/// The capabilities that were named and not granted, as a table; nothing where there are none.
fn not_granted(asks: &[[String; 2]]) -> String {
    match asks.is_empty() {
        true => String::new(),
        false => format!("\n{}\n", table(["not granted", "why"], asks.to_vec(), "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Parser, error::ErrorKind};
    use serde_json::{Value, json};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        connect: Connect,
    }

    fn body(line: &[&str]) -> Value {
        let line = Line::try_parse_from([&["connect"], line].concat()).unwrap();
        let asked = line.connect.asked().unwrap();
        plexus_owner::write(&asked).body.unwrap()
    }

    #[test]
    fn the_request() {
        assert_eq!(
            body(&["--type", "claude-code"]),
            json!({"agentId": "claude-code", "agentType": "claude-code", "capabilities": [], "ttlMs": 900_000})
        );
        assert_eq!(
            body(&[
                "my-cc",
                "--type",
                "claude-code",
                "--allow",
                "o.read,o.write",
                "--standing",
                "o.write",
                "--standing",
                "w.write",
                "--window",
                "1d",
                "--reach",
                "selected",
                "--under",
                "path=A",
                "--code-ttl",
                "1h"
            ]),
            json!({
                "agentId": "my-cc", "agentType": "claude-code", "capabilities": ["o.read", "o.write", "w.write"],
                "standing": ["o.write", "w.write"], "reach": "selected", "ttlMs": 3_600_000,
                "trustWindow": {"kind": "1d", "ms": 86_400_000},
                "constraint": {"pathPrefix": {"field": "path", "allow": ["A"]}}
            })
        );
        let kind = |line: &[&str]| Line::try_parse_from(line).err().map(|why| why.kind());
        assert_eq!(kind(&["connect"]), Some(ErrorKind::MissingRequiredArgument));
        let nodot = kind(&["connect", "a", "--allow", "nodot"]);
        assert_eq!(nodot, Some(ErrorKind::ValueValidation));
    }

    fn connected(mut members: Value) -> EnrollingAgent {
        for (member, value) in [
            ("ok", json!(true)),
            ("expiresAt", json!("2026-01-01T00:15:00.000Z")),
            ("auditId", json!("")),
        ] {
            members[member] = value;
        }
        for member in ["code", "enrollUrl", "handshakeUrl", "enrollCommand"] {
            members[member] = json!("");
        }
        serde_json::from_value(members).unwrap()
    }

    #[test]
    fn what_was_granted_and_what_was_not_and_why() {
        let now: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
        let reply = connected(json!({
            "agentId": "my-cc",
            "granted": [{"agentId": "my-cc", "capabilityId": "o.read", "verbs": ["read"], "provenance": "managed",
                "grantedAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-08T00:00:00.000Z",
                "trustWindow": {"kind": "7d"}, "standing": true}],
            "skipped": ["o.write", "c.run"],
            "refused": [{"id": "c.run", "code": "standing_not_allowed", "reason": "it runs \u{1b}code"}],
        }));
        let asks = [
            ["o.write", "it asks first: it changes something"],
            ["c.run", "it runs \u{1b}code"],
        ];
        let asks = asks.map(|row| row.map(str::to_owned));
        assert_eq!(
            as_text(&reply, "plexus enroll plx_enroll_x", &asks, now),
            "\
Hand my-cc this line. It works once, within 15 min:

    plexus enroll plx_enroll_x

MAY, WITHOUT ASKING  UNTIL           TERMS
o.read               ends in 7 days

NOT GRANTED  WHY
o.write      it asks first: it changes something
c.run        it runs \\u{1b}code

Everything else that you share asks you first. To answer: plexusctl approvals watch
"
        );
    }

    #[test]
    fn each_that_asks_has_one_cause() {
        let entry = |id: &str, grants: Value, window: &str| {
            let window = json!({"kind": window});
            let entry = json!({"id": id, "grants": grants, "recommendedTrustWindow": window});
            serde_json::from_value::<CatalogueEntry>(entry).unwrap()
        };
        let write = entry("o.write", json!(["write"]), "1d");
        let read = entry("o.read", json!(["read"]), "7d");
        let odd = entry("o.odd", json!(["read"]), "once");
        let cause = |line: &[&str], entry: &CatalogueEntry| {
            let line = [&["connect", "a"], line].concat();
            let line = Line::try_parse_from(line).unwrap();
            line.connect.cause(&entry.id, Some(entry))
        };
        let once = ["--standing", "o.write", "--window", "once"];
        for entry in [&write, &read] {
            let why = "a window of once grants nothing in advance";
            assert_eq!(cause(&once, entry), why);
        }
        let changes = "it asks first: it changes something";
        assert_eq!(cause(&["--window", "1d"], &write), changes);
        let field = "it asks first: it has no field that you limit";
        assert_eq!(cause(&["--under", "path=A"], &read), field);
        let limited = ["--standing", "o.write", "--under", "path=A"];
        assert_eq!(cause(&limited, &write), field);
        assert_eq!(cause(&["--window", "1d"], &read), "it asks each time");
        let usual = "it asks first: its usual window is once";
        assert_eq!(cause(&[], &odd), usual);
    }

    #[test]
    fn an_agent_that_was_given_nothing() {
        let reply = connected(json!({
            "agentId": "a", "reach": "selected", "granted": [], "skipped": [], "refused": [],
        }));
        assert_eq!(
            as_text(
                &reply,
                "plexus enroll x",
                &[],
                Timestamp(reply.expires_at.0 - 60_000)
            ),
            "Hand a this line. It works once, within 1 min:\n\n    plexus enroll x\n\na may do nothing without asking.\n\n\
             It sees nothing else. To answer: plexusctl approvals watch\n"
        );
    }
}
