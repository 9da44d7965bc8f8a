//! The composition root: builds every part in order, starts serving last, stops in the reverse order.
//!
//! Fail closed: a state directory of somebody else, a ledger that does not hold together, a kernel without cages, a
//! taken port: each refuses the start with the reason and the remedy.

use crate::{
    approvals::{Approvals, planner, run as approved_run},
    arguments::{Arguments, DefaultReach},
    clock::Clock,
    connection_key::KeyFile,
    console::sessions::Sessions,
    figures::Figures,
    http::{
        self,
        address::Address,
        feed::{Feed, Notice},
        reply::Refused,
        throttle::Throttle,
    },
    invoke::{
        contents::Contents,
        limits::Limits,
        replay::{Replays, kept::Kept},
        runs::Runs,
        taken_back::TakenBack,
    },
    log::{self, Log},
    machine::{Ledger, Trust, audit_id, keep_events},
    sources::{Connector, Registry, catalogue::Catalogue, configure, lending},
    state_dir::StateDir,
    supervisor::{self, Pace, Setup, Spec, Supervisor},
    token::TokenKey,
    upgrade::{self, Came, Handed, Program},
};
use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use plexus_ipc::message::Verdict;
use plexus_ledger::{Lane, Options, Receipt, SubmitError};
use plexus_protocol::{AgentId, AuditId, CapabilityId, SourceId, Timestamp};
use plexus_trust::{
    Command, Note, Outcome, OutcomeKind, Reach, Refusal, Reply, Settings, Source, State,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Everything that the routes reach.
pub(crate) struct App {
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) supervisor: Supervisor,
    pub(crate) registry: Registry,
    pub(crate) catalogue: ArcSwap<Catalogue>,
    pub(crate) discovery: http::discovery::Made,
    pub(crate) tokens: TokenKey,
    pub(crate) key: KeyFile,
    pub(crate) state_dir: StateDir,
    pub(crate) approvals: Approvals,
    pub(crate) runs: Runs,
    pub(crate) contents: Contents,
    pub(crate) replays: Replays,
    pub(crate) taken_back: TakenBack,
    pub(crate) limits: Limits,
    pub(crate) throttle: Throttle,
    pub(crate) figures: Arc<Figures>,
    pub(crate) address: Address,
    pub(crate) feed: Feed,
    /// Who is signed in to the console.
    pub(crate) console: Sessions,
    pub(crate) instance: Option<String>,
    /// Sources whose workers run without a cage, for as long as this launch lasts.
    pub(crate) unsandboxed: BTreeSet<SourceId>,
    pub(crate) started: Instant,
    pub(crate) started_by: &'static str,
    /// The last time that the log and the rows were compared: at this start, or by the owner's `audit verify`.
    pub(crate) checked: Mutex<Checked>,
    /// Rises with each rotation of the connection key in this launch.
    pub(crate) key_epoch: AtomicU64,
    /// Held for reading by every act that the key allows, from the last look at the key to the act's end; for writing
    /// by the key's rotation. Taken before any other lock.
    pub(crate) acting: Arc<tokio::sync::RwLock<()>>,
    /// Number of this launch, from 1.
    pub(crate) launch: u64,
    /// How it came about, where it was not a start.
    pub(crate) came: Option<Came>,
    pub(crate) upgrade: upgrade::Desk,
    phase: watch::Sender<Phase>,
    /// One change of sources at a time: a look, a command, a restart of workers belong together.
    reconfiguring: Mutex<()>,
}

/// How far the daemon is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Before another program goes on in this process: calls of connections that are open are served, and nobody waits.
    WindingDown,
    /// New calls are refused.
    Stopping,
}

/// What came of a command.
type Submitted = Result<Receipt<Reply>, SubmitError<Refusal>>;

/// What a comparison of the log with the rows came to.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) at: Timestamp,
    /// `start` (from the last checkpoint on) or `verify` (all of it).
    pub(crate) by: &'static str,
    pub(crate) holds: bool,
}

/// How long a worker may take to say what became of an effect.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// How long the records of the last effects get at a stop.
const LAST_RECORDS: Duration = Duration::from_secs(3);
/// How often what time has ended is swept up.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Sweeps from one note of the time to the next: ten minutes, because each is a flush to the disk.
const MARK_EVERY: u32 = 20;

/// How long the parts of a start took, for whoever wonders where the time went.
struct Phases {
    since: Instant,
    took: Vec<(&'static str, Duration)>,
}

impl Phases {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            took: Vec::new(),
        }
    }
    /// What was done since the last phase ended.
    fn end(&mut self, phase: &'static str) {
        let took = self.since.elapsed();
        self.took(phase, took);
    }
    /// The same, where somebody else has measured it.
    fn took(&mut self, phase: &'static str, took: Duration) {
        self.since = Instant::now();
        self.took.push((phase, took));
    }
}

