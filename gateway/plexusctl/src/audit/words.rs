//! What an event says, in a sentence for its owner.
//!
//! An event that is not known here is told by its own names: nothing of the record is left out.

use crate::terms::window_in_words;
use plexus_owner::{
    activity::words::{reason_in_words, refusal_in_words, so_far},
    audit::Event,
    status::Build,
};
use plexus_protocol::{Effect, TrustWindow, words::counted};
use serde::Deserialize;

/// What happened. Not escaped: parts of it are an agent's or a worker's.
pub(super) fn said(event: &Event) -> String {
    let what = happened(event);
    match &event.head().capability_id {
        Some(capability) => format!("{capability}: {what}"),
        None => what,
    }
}

/// Who did it: the agent, the owner, or the gateway itself.
pub(super) fn actor(event: &Event) -> &str {
    let head = event.head();
    let is_owners =
        || head.kind.as_deref() == Some("invoke") || happened(event).starts_with("you ");
    match head.agent_id.as_deref() {
        Some(agent) => agent,
        None if is_owners() => "you",
        None => "-",
    }
}

/// The event in words, without its capability. An act of the owner begins with "you ", by which [`actor`] knows it.
fn happened(event: &Event) -> String {
    let head = event.head();
    // The ledger's own, which have no detail.
    if let (Some(file), Some(first), Some(last)) = (&head.file, head.first, head.last) {
        match head.kind.as_deref() {
            Some("audit.sealed") => return format!("events {first} to {last} are put into {file}"),
            Some("audit.forgotten") => {
                return format!("you GIVE UP events {first} to {last}, in {file}");
            }
            _ => {}
        }
    }
    match KnownDetail::deserialize(&head.detail) {
        Ok(happened) => happened.words(),
        Err(_) => untold(event),
    }
}

/// An event of a kind, or of a form, that is not known here.
fn untold(event: &Event) -> String {
    let head = event.head();
    let detail = AnyDetail::deserialize(&head.detail).unwrap_or_default();
    if let (None, Some(code)) = (&detail.event, detail.code) {
        let has_grant = detail.basis.is_some_and(|basis| basis.grant.is_some());
        let more = match detail.unrecorded {
            None | Some(0) => String::new(),
            Some(more) => format!(", and {more} more such calls"),
        };
        let why = refusal_in_words(&code, "", has_grant);
        return format!("refused: {why}{more}");
    }
    let named = [detail.event, head.audit_type.clone(), head.kind.clone()];
    let name = named.into_iter().flatten().find(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "?".to_owned());
    match &head.outcome {
        None => name,
        Some(outcome) => format!("{name}: {outcome}"),
    }
}

/// What every detail may have.
#[derive(Default, Deserialize)]
struct AnyDetail {
    event: Option<String>,
    code: Option<String>,
    basis: Option<LoggedBasis>,
    /// Refused calls that this one stands for.
    unrecorded: Count,
}

/// The basis of a call, or what did not reach it.
#[derive(Deserialize)]
struct LoggedBasis {
    grant: Option<u64>,
}

/// Words that may be missing.
type Word = Option<String>;
/// A number that may be.
type Count = Option<u64>;

