//! One launch of the daemon: builds every part in order, starts serving last, stops in the reverse order.
//!
//! ```text
//! preparations ▸ ledger ▸ sockets ▸ supervisor ▸ on record ▸ sources ▸ serving ▸ winding down ▸ stopping ▸ ledger closed
//!                                                                         └───── stopping ─────┘
//! ```
//! Fail closed: a state directory of somebody else, a ledger that does not hold together, a kernel without cages, a
//! taken port: each refuses the start with the reason and the remedy.

mod ending;
pub(crate) mod flags;
mod on_record;
mod programs;
mod service;
mod signals;
mod sweep;

pub(crate) use programs::Programs;

use crate::{
    arguments::{Arguments, FakeApple},
    log::{self, Log},
    upgrade::{self, Handed, Program},
};
use anyhow::Context;
use arc_swap::ArcSwap;
use ending::LaunchEnd;
use plexus_calls::{
    answers::Answers,
    approvals::{planner, run as approved_run, store::Approvals},
    contents::Contents,
    events::Feed,
    host_sessions::HostSessions,
    kernel::{Kernel, Phase},
    lately::Lately,
    latency::Latencies,
    limits::Limits,
    metrics::Metrics,
    replay::Replays,
    revocations::Revocations,
    runs::Runs,
    under_way::UnderWay,
    worker_events,
};
use plexus_desk::desk::{CallTally, Checked, CopyError, Desk};
use plexus_edge::{
    address::Address, connection_key::KeyFile, edge::Edge, kept_discovery::KeptDiscovery,
    key_lock::KeyLock, listen, mcp_agents::McpAgents, sessions::Sessions, throttle::Throttle,
    token::TokenKey,
};
use plexus_home::{clock::Clock, state_dir::StateDir, tasks::lasting};
use plexus_ledger::{Options, SubmitError};
use plexus_protocol::Timestamp;
use plexus_record::{Trust, keep_events};
use plexus_sources::{Connector, Registry};
use plexus_supervisor::{Pace, Setup, Supervisor};
use plexus_trust::{Command, Refusal};
use signals::{PauseSignal, StopSignal};
use std::{
    process::ExitCode,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Serves until a signal says stop.
#[expect(
    clippy::print_stderr,
    reason = "a start that fails says so to its starter"
)]
pub(crate) fn serve(arguments: Arguments, connectors: &[Connector]) -> ExitCode {
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
                    LaunchEnd::Stopped => return Ok(()),
                    LaunchEnd::GoOn(sockets) => handed = Some(sockets),
                }
            }
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plexusd: {}", crate::refused::told(&error));
            match (crate::refused::lasts(&error), under_launchd) {
                (false, _) => ExitCode::FAILURE,
                (true, false) => ExitCode::from(crate::refused::CONFIGURATION),
                (true, true) => ExitCode::SUCCESS,
            }
        }
    }
}