impl std::fmt::Display for Phases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (phase, took)) in self.took.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{phase} {} ms", took.as_millis())?;
        }
        Ok(())
    }
}

/// Serves until a signal says stop.
#[expect(
    clippy::print_stderr,
    reason = "a start that fails says so to whoever started it"
)]
pub(crate) fn serve(arguments: Arguments, connectors: &'static [Connector]) -> ExitCode {
    let log = log::start();
    let mut handed = Handed::take();
    let under_launchd = arguments.under_launchd;
    let served = Program::of_this_process()
        .context("where this program is")
        .and_then(|program| {
            let program = Arc::new(program);
            loop {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("cannot start a runtime")?;
                let launch = run(
                    arguments.clone(),
                    connectors,
                    &log,
                    program.clone(),
                    handed.take(),
                );
                let ended = runtime.block_on(launch);
                // What is still blocked in a file read must not hold the exit up: everything that counts is durable.
                runtime.shutdown_timeout(Duration::from_millis(200));
                match ended? {
                    Ended::Stopped => return Ok(()),
                    Ended::GoOn(sockets) => handed = Some(sockets),
                }
            }
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plexusd: {error:#}");
            match (crate::refused::lasts(&error), under_launchd) {
                (false, _) => ExitCode::FAILURE,
                (true, false) => ExitCode::from(crate::refused::CONFIGURATION),
                (true, true) => ExitCode::SUCCESS,
            }
        }
    }
}

/// How a launch ended. One that yielded to another program did not return.
enum Ended {
    Stopped,
    /// It was to yield and could not: the next launch is this program's own.
    GoOn(Handed),
}

async fn run(
    arguments: Arguments,
    connectors: &'static [Connector],
    log: &Log,
    program: Arc<Program>,
    mut handed: Option<Handed>,
) -> anyhow::Result<Ended> {
    let mut phases = Phases::begin();
    // A limit on the size of files is an error of the write that meets it, not the end of the daemon within a commit.
    let _over_the_limit = signal(SignalKind::from_raw(nix::libc::SIGXFSZ))?;
    // From the first moment on: whoever wants all agents paused must not end the daemon instead.
    let pause_signal = signal(SignalKind::user_defined1())?;
    // What was sent while the programs changed has waited. Before the first thread and the first worker, because they
    // have what this thread has.
    let mut early_stop = None;
    if handed.is_some() {
        early_stop = Some(StopSignal::listen()?);
        upgrade::handover::hear_signals();
    }
    let mechanism = match plexus_sandbox::kernel_support() {
        Ok(support) => support.mechanism,
        // Then only what the owner named serves; each other start of a worker is refused by the launcher.
        Err(why) if !arguments.unsandboxed.is_empty() => {
            tracing::error!(name: "cage.unavailable", error = %why, "workers cannot be caged here");
            "none"
        }
        Err(why) => return Err(why).context("workers cannot be caged here"),
    };
    let state_dir = StateDir::open(arguments.home.clone())?;
    let registry = Registry::read(connectors)?;
    let clock = Clock::start();
    phases.end("preparations");
    let figures = Arc::new(Figures::new());
    let owners_watching = Arc::<std::sync::atomic::AtomicUsize>::default();
    let (ledger, boot) = {
        let ticking = clock.clone();
        let mut options = Options::new(Arc::new(move || ticking.now().0));
        let measured = figures.clone();
        options.observer = Arc::new(move |committed| measured.committed(committed));
        let watching = owners_watching.clone();
        options.audience = Arc::new(move |record| http::feed::concerns(&watching, record));
        plexus_ledger::Ledger::<Trust>::open(state_dir.path(), options)?
    };
    phases.took("ledger file", boot.times.file);
    phases.took("rows and events", boot.times.check);
    phases.took("launch", boot.times.rest);
    // The ledger is ours, so the log is.
    log.attach(&state_dir.join("logs"));
    clock.not_before(Timestamp(boot.checked.head.at));
    clock.go_on_from(state_dir.path())?;
    if let Some(finding) = &boot.rolled_back {
        tracing::error!(name: "ledger.rolled_back", error = %finding, "the ledger knows less than audit-heads.jsonl: it was cut short or put back");
    }
    let key = KeyFile::open(&state_dir)?;
    let network = http::network::Network::load(&state_dir, arguments.public_hostname.as_deref())?;
    let listeners =
        http::listen::bind(&state_dir, arguments.port, &network, handed.as_mut()).await?;
    // What is not wanted any more is closed here.
    let came = handed.map(|handed| handed.came);
    let port = listeners.port();
    let issuer = install_id(&state_dir)?;
    let programs = Programs::find(arguments.workers.as_deref())?;
    crate::backup::make::tidy(state_dir.path());
    let swept = supervisor::sweep_leftovers(state_dir.path())?;
    for pid in swept {
        tracing::warn!(name: "worker.swept", pid, "ended a worker that an earlier daemon left behind");
    }
    let (notices, from_workers) = tokio::sync::mpsc::unbounded_channel();
    let supervisor = Supervisor::new(Setup {
        launcher: programs.launcher,
        workers: programs.workers,
        state_dir: state_dir.path().to_owned(),
        launch: boot.launch,
        tcp_port: port,
        notices,
        pace: Pace::default(),
    })
    .context("starting the spawner of workers")?;
    let (desk, mut upgrades) = upgrade::Desk::new(program);
    let app = Arc::new(App {
        tokens: TokenKey::fresh(issuer, clock.now())?,
        approvals: Approvals::open(&state_dir),
        address: Address::new(port, network),
        feed: Feed::new(boot.launch, owners_watching),
        console: Sessions::default(),
        catalogue: ArcSwap::default(),
        discovery: http::discovery::Made::default(),
        runs: Runs::default(),
        contents: Contents::default(),
        replays: Replays::new(Kept::in_folder(state_dir.join("pending"))),
        taken_back: TakenBack::default(),
        limits: Limits::default(),
        throttle: Throttle::default(),
        figures,
        instance: arguments.instance.clone(),
        unsandboxed: arguments.unsandboxed.iter().cloned().collect(),
        started: Instant::now(),
        started_by: started_by(),
        checked: Mutex::new(Checked {
            at: clock.now(),
            by: "start",
            // What does not hold refuses the start; only a log that was cut short does not.
            holds: boot.rolled_back.is_none(),
        }),
        key_epoch: AtomicU64::new(0),
        acting: Arc::default(),
        launch: boot.launch,
        came,
        upgrade: desk,
        phase: watch::Sender::new(Phase::Serving),
        reconfiguring: Mutex::new(()),
        clock,
        ledger,
        supervisor,
        registry,
        key,
        state_dir,
    });
    app.owner(Command::Launch).await.map_err(refused_start)?;
    app.note_boot(&boot).await;
    app.ledger
        .keep(keep_events(&app.ledger.snapshot().settings));
    app.say_how_it_came().await;
    app.first_settings(arguments.default_reach).await?;
    app.flag_sources(&arguments).await?;
    app.say_what_is_unsandboxed().await?;
    phases.end("listeners and launch");
    app.look_at_sources().await?;
    phases.end("sources");
    app.settle_what_a_crash_left().await?;
    crate::invoke::used::go_on(&app);

    let tasks = [
        tokio::spawn(http::feed::follow(app.clone())),
        tokio::spawn(hear_workers(app.clone(), from_workers)),
        tokio::spawn(sweep(app.clone())),
        tokio::spawn(pause_on_signal(app.clone(), pause_signal)),
    ];
    planner::resume(&app);
    approved_run::resume(&app);
    phases.end("the rest");
    let after = match (boot.clean, boot.walked) {
        (true, _) => "a clean stop",
        (false, false) => "a kill at rest",
        (false, true) => "a kill at work",
    };
    tracing::info!(name: "daemon.started",
        detail = format!("{phases}; {} rows, {} events checked, after {after}", boot.checked.rows, boot.checked.events),
        "started"
    );
    tracing::info!(name: "daemon.serving", port, path = %app.state_dir.path().display(), cage = mechanism, "serving");
    let mut stop = match early_stop {
        Some(stop) => stop,
        None => StopSignal::listen()?,
    };
    let mut listening = listeners.serve(app.clone())?;
    http::listen::announce(&app)?;
    tracing::info!(name: "daemon.console", "the console is at http://localhost:{port}/admin; `plexusctl console` signs a browser in"
    );
    tell_service_manager(&[sd_notify::NotifyState::Ready]);
    crate::os::let_go_of_start();
    let upgrade = tokio::select! {
        () = stop.asked() => None,
        Some(asked) = upgrades.recv() => Some(asked),
    };

    if let Some(asked) = &upgrade {
        let to = &asked.candidate.to;
        tracing::info!(name: "daemon.upgrading", detail = format!("{} {}", to.version, to.build), "changing over");
        tell_service_manager(&reloading());
        app.enter(Phase::WindingDown);
        app.feed.close();
        let calls = async {
            listening.wind_down().await;
            app.runs.over().await;
            app.limits.no_effects().await;
        };
        tokio::select! {
            done = tokio::time::timeout(upgrade::RUNNING, calls) => if done.is_err() {
                tracing::warn!(name: "daemon.calls_cut", "calls still run; they are ended as at a stop");
            },
            () = stop.asked() => {}
        }
    } else {
        tracing::info!(name: "daemon.stopping", "stopping");
        tell_service_manager(&[sd_notify::NotifyState::Stopping]);
    }
    app.enter(Phase::Stopping);
    app.feed.close();
    // New calls are refused now; running ones get their outcome (DESIGN 13).
    app.supervisor.shutdown().await;
    // What was sent to a worker gets its record, also where the caller has gone.
    if tokio::time::timeout(LAST_RECORDS, app.limits.no_effects())
        .await
        .is_err()
    {
        tracing::error!(name: "daemon.effects_left", "effects were still under way at the stop; the next start asks their workers"
        );
    }
    crate::invoke::note_unrecorded(&app, true).await;
    http::authenticate::note_unrecorded(&app).await;
    // A stop that was asked for meanwhile is a stop.
    let upgrade = match tokio::time::timeout(Duration::ZERO, stop.asked()).await {
        Ok(()) => None,
        Err(_) => upgrade,
    };
    let sockets = match &upgrade {
        Some(_) => listening.hand_over().await,
        None => {
            listening.stop().await;
            Vec::new()
        }
    };
    for task in tasks {
        task.abort();
    }
    if upgrade.is_none() {
        let _ = std::fs::remove_file(app.state_dir.join("runtime.json"));
    }
    app.leave_mark();
    crate::invoke::used::note(&app);
    let ledger = app.ledger.clone();
    let clean = tokio::task::spawn_blocking(move || ledger.close())
        .await
        .unwrap_or(false);
    if !clean {
        bail!("the ledger did not close cleanly; the next start checks it");
    }
    let Some(asked) = upgrade else {
        return Ok(Ended::Stopped);
    };
    Ok(Ended::GoOn(asked.candidate.exec(sockets)))
}

/// What systemd is told while one program gives way to another in the process that it watches.
fn reloading() -> Vec<sd_notify::NotifyState<'static>> {
    let mut state = vec![sd_notify::NotifyState::Reloading];
    state.extend(sd_notify::NotifyState::monotonic_usec_now().ok());
    state
}