/// The details that have words here: as much of each as is told. The log has events of every version.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all_fields = "camelCase")]
enum KnownDetail {
    #[serde(rename = "call.read")]
    Read(CallEnd),
    #[serde(rename = "call.intent")]
    Begun { turn: Count, via: Word },
    #[serde(rename = "call.outcome")]
    Ended(CallEnd),
    #[serde(rename = "grant.pending")]
    Asked { agent_purpose: Word },
    #[serde(rename = "plan.ready")]
    PlanReady {},
    #[serde(rename = "plan.failed")]
    PlanFailed {},
    #[serde(rename = "plan.again")]
    PlanAgain {},
    #[serde(rename = "grant.allow")]
    Allowed {
        policy: Word,
        trust_window: Option<TrustWindow>,
        constrained: Option<bool>,
    },
    #[serde(rename = "grant.deny")]
    Denied { reason: Word },
    #[serde(rename = "denial.end")]
    DenialEnded {},
    #[serde(rename = "grant.revoke")]
    Revoked { reason: Word },
    #[serde(rename = "extension.register")]
    Registered { source: String },
    #[serde(rename = "item.lapse")]
    Lapsed {
        item: Word,
        #[serde(default)]
        approved: bool,
    },
    #[serde(rename = "item.void")]
    Voided { item: Word, why: Word },
    #[serde(rename = "turns.end")]
    TurnsEnded { why: Word },
    #[serde(rename = "item.not_made")]
    NotMade { why: Word },
    #[serde(rename = "agent.connect")]
    Connected {
        granted_count: u64,
        skipped_count: u64,
    },
    #[serde(rename = "agent.deliver")]
    Delivered {
        code: Option<bool>,
        reissued: Option<bool>,
    },
    #[serde(rename = "agent.enroll")]
    Enrolled { outcome: Word, reason: Word },
    #[serde(rename = "agent.revoke")]
    AgentRevoked { reason: Word },
    #[serde(rename = "session.open")]
    SessionOpened { client: Word, auth: Word },
    #[serde(rename = "credential.refused")]
    CredentialRefused {
        count: Count,
        credential: String,
        reason: Word,
        peer: String,
    },
    #[serde(rename = "token.issue")]
    TokenIssued {},
    #[serde(rename = "token.refresh")]
    TokenRefreshed {},
    #[serde(rename = "exposure.set")]
    Exposed { enabled: bool },
    #[serde(rename = "default-grant.set")]
    DefaultGrant { ticked: bool },
    #[serde(rename = "source.change")]
    SourceChanged {
        source: String,
        what: String,
        why: Word,
        grants_voided: Count,
        grants_suspended: Count,
    },
    #[serde(rename = "sources.unsandboxed")]
    Unsandboxed { sources: Vec<String> },
    #[serde(rename = "worker.start")]
    WorkerStarted {
        #[serde(flatten)]
        worker: NamedWorker,
        unsandboxed: Option<bool>,
        cage: Option<Cage>,
    },
    #[serde(rename = "worker.restarts")]
    WorkerRestarted {
        #[serde(flatten)]
        worker: NamedWorker,
        starts: u64,
        ends: u64,
    },
    #[serde(rename = "worker.refused")]
    WorkerRefused {
        #[serde(flatten)]
        worker: NamedWorker,
        why: Word,
    },
    #[serde(rename = "worker.end")]
    WorkerEnded {
        #[serde(flatten)]
        worker: NamedWorker,
        cause: Word,
    },
    #[serde(rename = "worker.egress")]
    Reached {
        source: String,
        connections: Vec<Connection>,
    },
    #[serde(rename = "run.cage")]
    RunCaged {
        source: String,
        programs: Vec<CagedProgram>,
        hosts: Option<Vec<String>>,
        call: String,
    },
    #[serde(rename = "settings.change")]
    Configured {},
    #[serde(rename = "network.set")]
    NetworkSet { bind_addresses: Vec<String> },
    #[serde(rename = "secret.set")]
    SecretSet { name: Word },
    #[serde(rename = "secret.deleted")]
    SecretDeleted { name: Word },
    #[serde(rename = "secret.failed")]
    SecretNotSet { name: Word },
    #[serde(rename = "network.failed")]
    NetworkNotSet {},
    #[serde(rename = "key.rotate.failed")]
    KeyNotRotated {},
    #[serde(rename = "extension.agreed")]
    Agreed { source: String },
    #[serde(rename = "extension.blocked")]
    Blocked { source: String },
    #[serde(rename = "question.asked")]
    Questioned { source: Word },
    #[serde(rename = "question.answered")]
    QuestionAnswered { source: Word, action: Word },
    #[serde(rename = "question.lapsed")]
    QuestionLapsed { source: Word },
    #[serde(rename = "question.refused")]
    QuestionRefused { source: String, why: Word },
    #[serde(rename = "sign-in.scope-missing")]
    ScopeMissing { source: String, wanted: Word },
    #[serde(rename = "sign-in.revoked")]
    SignInRevoked { source: String, came_to: Word },
    #[serde(rename = "secret.kept")]
    SecretKept { name: String, host: String },
    #[serde(rename = "key.rotate")]
    KeyRotated { agents: u64 },
    #[serde(rename = "restored")]
    Restored {
        made_at: String,
        grants_suspended: u64,
    },
    #[serde(rename = "agent.code")]
    NewCode {},
    #[serde(rename = "agent.bound")]
    Bounded {},
    #[serde(rename = "console.link")]
    LinkMade {},
    #[serde(rename = "console.sign-in")]
    SignedIn { by: String },
    #[serde(rename = "console.sign-out")]
    SignedOut {},
    #[serde(rename = "pause")]
    Paused { on: bool },
    #[serde(rename = "pause.signal")]
    PausedBySignal {},
    #[serde(rename = "launch")]
    Launched {},
    #[serde(rename = "upgrade.begin")]
    UpgradeBegun { from: Build, to: Build },
    #[serde(rename = "upgraded")]
    Upgraded { from: Build, to: Build },
    #[serde(rename = "upgrade.refused")]
    UpgradeRefused { why: Word },
    #[serde(rename = "upgrade.failed")]
    UpgradeFailed { why: Word },
    #[serde(rename = "sweep")]
    Swept { forgotten: u64 },
    #[serde(rename = "unknown.settle")]
    Settled {
        happened: bool,
        #[serde(default)]
        in_part: bool,
    },
}

