//! `plexus-peer`: Codex as a member of end-to-end encrypted channels, one process, one identity, one thread.
//!
//! ```text
//! relay ─▶ plexus-participant ─▶ codex, a process for each turn
//!   ▲                              │ MCP on loopback
//!   └──────────── tools ◀── server ┘
//! ```
//! It runs beside the gateway: Codex works as its own user's program, in its own sandbox, without a cage of Plexus and without
//! the tools of Plexus. `docs/channels/peer.md` is the manual.

mod codex;
mod leftovers;
mod server;
mod settings;

use clap::Parser as _;
use codex::Codex;
use plexus_channels::Account;
use plexus_channels::dial::{Direct, Endpoint};
use plexus_channels::identity::{Home, Identity, IdentityError, Registration};
use plexus_channels::wire::Me;
use plexus_participant::{Connection, Tools};
use server::Server;
use settings::{Flags, IdentityChoice};
use std::error::Error;
use std::fs::DirBuilder;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// `EX_USAGE`.
const USAGE: u8 = 64;
/// The folder of the agent's own files, in its identity's.
const WORK: &str = "work";

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(why) => {
            // If the stream is closed nobody listens, here and below.
            let _ = why.print();
            return if why.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let filter = std::env::var("PLEXUS_PEER_LOG").ok();
    let filter = filter.filter(|filter| !filter.is_empty());
    let filter = filter.and_then(|filter| tracing_subscriber::EnvFilter::try_new(filter).ok());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter.unwrap_or_else(|| "info".into()))
        .init();
    let environment = |name: &str| std::env::var_os(name);
    let failed = |why: &dyn std::fmt::Display, code| {
        let _ = writeln!(std::io::stderr(), "plexus-peer: {why}");
        code
    };
    let who = match flags.who(&environment) {
        Ok(who) => who,
        Err(why) => return failed(&why, ExitCode::from(USAGE)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended: Result<(), Box<dyn Error>> = runtime.map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(work(who, &environment));
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why, ExitCode::FAILURE),
    }
}

async fn work(
    who: IdentityChoice,
    environment: settings::Environment<'_>,
) -> Result<(), Box<dyn Error>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    settings::check_login(environment)?;
    let is_smoke = settings::exits_after_boot(environment);
    let identity = identity(who, &settings::folder(environment)?).await?;
    let folder = identity.folder().join(WORK);
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.map_err(|why| format!("{}: {why}", folder.display()))?;
    let account = Arc::new(Account::open(identity, Arc::new(Direct::default()))?);
    let (server, port) = Server::start(Tools::new(Arc::clone(&account))).await?;
    tracing::warn!(
        name: "peer.uncaged",
        folder = %folder.display(),
        "Codex runs as a program of this user, in its own sandbox only: without a cage of Plexus, without its approvals"
    );
    let mut signals = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!(name: "peer.stopping", "asked to stop");
    };
    let me = tokio::select! {
        me = profile(&account) => me?,
        () = signals() => return Ok(()),
    };
    let facts = &account.identity().facts;
    let ready = serde_json::json!({"agent_id": facts.agent_id, "pid": std::process::id()});
    let mut is_new = true;
    let connection = move |now| {
        if is_new && matches!(now, Connection::Bound) {
            is_new = false;
            let _ = writeln!(std::io::stdout(), "PLEXUS_PEER_READY {ready}");
            if is_smoke {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    // Nobody tells it of anything but its relay.
    let (_, notes) = mpsc::channel(1);
    leftovers::adopt().map_err(|why| format!("orphans of turns: {why}"))?;
    let codex = Codex::new(
        server,
        port,
        folder,
        plexus_participant::instructions(&me, &str::to_owned),
    );
    let (stop, asked) = tokio::sync::oneshot::channel();
    let asked = async { drop(asked.await) };
    tokio::select! {
        ended = plexus_participant::run(Arc::clone(&account), codex, notes, connection, asked) => Ok(ended?),
        // The first signal stops it with grace, a second one at once.
        () = async {
            signals().await;
            // It may have ended by itself meanwhile.
            let _ = stop.send(());
            signals().await;
        } => Ok(()),
    }
}

/// Opens the identity that was asked for, or registers it.
async fn identity(who: IdentityChoice, folder: &Path) -> Result<Identity, Box<dyn Error>> {
    let home = Home::at(folder)?;
    let opened = match who {
        IdentityChoice::Named(name) => home.open(&name),
        IdentityChoice::Only => {
            let known = home.identities()?;
            match known.as_slice() {
                [name] => home.open(name),
                [] => {
                    let next =
                        "run: AGENT_CHATHAM_REGISTER_KEY=… plexus-peer --server-url https://…";
                    return Err(format!("there is no identity here\n{next}").into());
                }
                several => {
                    let names = several.join(", ");
                    let next = "run: plexus-peer --agent-identity NAME";
                    return Err(format!("there are several identities: {names}\n{next}").into());
                }
            }
        }
        IdentityChoice::New {
            invitation,
            first_name,
            last_name,
            skills,
            server_url,
        } => {
            let configured = || settings::configured_address(folder);
            let Some(address) = server_url.map_or_else(configured, |url| Ok(Some(url)))? else {
                return Err("no relay is named\nrun: plexus-peer --server-url https://…".into());
            };
            let registration = Registration {
                endpoint: Endpoint::parse(&address)?,
                invitation,
                first_name,
                last_name,
                skills,
            };
            home.register(Arc::new(Direct::default()), &registration)
                .await
        }
    };
    opened.map_err(|why| match &why {
        IdentityError::InUse(_) => format!("{why}\nrun: stop it, or name another identity").into(),
        IdentityError::Missing { .. } => {
            format!("{why}\nrun: plexus-peer --agent-identity NAME").into()
        }
        _ => why.into(),
    })
}

/// Who this identity is at its relay; a relay that is away is waited for.
async fn profile(account: &Account) -> Result<Me, Box<dyn Error>> {
    let mut backoff = plexus_channels::backoff::Backoff::default();
    loop {
        match account.api().me().await {
            Ok(me) => return Ok(me),
            Err(why) if why.is_passing() => {
                tracing::warn!(name: "peer.relay.away", %why, "the relay is waited for");
                let random = plexus_channels::crypto::random::<1>()[0];
                tokio::time::sleep(backoff.next(random)).await;
            }
            Err(why) => return Err(why.into()),
        }
    }
}