/// What the ledger refused by its rules is no trouble of its own.
fn count_unrecorded(figures: &Figures, submitted: &Submitted) {
    if submitted
        .as_ref()
        .is_err_and(|e| !matches!(e, SubmitError::Refused(_)))
    {
        figures.unrecorded();
    }
}

/// Says to systemd how far we are, where it started us and asks (`NOTIFY_SOCKET`).
fn tell_service_manager(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(name: "daemon.manager_untold", %error, "the service manager could not be told");
    }
}

fn refused_start(error: SubmitError<Refusal>) -> anyhow::Error {
    anyhow::anyhow!("the ledger cannot record the start: {error}")
}

/// Who started the daemon, by what service managers leave in its environment (`systemd.exec(5)`, `launchd.plist(5)`).
fn started_by() -> &'static str {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        "terminal"
    } else if cfg!(target_os = "linux") && set("INVOCATION_ID") {
        "systemd"
    } else if cfg!(target_os = "macos") && set("XPC_SERVICE_NAME") {
        "launchd"
    } else {
        "program"
    }
}

/// What asks the daemon to stop.
struct StopSignal {
    signals: [Signal; 3],
    heard: bool,
}

impl StopSignal {
    /// From here on nothing of the kind ends the process by itself.
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            signals: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ],
            heard: false,
        })
    }

    /// Returns when it was asked for, at once where that is already so.
    async fn asked(&mut self) {
        let [term, interrupt, hangup] = &mut self.signals;
        if !self.heard {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
            self.heard = true;
        }
    }
}