/// How a call went.
#[derive(Deserialize)]
struct CallEnd {
    result: Word,
    code: Word,
    reason: Word,
    summary: Word,
    effect: Option<Effect>,
    basis: Option<LoggedBasis>,
}

/// A worker of a source.
#[derive(Deserialize)]
struct NamedWorker {
    source: String,
    role: String,
}

#[derive(Deserialize)]
struct Cage {
    checks: Vec<CageCheck>,
}

#[derive(Deserialize)]
struct CageCheck {
    held: bool,
}

/// What came of a source's connections to a host.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    host: String,
    port: u16,
    call: Word,
    verdict: String,
    count: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// A program of a run.
#[derive(Deserialize)]
struct CagedProgram {
    program: String,
    profile: String,
}

/// A request by its id, where that is known.
fn request(item: Word) -> String {
    item.map_or_else(
        || "the request".to_owned(),
        |item| format!("the request {item}"),
    )
}

/// The owner's act on a source; none where it was the gateway.
fn owners_act(what: &str) -> Option<&'static str> {
    Some(match what {
        "added" => "add",
        "lent" => "lend",
        "reconfigured" => "reconfigure",
        "relabelled" => "relabel",
        "enabled" => "enable",
        "disabled" => "disable",
        "removed" => "remove",
        "hides more" => "hide more of",
        "shows more" => "hide less of",
        "has another secret" => "set a secret of",
        "agreed to as shown" => "agree to the code of",
        "resumed" => "resume the grants on",
        "not resumed" => "revoke the suspended grants on",
        _ => return None,
    })
}

/// A code of the log in words.
fn plain(code: &str) -> String {
    code.replace('_', " ")
}

/// The notice to the server of a source that its sign-in is over, and what came of it.
fn signed_out(source: &str, came_to: Option<&str>) -> String {
    let what = match came_to {
        Some("revoked") => "ended your sign-in",
        Some("unoffered") => "offers no way to end your sign-in",
        Some("failed") => "could not be asked to end your sign-in",
        _ => "is notified that your sign-in is over",
    };
    format!("the server of {source} {what}")
}

fn because(what: &str, why: Word) -> String {
    match why.filter(|why| !why.is_empty()) {
        None => what.to_owned(),
        Some(why) => format!("{what}: {why}"),
    }
}