async fn run(
    arguments: Arguments,
    connectors: &[Connector],
    log: &Log,
    program: Arc<Program>,
    mut handed: Option<Handed>,
) -> anyhow::Result<LaunchEnd> {
    let began = Instant::now();
    // A limit on the size of files is an error of the write that meets it, not the end of the daemon within a commit.
    let _over_the_limit = signal(SignalKind::from_raw(nix::libc::SIGXFSZ))?;
    // From the first moment on: an owner who wants all agents paused must not end the daemon instead.
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
    let metrics = Arc::new(Metrics::default());
    let owners_watching = Arc::<std::sync::atomic::AtomicUsize>::default();
    let (ledger, boot) = {
        let ticking = clock.clone();
        let mut options = Options::new(Arc::new(move || ticking.now().0));
        let measured = metrics.clone();
        options.observer = Arc::new(move |committed| measured.committed(committed));
        let watching = owners_watching.clone();
        options.audience =
            Arc::new(move |record| plexus_calls::follow::concerns(&watching, record));
        plexus_ledger::Ledger::<Trust>::open(state_dir.path(), options)?
    };
    // The ledger is ours, so the log and the files are.
    state_dir.remove_leftovers();
    log.attach(&state_dir.join("logs"));
    registry.read_installed(&state_dir);
    clock.not_before(Timestamp(boot.checked.head.at));
    clock.go_on_from(state_dir.path())?;
    if let Some(finding) = &boot.rolled_back {
        tracing::error!(name: "ledger.rolled_back", error = %finding, "the ledger knows less than audit-heads.jsonl: it was cut short or put back");
    }
    let key = KeyFile::open(&state_dir)?;
    let network =
        plexus_home::network::Network::load(&state_dir, arguments.public_hostname.as_deref())?;
    let listeners = listen::bind(
        &state_dir,
        arguments.port,
        &network,
        handed.as_mut().map(|handed| &mut handed.sockets),
    )?;
    // What is not wanted any more is closed here.
    let came = handed.map(|handed| handed.came);
    let port = listeners.port();
    let issuer = install_id(&state_dir)?;
    let programs = Programs::find(arguments.workers.as_deref())?;
    let registry = registry.served_from(&programs.workers);
    let registry = match arguments.fake_apple {
        FakeApple::Added | FakeApple::Offered => registry.faking_apple(),
        FakeApple::Off => registry,
    };
    plexus_keep::make::tidy(state_dir.path());
    let swept = plexus_supervisor::sweep_leftovers(state_dir.path())?;
    for pid in swept {
        tracing::warn!(name: "worker.swept", pid, "ended a worker that an earlier daemon left behind");
    }
    // Only looked at where there were runs: most connectors are compiled when they are needed.
    let places = registry.manifests().flat_map(|manifest| {
        let children = manifest.children.iter();
        let copied = children.filter_map(|child| Some(child.sign_in.as_ref()?.to.clone()));
        copied.collect::<Vec<_>>()
    });
    match plexus_supervisor::sweep_sign_ins(state_dir.path(), places) {
        Ok(0) => {}
        Ok(count) => {
            tracing::warn!(name: "sign_in.swept", count, "removed copies of your sign-in that runs left behind");
        }
        Err(error) => {
            tracing::warn!(name: "sign_in.kept", %error, "a copy of your sign-in in the folder of a run cannot be removed");
        }
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
    let (upgrades, asked) = upgrade::upgrades(program);
    let address = Address::new(port, network);
    let now = clock.now();
    let answers = Answers::in_folder(state_dir.join("pending"));
    let kernel = Arc::new(Kernel {
        approvals: Approvals::open(&state_dir),
        questions: Default::default(),
        feed: Feed::new(boot.launch, owners_watching),
        catalogue: ArcSwap::default(),
        runs: Runs::new(answers.clone()),
        contents: Contents::default(),
        replays: Replays::new(answers.clone()),
        answers,
        revocations: Revocations::default(),
        under_way: UnderWay::default(),
        host_sessions: HostSessions::default(),
        limits: Limits::default(),
        lately: Lately::default(),
        seen_plans: Default::default(),
        wanted_scopes: Default::default(),
        latencies: Latencies::default(),
        metrics,
        unsandboxed: arguments.unsandboxed.iter().cloned().collect(),
        phase: watch::Sender::new(Phase::Serving),
        base: address.base(),
        turn: tokio::sync::Mutex::default(),
        clock,
        ledger,
        supervisor,
        registry,
        state_dir,
    });
    let edge = Arc::new(Edge {
        tokens: TokenKey::fresh(issuer, now)?,
        address,
        console: Sessions::default(),
        discovery: KeptDiscovery::default(),
        throttle: Throttle::default(),
        instance: arguments.instance.clone(),
        key_epoch: AtomicU64::new(0),
        key_lock: KeyLock::default(),
        judging: Default::default(),
        mcp: McpAgents::default(),
        key,
        kernel: kernel.clone(),
    });
    let desk = Arc::new(Desk {
        started: Instant::now(),
        started_by: service::started_by(),
        tally: CallTally::default(),
        sets: Default::default(),
        sign_ins: Default::default(),
        checked: Mutex::new(Checked {
            at: now,
            by: "start",
            // What does not hold refuses the start; only a log that was cut short does not.
            holds: boot.rolled_back.is_none(),
        }),
        launch: boot.launch,
        came,
        upgrades,
        copy: Box::new(copy_ledger),
        proposals: Default::default(),
        comparisons: Default::default(),
        visits: Default::default(),
        past: Default::default(),
        edge: edge.clone(),
    });
    kernel.owner(Command::Launch).await.map_err(refused_start)?;
    on_record::note_boot(&kernel, &boot).await;
    kernel
        .ledger
        .keep(keep_events(&kernel.ledger.snapshot().settings));
    on_record::say_how_it_came(&desk).await;
    flags::first_settings(&kernel, arguments.default_reach).await?;
    flags::flag_sources(&kernel, &arguments).await?;
    if arguments.fake_apple == FakeApple::Added {
        flags::fake_sources(&kernel).await?;
    }
    on_record::say_what_is_unsandboxed(&kernel).await?;
    kernel.look_at_sources().await;
    kernel
        .settle_what_was_left(boot.clean)
        .await
        .map_err(refused_start)?;
    plexus_calls::used::go_on(&kernel);

    let tasks = [
        lasting("the feed of events", {
            let kernel = kernel.clone();
            move || plexus_calls::follow::follow(kernel.clone())
        }),
        worker_events::hear_workers(kernel.clone(), from_workers),
        lasting("the sweep", {
            let edge = edge.clone();
            move || sweep::sweep(edge.clone())
        }),
    ];
    let pause = PauseSignal::heed(kernel.clone(), pause_signal);
    planner::resume(&kernel);
    approved_run::resume(&kernel);
    let after = match (boot.clean, boot.walked) {
        (true, _) => "a clean stop",
        (false, false) => "a kill at rest",
        (false, true) => "a kill at work",
    };
    tracing::info!(name: "daemon.started",
        durationMs = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        detail = format!("{} rows, {} events checked, after {after}", boot.checked.rows, boot.checked.events),
        "started"
    );
    let stop = match early_stop {
        Some(stop) => stop,
        None => StopSignal::listen()?,
    };
    let listening = listeners.serve(edge.clone(), plexus_desk::routes(&desk))?;
    // From here on nothing ends this launch but what is asked of it.
    tracing::info!(name: "daemon.serving", port, path = %kernel.state_dir.path().display(), cage = mechanism, "serving");
    listen::announce(&edge);
    tracing::info!(name: "daemon.console", "the console is at http://localhost:{port}/admin; `plexusctl console` signs a browser in"
    );
    service::tell(&[sd_notify::NotifyState::Ready]);
    crate::os::let_go_of_start();
    let serving = ending::Serving {
        app: desk,
        listening,
        tasks,
        pause,
        stop,
        upgrades: asked,
    };
    serving.until_the_end().await
}

/// For `plexusctl backup`: nobody else may open the file while the daemon runs.
fn copy_ledger(kernel: &Kernel) -> Result<std::path::PathBuf, CopyError> {
    plexus_keep::make::Copy::running(kernel.state_dir.path(), &kernel.ledger)
        .map(plexus_keep::make::Copy::keep)
        .map_err(|error| match error.is_disk_full() {
            true => CopyError::DiskFull,
            false => CopyError::Failed(error.to_string()),
        })
}

/// Why a launch ends before it serves, where it could not be put on record.
pub(crate) fn refused_start(error: SubmitError<Refusal>) -> anyhow::Error {
    anyhow::anyhow!("the ledger cannot record the start: {error}")
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