/// Names this installation in tokens; made once.
fn install_id(state_dir: &StateDir) -> anyhow::Result<String> {
    let known = std::fs::read_to_string(state_dir.join("instance-id")).unwrap_or_default();
    let known = known.trim();
    if known
        .strip_prefix("plexus-")
        .is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
    {
        return Ok(known.to_owned());
    }
    let fresh = format!("plexus-{}", uuid::Uuid::new_v4());
    state_dir.write_private("instance-id", fresh.as_bytes())?;
    Ok(fresh)
}

/// Where the launcher and the workers are. Never looked for through PATH.
pub(crate) struct Programs {
    pub(crate) launcher: PathBuf,
    pub(crate) workers: PathBuf,
}

impl Programs {
    pub(crate) fn find(given: Option<&Path>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("where this program is")?;
        let own = own.canonicalize().unwrap_or(own);
        let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
        let candidates = match given {
            Some(dir) => vec![
                dir.canonicalize()
                    .with_context(|| format!("--workers {}", dir.display()))?,
            ],
            None => vec![beside.join("../libexec/plexus"), beside],
        };
        let launcher_in =
            |dir: &PathBuf| dir.join("plexus-sandbox-exec").is_file() || cfg!(target_os = "macos");
        let found = candidates
            .iter()
            .filter_map(|dir| dir.canonicalize().ok())
            .find(launcher_in);
        let Some(workers) = found else {
            let looked: Vec<_> = candidates
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            bail!(
                "plexus-sandbox-exec is not in {}: install it there or pass --workers DIR",
                looked.join(" nor in ")
            );
        };
        let launcher = if cfg!(target_os = "macos") {
            PathBuf::from("/usr/bin/sandbox-exec")
        } else {
            workers.join("plexus-sandbox-exec")
        };
        Ok(Self { launcher, workers })
    }
}