impl KnownDetail {
    fn words(self) -> String {
        match self {
            Self::Read(end) => end.words("read"),
            Self::Ended(end) => end.words("done"),
            Self::Begun { turn, via } => match (turn, via) {
                (None | Some(0), _) => "begins".to_owned(),
                (Some(turn), None) => format!("begins, turn {turn} of its conversation"),
                (Some(run), Some(via)) => format!("begins, run {run} that {via} makes"),
            },
            Self::Asked { agent_purpose } => because("asks you", agent_purpose),
            Self::PlanReady {} => "what it would do is computed".to_owned(),
            Self::PlanFailed {} => "what it would do could not be computed".to_owned(),
            Self::PlanAgain {} => "what it would do is computed again".to_owned(),
            Self::Allowed {
                policy,
                trust_window,
                constrained,
            } => allowed(policy.as_deref(), trust_window, constrained == Some(true)),
            Self::Denied { reason } => because("you denied it", reason),
            Self::DenialEnded {} => "you take the denial back".to_owned(),
            Self::Revoked { reason } => because("revoked", reason),
            Self::Registered { source } => {
                format!("you add the extension {source} that it proposed")
            }
            Self::Lapsed { item, approved } => match approved {
                true => format!("{} expired: its approval was not used", request(item)),
                false => format!("{} expired undecided: nothing was done", request(item)),
            },
            Self::Voided { item, why } => because(&format!("{} is void", request(item)), why),
            Self::TurnsEnded { why } => because("its approval permits no further call", why),
            Self::NotMade { why } => because("an approved call was not made", why),
            Self::Connected {
                granted_count: granted,
                skipped_count: 0,
            } => format!("you connect it, {granted} granted at once"),
            Self::Connected {
                granted_count: granted,
                skipped_count: skipped,
            } => format!("you connect it, {granted} granted at once, {skipped} not"),
            Self::Delivered { code, reissued } => match (reissued, code) {
                (Some(true), _) => "you replace its credential: a new code is made",
                (_, Some(true)) => "you fetch what it is set up from: a new code is made",
                _ => "you fetch what it is set up from",
            }
            .to_owned(),
            Self::Enrolled { outcome, reason } => match outcome.as_deref() {
                Some("redeemed") => "enrolls".to_owned(),
                _ => because(
                    "an enrollment code is refused",
                    reason.map(|code| plain(&code)),
                ),
            },
            Self::AgentRevoked { reason } => because("you revoke it", reason),
            // The client's name is its own word; how it proved itself is the gateway's.
            Self::SessionOpened { client, auth } => match (client, auth.as_deref()) {
                (_, Some("connection-key")) => "you open a session".to_owned(),
                (None, _) => "opens a session".to_owned(),
                (Some(client), _) => format!("opens a session with {client}"),
            },
            Self::CredentialRefused {
                count,
                credential,
                reason,
                peer,
            } => match count.filter(|count| *count > 0) {
                Some(count) => {
                    format!("{count} more wrong {credential}s are refused, from {peer}")
                }
                None => {
                    let reason = plain(&reason.unwrap_or_default());
                    format!("a wrong {credential} is refused ({reason}, from {peer})")
                }
            },
            Self::TokenIssued {} => "gets a token".to_owned(),
            Self::TokenRefreshed {} => "renews a token".to_owned(),
            Self::Exposed { enabled: true } => "you expose it".to_owned(),
            Self::Exposed { enabled: false } => "you hide it".to_owned(),
            Self::DefaultGrant { ticked: true } => "granted to new agents".to_owned(),
            Self::DefaultGrant { ticked: false } => "no longer granted to new agents".to_owned(),
            Self::SourceChanged {
                source,
                what,
                why,
                grants_voided,
                grants_suspended,
            } => {
                let mut said = match (owners_act(&what), why) {
                    // The reason repeats the act.
                    (Some(act), _) => format!("you {act} {source}"),
                    (None, None) => format!("source {source}: {what}"),
                    (None, Some(why)) => format!("source {source}: {what} ({why})"),
                };
                for (count, word) in [(grants_voided, "void"), (grants_suspended, "suspended")] {
                    match count {
                        None | Some(0) => {}
                        Some(1) => said.push_str(&format!(", 1 grant {word}")),
                        Some(count) => said.push_str(&format!(", {count} grants {word}")),
                    }
                }
                said
            }
            Self::Unsandboxed { sources } => {
                format!("you let RUN WITHOUT A SANDBOX: {}", sources.join(", "))
            }
            Self::WorkerStarted {
                worker,
                unsandboxed,
                cage,
            } => {
                let worker = worker.words();
                match cage {
                    _ if unsandboxed == Some(true) => format!("{worker} starts WITHOUT A SANDBOX"),
                    // The same report as before, or one that came too soon after another.
                    None => format!("{worker} starts; its cage held"),
                    Some(cage) => {
                        let (held, all) =
                            (cage.checks.iter().filter(|c| c.held), cage.checks.len());
                        format!(
                            "{worker} starts; its cage held in {} of {all} checks",
                            held.count()
                        )
                    }
                }
            }
            Self::WorkerRestarted {
                worker,
                starts,
                ends,
            } => format!(
                "{} started {} more and ended {ends}",
                worker.words(),
                counted(starts, "time")
            ),
            Self::WorkerRefused { worker, why } => {
                because(&format!("{} did not start", worker.words()), why)
            }
            Self::WorkerEnded { worker, cause } => {
                because(&format!("{} ends", worker.words()), cause)
            }
            Self::Reached {
                source,
                connections,
            } => {
                let hosts: Vec<_> = connections.iter().map(Connection::words).collect();
                format!("{source} reaches {}", hosts.join(", "))
            }
            Self::RunCaged {
                source,
                programs,
                hosts,
                call,
            } => {
                let mut programs: Vec<_> = programs.iter().map(CagedProgram::words).collect();
                programs.dedup();
                let hosts = match hosts {
                    None => "hosts that are not known".to_owned(),
                    Some(hosts) if hosts.is_empty() => "no host".to_owned(),
                    Some(hosts) => hosts.join(", "),
                };
                let programs = programs.join(", ");
                format!("{source} may run {programs} and reach {hosts}, for {call}")
            }
            Self::Configured {} => "you change the settings".to_owned(),
            Self::NetworkSet { bind_addresses } => {
                format!("you choose where to listen: {}", bind_addresses.join(" "))
            }
            Self::SecretSet { name } => because("you set a secret", name),
            Self::SecretDeleted { name } => because("a stored secret is deleted", name),
            Self::SecretNotSet { name } => because("a secret could not be stored", name),
            Self::NetworkNotSet {} => "where to listen could not be stored".to_owned(),
            Self::KeyNotRotated {} => "the new connection key could not be stored".to_owned(),
            Self::Agreed { source } => format!("you agree to {source} as it was shown"),
            Self::Blocked { source } => {
                format!("you block what {source} defines otherwise than you agreed to")
            }
            Self::Questioned { source } => because("its server asks you a question", source),
            Self::QuestionAnswered { source, action } => match action.as_deref() {
                Some("accept") => because("you answer a question", source),
                _ => because("you decline a question", source),
            },
            Self::QuestionLapsed { source } => because("a question was not answered", source),
            Self::QuestionRefused { source, why } => because(
                &format!("a question of {source} is declined, and you were not asked"),
                why,
            ),
            Self::ScopeMissing { source, wanted } => because(
                &format!("the server of {source} wants more than your sign-in is good for"),
                wanted,
            ),
            Self::SignInRevoked { source, came_to } => signed_out(&source, came_to.as_deref()),
            Self::SecretKept { name, host } => {
                format!("you keep the stored secret {name} for {host}")
            }
            Self::KeyRotated { agents } => {
                let agents = counted(agents, "agent");
                format!("you replace the connection key; revoked: {agents}")
            }
            Self::Restored {
                made_at,
                grants_suspended,
            } => format!(
                "the state is restored from a backup of {made_at}; every credential is revoked; suspended: {}",
                counted(grants_suspended, "grant")
            ),
            Self::NewCode {} => "you give it another code; its old credential ends".to_owned(),
            Self::Bounded {} => "you set its limits".to_owned(),
            Self::LinkMade {} => "you make a link into the console".to_owned(),
            Self::SignedIn { by } => format!("you sign in to the console with a {by}"),
            Self::SignedOut {} => "you sign out of the console".to_owned(),
            Self::Paused { on: true } => "you pause everything".to_owned(),
            Self::Paused { on: false } => "you end the pause".to_owned(),
            Self::PausedBySignal {} => "a signal pauses everything".to_owned(),
            Self::Launched {} => "the gateway starts".to_owned(),
            Self::UpgradeBegun { from, to } => {
                format!(
                    "you upgrade the gateway: {}",
                    crate::upgrade::names(&from, &to)
                )
            }
            Self::Upgraded { from, to } => {
                format!(
                    "the gateway changed over {}",
                    crate::upgrade::names(&from, &to)
                )
            }
            Self::UpgradeRefused { why } => {
                because("another build was refused; this one keeps running", why)
            }
            Self::UpgradeFailed { why } => because(
                "another build could not be started; this one keeps running",
                why,
            ),
            Self::Swept { forgotten } => {
                format!("forgotten: {}", counted(forgotten, "ended thing"))
            }
            Self::Settled { in_part: true, .. } => "you say that a part of it happened".to_owned(),
            Self::Settled { happened: true, .. } => "you say that it happened".to_owned(),
            Self::Settled { .. } => "you say that it did not happen".to_owned(),
        }
    }
}

