//! Makes a state directory as years of use leave it: many agents and grants, and a log of a million reads. It is written
//! through the gateway's own machine while no gateway runs on it. For `plexus-bench`.
#![expect(clippy::print_stderr, reason = "a command says what went wrong")]

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use plexus_ledger::{Lane, Ledger, Options};
use plexus_protocol::{AgentId, CapabilityId, Digest, SessionId, Verb, Verbs};
use plexus_record::Trust;
use plexus_trust::{
    AuthPath, Call, Command, Connect, Outcome, OutcomeKind, Permit, Reach, Reply, State, Touch,
    Verdict, authorize,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Give a state directory a long past
#[derive(Parser)]
struct Size {
    /// The state directory, on which no gateway runs
    home: PathBuf,
    /// Agents to connect
    agents: usize,
    /// Grants of all of them together
    grants: usize,
    /// Reads that they have made
    events: usize,
}

/// Commands that are handed in before the first is waited for.
const AT_ONCE: usize = 2_000;

fn main() -> ExitCode {
    match write(&Size::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plexus-long-past: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(size: &Size) -> Result<()> {
    let past = Past::open(&size.home)?;
    past.connect(size)?;
    past.read(size.events)?;
    ensure!(past.ledger.close(), "a clean close");
    Ok(())
}

struct Past {
    ledger: Ledger<Trust>,
    runtime: tokio::runtime::Runtime,
}

impl Past {
    fn open(home: &Path) -> Result<Self> {
        let now = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0)
        };
        let (ledger, _) = Ledger::open(home, Options::new(Arc::new(now)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self { ledger, runtime })
    }

    /// Has all commands decided, many in one commit.
    fn all(&self, commands: impl Iterator<Item = Command>) -> Result<()> {
        let mut commands = commands.peekable();
        while commands.peek().is_some() {
            let waiting: Vec<_> = commands
                .by_ref()
                .take(AT_ONCE)
                .map(|command| self.ledger.submit(command, Lane::Agent))
                .collect();
            for one in waiting {
                self.runtime.block_on(one)?;
            }
        }
        Ok(())
    }
    fn one(&self, command: Command) -> Result<Reply> {
        let done = self
            .runtime
            .block_on(self.ledger.submit(command, Lane::Agent));
        Ok(done?.reply)
    }

    /// Lets every agent in, each with its share of the grants.
    fn connect(&self, size: &Size) -> Result<()> {
        let reads = reads(&self.ledger.snapshot());
        let each = size.grants / size.agents;
        ensure!(
            reads.len() >= each,
            "{} capabilities cannot make {each} grants",
            reads.len()
        );
        self.all((0..size.agents).map(|n| {
            Command::Connect(Connect {
                agent: agent(n),
                agent_type: None,
                reach: Some(Reach::Exposed),
                // Each agent has others than its neighbour.
                capabilities: reads
                    .iter()
                    .cycle()
                    .skip(n % reads.len())
                    .take(each)
                    .cloned()
                    .collect(),
                standing: BTreeSet::new(),
                window: None,
                constraint: None,
                code: code(n),
                code_ms: 86_400_000,
            })
        }))
    }

    /// Lets the first agents read, in turn.
    fn read(&self, events: usize) -> Result<()> {
        let permits = (0..10)
            .map(|n| self.permit(n))
            .collect::<Result<Vec<_>>>()?;
        self.all((0..events).map(|n| {
            let path = format!("Projects/{}/note-{}.md", n % 40, n % 4_000);
            Command::Read {
                permit: permits[n % permits.len()].clone(),
                outcome: Outcome {
                    kind: OutcomeKind::Ok,
                    code: None,
                    reason: None,
                    input_bytes: 40,
                    output_bytes: 1_340,
                    summary: Some(format!("read {path}")),
                    touched: vec![Touch {
                        kind: "note".to_owned(),
                        digest: Some(Digest::of(path.as_bytes())),
                        id: path,
                        access: Verb::Read,
                    }],
                    undo: None,
                    effect: None,
                    progress: None,
                    micros: 150,
                },
            }
        }))
    }

    /// What lets an agent read: it enrolls, opens a session and asks.
    fn permit(&self, n: usize) -> Result<Permit> {
        let (agent, pat, session) = (agent(n), secret(n, "pat"), SessionId::fresh());
        self.one(Command::Enroll { code: code(n), pat })?;
        self.one(Command::OpenSession {
            agent: Some(agent.clone()),
            by: plexus_trust::SessionProof::Pat(pat),
            session: session.clone(),
            client: (None, None),
        })?;
        let state = self.ledger.snapshot();
        let granted = state.agent(&agent).context("it was connected")?;
        let capability = granted.grants.keys().next().context("it has grants")?;
        let input = json!({"path": "Projects/note.md"});
        let call = Call {
            agent: &agent,
            capability,
            input: &input,
            digest: secret(n, "input"),
        };
        match authorize(&state, call, AuthPath::Session(&session), state.latest) {
            Verdict::Permit(permit) => Ok(*permit),
            other => bail!("{agent} may not read: {other:?}"),
        }
    }
}

/// Everything that only reads.
fn reads(state: &State) -> Vec<CapabilityId> {
    let all = state.sources.values().flat_map(|s| s.capabilities.iter());
    all.filter(|(_, facts)| facts.verbs == Verbs::READ)
        .map(|(id, _)| id.clone())
        .collect()
}

fn agent(n: usize) -> AgentId {
    AgentId::parse(&format!("agent-{n}")).unwrap_or_else(|_| unreachable!("a plain name"))
}

fn code(n: usize) -> Digest {
    secret(n, "code")
}

fn secret(n: usize, what: &str) -> Digest {
    Digest::of(format!("{what} {n}").as_bytes())
}