impl App {
    /// How far the daemon is from its end.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the daemon is no longer simply serving.
    pub(crate) async fn ending(&self) {
        let _ = self
            .phase
            .subscribe()
            .wait_for(|p| *p != Phase::Serving)
            .await;
    }

    /// Whether new calls are refused because the daemon stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase() == Phase::Stopping
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Submits an act of the owner, or of the daemon itself.
    pub(crate) async fn owner(&self, command: Command) -> Result<Reply, SubmitError<Refusal>> {
        let submitted = self.ledger.submit(command, Lane::Owner).await;
        count_unrecorded(&self.figures, &submitted);
        submitted.map(|receipt| receipt.reply)
    }

    /// Whether `agent` may have one more call; asked before anything is written for it.
    ///
    /// # Errors
    /// 429 `rate_limited`. It is counted, and recorded with others of its kind.
    pub(crate) fn admit(&self, agent: &AgentId) -> Result<(), Refused> {
        let state = self.ledger.snapshot();
        let bounds = state.agent(agent).map(|a| a.bounds).unwrap_or_default();
        let admitted = self.limits.admit(agent, &bounds, self.clock.now());
        admitted.map_err(|exceeded| {
            self.figures.limited(exceeded);
            Refused::new(exceeded.refusal(agent))
        })
    }

    /// Whether the ledger's writer would refuse `command` as things stand. It decides by itself and last; this spares the
    /// disk what is to lie there before the command does.
    ///
    /// # Errors
    /// What it would say.
    pub(crate) fn foresee(&self, command: &Command) -> Result<(), SubmitError<Refusal>> {
        let decided = plexus_trust::decide(&self.ledger.snapshot(), command, self.clock.now());
        decided.map(|_| ()).map_err(SubmitError::Refused)
    }

    /// Submits what was done for `agent`, and charges it what the log grows by.
    pub(crate) fn submit_for(
        &self,
        agent: &AgentId,
        command: Command,
    ) -> impl Future<Output = Submitted> + Send + use<> {
        self.charged(agent, self.ledger.submit(command, Lane::Agent))
    }

    /// Charges `agent` what the log grows by.
    pub(crate) fn charged<F: Future<Output = Submitted> + Send>(
        &self,
        agent: &AgentId,
        submitted: F,
    ) -> impl Future<Output = Submitted> + Send + use<F> {
        let charge = self.limits.charge(agent, self.clock.now());
        let figures = self.figures.clone();
        async move {
            let receipt = submitted.await;
            count_unrecorded(&figures, &receipt);
            let events = receipt.as_ref().map_or(&[][..], |r| &r.events);
            charge.settle(events.iter().map(|event| event.bytes).sum());
            receipt
        }
    }

    /// Records something that changes no state. A record that cannot be written is logged.
    pub(crate) async fn note(&self, note: Note) -> Option<AuditId> {
        let agent = note.agent.clone();
        let command = Command::Note(note);
        let submitted = match agent {
            Some(agent) => self.submit_for(&agent, command).await,
            None => self.ledger.submit(command, Lane::Agent).await,
        };
        match submitted {
            Ok(receipt) => receipt.events.first().map(|e| audit_id(e.id)),
            Err(error) => {
                tracing::warn!(name: "audit.note_failed", %error, "a note could not be recorded");
                None
            }
        }
    }

    /// Records something of the daemon's own, of no agent and no call: for the owner, so also on a full disk.
    async fn remark(&self, detail: Value) {
        let note = Command::Note(Note {
            kind: "source.settings",
            agent: None,
            capability: None,
            outcome: None,
            detail,
        });
        if let Err(error) = self.owner(note).await {
            tracing::warn!(name: "audit.note_failed", %error, "a remark could not be recorded");
        }
    }