impl CallEnd {
    /// What the worker says it did, or why not.
    fn words(self, verb: &str) -> String {
        let is_refused = self.result.as_deref() == Some("refused");
        let has_grant = self.basis.is_some_and(|basis| basis.grant.is_some());
        let why = match (self.code, self.reason) {
            (None, None) => String::new(),
            (code, reason) => {
                let [code, reason] = [code, reason].map(Option::unwrap_or_default);
                // Some of these words have brackets of their own.
                match is_refused {
                    true => format!(": {}", refusal_in_words(&code, &reason, has_grant)),
                    false => format!(": {}", reason_in_words(&code, &reason)),
                }
            }
        };
        match (self.result.as_deref(), self.summary) {
            (Some("ok"), None) => verb.to_owned(),
            (Some("ok"), Some(summary)) => summary,
            (Some("unknown"), _) => format!("NOT KNOWN whether it happened{why}"),
            (None, _) => format!("{verb}{why}"),
            (Some(result), kept) => {
                let so_far = so_far(self.effect, kept.as_deref());
                let kept = kept.map_or_else(String::new, |kept| format!("; {kept}"));
                format!("{result}{so_far}{why}{kept}")
            }
        }
    }
}

impl NamedWorker {
    fn words(&self) -> String {
        format!("{} of {}", self.role, self.source)
    }
}