    /// Effects that were begun before a crash: nobody knows what became of them until their worker says so.
    async fn settle_what_a_crash_left(&self) -> anyhow::Result<()> {
        let state = self.ledger.snapshot();
        for (intent, open) in state.open_intents.iter() {
            tracing::warn!(name: "effect.left_by_crash", auditId = %intent, capability = %open.capability, "an effect was under way when the daemon ended");
            let kind = self.settled(intent, &open.capability).await;
            let outcome = Outcome {
                kind,
                code: (kind == OutcomeKind::Unknown).then(|| "outcome_unknown".into()),
                reason: Some("the daemon ended".into()),
                input_bytes: 0,
                output_bytes: 0,
                touched: Vec::new(),
                summary: None,
                undo: None,
                micros: 0,
            };
            self.owner(Command::Outcome {
                intent: intent.clone(),
                outcome,
            })
            .await
            .map_err(refused_start)?;
        }
        Ok(())
    }

    /// Asks the worker's own store what became of an effect.
    pub(crate) async fn settled(&self, intent: &AuditId, capability: &CapabilityId) -> OutcomeKind {
        let Some(entry) = self.catalogue.load().get(capability).cloned() else {
            return OutcomeKind::Unknown;
        };
        self.settled_by(&entry.source, intent).await
    }

    /// The same, where the source is known.
    pub(crate) async fn settled_by(&self, source: &SourceId, intent: &AuditId) -> OutcomeKind {
        let asked = self.supervisor.settle(source, intent.clone());
        match tokio::time::timeout(SETTLE_WITHIN, asked).await {
            Ok(Verdict::Happened) => OutcomeKind::Ok,
            Ok(Verdict::DidNot) => OutcomeKind::Failed,
            Ok(Verdict::CannotTell) | Err(_) => OutcomeKind::Unknown,
        }
    }

    /// Keeps what the opening of the ledger found: the owner must be able to hear of it later.
    async fn note_boot(&self, boot: &plexus_ledger::BootReport) {
        if let Some(why) = &boot.no_ballast {
            tracing::warn!(name: "ledger.no_ballast", error = why,
                "no space could be set aside for the owner's acts on a full disk"
            );
        }
        let astray: Vec<_> = boot.archives_astray.iter().map(|a| &a.file).collect();
        if !astray.is_empty() {
            tracing::error!(name: "archive.astray", detail = ?astray, "archives of the audit log are missing or were changed");
        }
        let rolled_back = boot.rolled_back.as_ref().map(ToString::to_string);
        let well = boot.clean && rolled_back.is_none() && boot.no_ballast.is_none();
        if well && astray.is_empty() {
            return;
        }
        let mut about = json!({
            "event": "ledger.open", "launch": boot.launch, "clean": boot.clean,
            "rolledBack": rolled_back, "noBallast": boot.no_ballast,
        });
        if !astray.is_empty() {
            about["archivesAstray"] = json!(astray);
        }
        self.remark(about).await;
    }

    /// Puts on record that this launch is another program's, or this one's again, in the same process.
    async fn say_how_it_came(&self) {
        let own = upgrade::edition::Build::own();
        let about = match &self.came {
            None => return,
            Some(Came::From { from, to }) => {
                tracing::info!(name: "daemon.upgraded", detail = format!("{} to {}", from.build, own.build), "changed over");
                // What it was taken for, if that is what it is.
                let to = if to.build == own.build { to } else { &own };
                json!({"event": "upgraded", "from": from, "to": to, "launch": self.launch})
            }
            Some(Came::Back { to, why }) => {
                json!({"event": "upgrade.failed", "from": own, "to": to, "why": why, "launch": self.launch})
            }
        };
        self.remark(about).await;
    }

    async fn first_settings(&self, reach: Option<DefaultReach>) -> anyhow::Result<()> {
        let state = self.ledger.snapshot();
        let Some(reach) = reach else { return Ok(()) };
        let default_reach = match reach {
            DefaultReach::Exposed => Reach::Exposed,
            DefaultReach::Selected => Reach::Selected,
        };
        let settings = Settings {
            default_reach,
            ..(*state.settings).clone()
        };
        self.owner(Command::Configure(settings))
            .await
            .map_err(refused_start)?;
        Ok(())
    }

    /// `--vault` and `--workspace` are sources like others; they stay configured when the flag is gone.
    async fn flag_sources(&self, arguments: &Arguments) -> anyhow::Result<()> {
        for (flag, dir, kind, field, id) in [
            (
                "--vault",
                &arguments.vault,
                "obsidian-fs",
                "vaultPath",
                "obsidian",
            ),
            (
                "--workspace",
                &arguments.workspace,
                "workspace-dir",
                "path",
                "workspace",
            ),
        ] {
            let Some(dir) = dir else { continue };
            let real = dir
                .canonicalize()
                .with_context(|| format!("{flag} {}", dir.display()))?;
            let name = real
                .file_name()
                .map_or_else(|| real.to_string_lossy(), |n| n.to_string_lossy());
            let label = self
                .registry
                .of_kind(kind)
                .map_or("", |c| c.manifest.label.as_str());
            let body = json!({"id": id, "kind": kind, "label": format!("{label} ({name})"), "route": {field: real}});
            let wanted = configure::Wanted {
                body: body.as_object().context("an object")?,
            };
            let checked = wanted.check(&self.registry, &self.state_dir);
            let (id, mut config) =
                checked.map_err(|why| anyhow::anyhow!("{flag} {}: {why}", dir.display()))?;
            // A flag says where a source lies, and nothing of what the owner hides in it.
            let state = self.ledger.snapshot();
            if let Some(known) = state.sources.get(&id) {
                config.hide = known.config.hide.clone();
            }
            self.owner(Command::PutSource { id, config })
                .await
                .map_err(refused_start)?;
        }
        Ok(())
    }

    async fn look_at_sources(&self) -> anyhow::Result<()> {
        let ids: Vec<SourceId> = self.ledger.snapshot().sources.keys().cloned().collect();
        for id in ids {
            if let Err(why) = self.look_at(&id).await {
                tracing::warn!(name: "source.unusable", source = %id, error = why, "a source cannot be used");
            }
        }
        self.renew_catalogue(None);
        Ok(())
    }

    /// Leaves the time for the next launch, so that a clock set back meanwhile lengthens nothing.
    fn leave_mark(&self) {
        if let Err(error) = self.clock.leave_mark(self.state_dir.path()) {
            tracing::warn!(name: "clock.unmarked", %error, "the time could not be noted");
        }
    }

    /// Looks at one source, tells the machine what was found, and puts its workers in place.
    ///
    /// # Errors
    /// Why the source cannot be used now; the machine's view of it stays as it was.
    pub(crate) async fn look_at(&self, id: &SourceId) -> Result<(), String> {
        let state = self.ledger.snapshot();
        let source = state.sources.get(id).cloned().ok_or("no such source")?;
        let seen = match configure::look(&self.registry, &source, &self.state_dir) {
            Ok(seen) => seen,
            Err(why) => {
                self.supervisor.remove(id).await;
                return Err(why);
            }
        };
        self.owner(Command::SourceSeen(seen))
            .await
            .map_err(|e| e.to_string())?;
        let state = self.ledger.snapshot();
        let source = state.sources.get(id).ok_or("no such source")?;
        if !source.config.enabled {
            self.supervisor.remove(id).await;
            return Ok(());
        }
        self.put_workers(source)
    }

    /// Puts the workers of a source in place as it is configured.
    ///
    /// # Errors
    /// This build has no such connector.
    pub(crate) fn put_workers(&self, source: &Source) -> Result<(), String> {
        self.supervisor.put(Arc::new(self.spec_of(source)?));
        Ok(())
    }

    /// What workers of a source are started with.
    ///
    /// # Errors
    /// This build has no such connector.
    pub(crate) fn spec_of(&self, source: &Source) -> Result<Spec, String> {
        let connector = self
            .registry
            .of_kind(&source.config.kind)
            .ok_or("no such connector")?;
        let root = configure::root_of(&self.registry, &source.config);
        Ok(Spec {
            source: source.id.clone(),
            connector: connector.name,
            manifest: connector.manifest.clone(),
            profile: connector.profile,
            root: root.map(|r| r.canonicalize().unwrap_or(r)),
            config: configure::for_worker(&source.config),
            secrets: self.secrets_of(source.config.secret_ref.as_deref()),
            revision: source.revision,
            uncaged: self.unsandboxed.contains(&source.id),
        })
    }

    /// Puts on record, at each launch, which sources the owner let out of their cages.
    ///
    /// # Errors
    /// There is no such source: a name that means nothing must not look as if it did.
    async fn say_what_is_unsandboxed(&self) -> anyhow::Result<()> {
        if self.unsandboxed.is_empty() {
            return Ok(());
        }
        let known = self.ledger.snapshot();
        for source in &self.unsandboxed {
            if !known.sources.contains_key(source) {
                let why = format!("--unsandboxed-i-understand {source}: there is no such source");
                bail!(crate::refused::Lasting(why));
            }
            tracing::error!(name: "source.uncaged", %source, "ITS WORKERS RUN WITHOUT A CAGE, as --unsandboxed-i-understand says");
        }
        self.remark(json!({"event": "sources.unsandboxed", "sources": self.unsandboxed}))
            .await;
        Ok(())
    }

    /// Reads a secret each time a worker starts, so that a changed one counts at the next start.
    fn secrets_of(&self, name: Option<&str>) -> supervisor::SecretsOf {
        let file = name
            .filter(|n| configure::secret_name(n))
            .map(|n| self.state_dir.join("secrets").join(n));
        Box::new(move || {
            let text = file.as_ref().map(std::fs::read_to_string).transpose()?;
            Ok(text
                .map(|t| ("secret".to_owned(), plexus_ipc::message::Secret::new(t)))
                .into_iter()
                .collect())
        })
    }