impl Connection {
    fn words(&self) -> String {
        let host = match self.port {
            // A Unix socket.
            0 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        };
        let host = match &self.call {
            None => host,
            Some(call) => format!("{host} for {call}"),
        };
        let count = match self.count {
            1 => "once".to_owned(),
            many => format!("{many} times"),
        };
        match &*self.verdict {
            "admitted" => format!(
                "{host} ({count}, {} bytes in, {} out)",
                self.bytes_in, self.bytes_out
            ),
            verdict => format!("{host} in vain ({count}: {verdict})"),
        }
    }
}

impl CagedProgram {
    fn words(&self) -> String {
        let profile = self.profile.get(..12).unwrap_or(&self.profile);
        format!("{} under the profile {profile}", self.program)
    }
}

fn allowed(policy: Option<&str>, window: Option<TrustWindow>, is_narrowed: bool) -> String {
    let who = match policy {
        Some("owner") => "you allow it",
        Some("user-confirm") => "you approve it",
        Some("by-grant") => "a grant of yours covers it",
        Some("connect") => "you allow it as you connect the agent",
        _ => "allowed by your settings",
    };
    let window = match window {
        // It may permit further turns or runs: its card says how many.
        Some(TrustWindow::Once) => " for this request".to_owned(),
        window => window.map_or(String::new(), |window| {
            format!(" {}", window_in_words(window))
        }),
    };
    let narrowed = if is_narrowed { ", narrowed" } else { "" };
    format!("{who}{window}{narrowed}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn said(event: &Value) -> String {
        super::said(&serde_json::from_value(event.clone()).unwrap())
    }

    #[test]
    fn events_in_words() {
        #[rustfmt::skip]
        let rows = [
            (
                json!({"event": "call.outcome", "result": "ok", "summary": "replaced a.md, +1 −1"}),
                "w.write: replaced a.md, +1 −1",
            ),
            (
                json!({"event": "call.outcome", "result": "refused", "code": "precondition_changed", "reason": "unread"}),
                "w.write: refused, nothing was done: it had not read what it would replace",
            ),
            (
                json!({"event": "call.read", "result": "refused", "code": "approval_required", "reason": "outside",
                    "basis": {"grant": 3}}),
                "w.write: refused, nothing was done: it lies outside of what you granted, so you were asked",
            ),
            (
                json!({"event": "call.outcome", "result": "failed", "code": "denied_by_owner", "reason": "not now"}),
                "w.write: failed, nothing was done: you denied this before (not now)",
            ),
            (json!({"event": "call.outcome", "result": "unknown"}), "w.write: NOT KNOWN whether it happened"),
            (json!({"event": "call.intent"}), "w.write: begins"),
            (
                json!({"event": "grant.allow", "policy": "owner", "trustWindow": {"kind": "1h", "ms": 3_600_000},
                    "constrained": true}),
                "w.write: you allow it for up to 1 hour, narrowed",
            ),
            (json!({"event": "grant.deny", "reason": "not now"}), "w.write: you denied it: not now"),
            (json!({"event": "exposure.set", "enabled": false}), "w.write: you hide it"),
            (json!({"code": "rate_limited"}), "w.write: refused: too much at once"),
            (
                json!({"code": "rate_limited", "unrecorded": 4}),
                "w.write: refused: too much at once, and 4 more such calls",
            ),
            (json!({"event": "unheard.of"}), "w.write: unheard.of: denied"),
        ];
        for (detail, words) in rows {
            let event = json!({"type": "invoke", "capabilityId": "w.write", "outcome": "denied", "detail": detail});
            assert_eq!(said(&event), words);
        }
        // An agent may call itself "owner".
        for (auth, words) in [
            ("pat", "opens a session with owner"),
            ("connection-key", "you open a session"),
        ] {
            let opened = json!({"agentId": "cc",
                "detail": {"event": "session.open", "client": "owner", "auth": auth}});
            assert_eq!(said(&opened), words);
        }
        let worker = json!({"detail": {"event": "worker.start", "source": "w", "role": "reader",
            "cage": {"checks": [{"held": true}, {"held": false}]}}});
        assert_eq!(
            said(&worker),
            "reader of w starts; its cage held in 1 of 2 checks"
        );
        let again = json!({"detail": {"event": "worker.start", "source": "w", "role": "reader",
            "cageDigest": "00"}});
        assert_eq!(said(&again), "reader of w starts; its cage held");
        let more = json!({"detail": {"event": "worker.restarts", "source": "w", "role": "reader",
            "starts": 9, "ends": 10}});
        assert_eq!(said(&more), "reader of w started 9 times more and ended 10");
        #[rustfmt::skip]
        let rows = [
            (json!({"event": "agent.enroll", "outcome": "rejected", "reason": "code_expired"}),
                "an enrollment code is refused: code expired"),
            (json!({"event": "credential.refused", "credential": "session", "reason": "session_expired", "peer": "local"}),
                "a wrong session is refused (session expired, from local)"),
            (json!({"event": "sign-in.revoked", "source": "s", "cameTo": "failed"}),
                "the server of s could not be asked to end your sign-in"),
            (json!({"event": "key.rotate", "agents": 1}), "you replace the connection key; revoked: 1 agent"),
            (json!({"event": "sweep", "forgotten": 1}), "forgotten: 1 ended thing"),
        ];
        for (detail, words) in rows {
            assert_eq!(said(&json!({ "detail": detail })), words);
        }
        let hosts = json!({"detail": {"event": "worker.egress", "source": "w", "connections": [
            {"host": "a.example", "port": 443, "verdict": "admitted", "count": 2, "bytesIn": 10, "bytesOut": 3, "durationMs": 5},
            {"host": "b.example", "port": 25, "verdict": "unlisted", "count": 1, "bytesIn": 0, "bytesOut": 0, "durationMs": 0},
        ]}});
        assert_eq!(
            said(&hosts),
            "w reaches a.example:443 (2 times, 10 bytes in, 3 out), b.example:25 in vain (once: unlisted)"
        );
        let cage = json!({"detail": {"event": "run.cage", "source": "w", "call": "evt_1", "hosts": ["a.example:443"],
            "programs": [{"name": "turn", "program": "/usr/bin/codex", "profile": "0123456789abcdef"}]}});
        assert_eq!(
            said(&cage),
            "w may run /usr/bin/codex under the profile 0123456789ab and reach a.example:443, for evt_1"
        );
        let source = |what: &str, why: Option<&str>| {
            let detail = json!({"event": "source.change", "source": "w", "what": what, "why": why, "grantsVoided": 1});
            serde_json::from_value::<super::Event>(json!({ "detail": detail })).unwrap()
        };
        let disabled = source("disabled", None);
        assert_eq!(super::said(&disabled), "you disable w, 1 grant void");
        assert_eq!(super::actor(&disabled), "you");
        let ended = source("lending ended", Some("its time was over"));
        let words = "source w: lending ended (its time was over), 1 grant void";
        assert_eq!((&*super::said(&ended), super::actor(&ended)), (words, "-"));
        let sealed = json!({"type": "audit.sealed", "file": "a.log", "first": 1, "last": 9});
        assert_eq!(said(&sealed), "events 1 to 9 are put into a.log");
        let frame = json!({"type": "audit_appended", "auditType": "grant.allow"});
        assert_eq!(said(&frame), "grant.allow");
    }
}