    /// Builds the catalogue anew after a change of sources or exposure, and tells who listens.
    pub(crate) fn renew_catalogue(&self, changed: Option<http::feed::Changed>) {
        let _one_at_a_time = self
            .reconfiguring
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let revision = self.catalogue.load().revision + 1;
        let state: Arc<State> = self.ledger.snapshot();
        self.catalogue
            .store(Arc::new(Catalogue::build(&state, &self.registry, revision)));
        self.feed
            .publish(Notice::ManifestChanged { revision, changed });
    }
}

/// Turns what the supervisor notices into records and frames.
async fn hear_workers(
    app: Arc<App>,
    mut notices: tokio::sync::mpsc::UnboundedReceiver<supervisor::Notice>,
) {
    while let Some(notice) = notices.recv().await {
        let about = match &notice {
            supervisor::Notice::Started {
                source,
                role,
                pid,
                cage,
                build,
            } => {
                let mut about = json!({
                    "event": "worker.start", "source": source, "role": role, "pid": pid, "build": build, "cage": cage,
                });
                app.figures.worker_started(true);
                tracing::info!(name: "worker.started", %source, %role, pid, "a worker started");
                if app.unsandboxed.contains(source) {
                    about["unsandboxed"] = json!(true);
                }
                about
            }
            supervisor::Notice::StartFailed {
                source,
                role,
                why,
                attempts,
            } => {
                app.figures.worker_started(false);
                json!({
                    "event": "worker.refused", "source": source, "role": role, "why": why.to_string(), "attempts": attempts,
                })
            }
            supervisor::Notice::Ended {
                source,
                role,
                pid,
                cause,
                exit,
            } => {
                app.figures.worker_ended(cause.asked_for());
                json!({
                    "event": "worker.end", "source": source, "role": role, "pid": pid,
                    "cause": cause.to_string(), "exit": exit.to_string(),
                })
            }
            supervisor::Notice::Health { source, health, .. } => {
                let known = app.ledger.snapshot().sources.get(source).cloned();
                let lent = known.as_ref().and_then(|s| s.config.lent.as_ref());
                app.feed.publish(Notice::SourceStatus {
                    borrower: lent.map(|lent| lent.agent.clone()),
                    source: source.clone(),
                    available: health.status != supervisor::Health::Unavailable,
                    reason: health.detail.clone(),
                });
                // What it points at may have been replaced: then nothing that was granted on it stands.
                if health.status == supervisor::Health::Unavailable {
                    let before = app.ledger.snapshot();
                    if let Err(why) = app.look_at(source).await {
                        tracing::warn!(name: "source.unusable", %source, error = why, "a source cannot be used");
                    }
                    if !Arc::ptr_eq(&before.sources, &app.ledger.snapshot().sources) {
                        app.renew_catalogue(None);
                    }
                }
                continue;
            }
        };
        app.remark(about).await;
    }
}

/// SIGUSR1 pauses all agents, for whoever has no `plexusctl` at hand. Nothing but the owner's command ends a pause.
async fn pause_on_signal(app: Arc<App>, mut asked: Signal) {
    while asked.recv().await.is_some() {
        match app.take_back(Command::Pause(true)).await {
            Ok(_) => {
                tracing::warn!(name: "daemon.paused", "SIGUSR1: all agents are paused until: plexusctl resume");
            }
            Err(error) => {
                tracing::error!(name: "daemon.paused", %error, "SIGUSR1: all agents are paused, in memory only");
            }
        }
        // The pause has its own event; this says where it came from.
        app.remark(json!({"event": "pause.signal", "signal": "SIGUSR1"}))
            .await;
    }
}

async fn sweep(app: Arc<App>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    let mut rounds: u32 = 0;
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        app.save_held().await;
        rounds += 1;
        if rounds.is_multiple_of(MARK_EVERY) {
            app.leave_mark();
        }
        crate::invoke::note_unrecorded(&app, false).await;
        http::authenticate::note_unrecorded(&app).await;
        app.limits.tidy(app.clock.now());
        let before = app.ledger.snapshot();
        if let Err(error) = app.owner(Command::Sweep).await {
            tracing::warn!(name: "daemon.sweep_failed", %error, "sweeping failed");
        }
        lending::follow(&app, &before).await;
        let app = app.clone();
        let tidied = tokio::task::spawn_blocking(move || {
            let state = app.ledger.snapshot();
            app.approvals.tidy(&state);
            app.replays.kept.tidy(|| app.ledger.snapshot());
            crate::invoke::used::note(&app);
        });
        if let Err(error) = tidied.await {
            tracing::warn!(name: "daemon.sweep_failed", %error, "tidying failed");
        }
    }
}
