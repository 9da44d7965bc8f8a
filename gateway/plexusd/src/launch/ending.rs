//! How a launch ends: asked to stop, or to give way to another program. Calls that were accepted get their outcome, then
//! the ledger is closed.
//!
//! ```text
//! serving ─ asked to stop ──────────────────────────▶ stopping ─▶ ledger closed
//!     └──── asked to give way ─▶ winding down (calls end) ──┘          └─▶ another program, where it is still wanted
//! ```

use super::{
    service,
    signals::{self, PauseSignal, StopSignal},
};
use crate::upgrade::{self, AcceptedUpgrade, Handed};
use anyhow::bail;
use nix::sys::signal::Signal;
use plexus_calls::kernel::Phase;
use plexus_desk::desk::Desk;
use plexus_edge::{self, listen};
use plexus_home::tasks::blocking;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};

/// How long the records of the last effects get at a stop.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// How a launch ended. One that yielded to another program did not return.
pub(super) enum LaunchEnd {
    Stopped,
    /// It was to yield and could not: the next launch is this program's own.
    GoOn(Handed),
}

/// A daemon that serves.
pub(super) struct Serving {
    pub(super) app: Arc<Desk>,
    pub(super) listening: listen::Serving,
    /// What runs beside requests.
    pub(super) tasks: [JoinHandle<()>; 3],
    pub(super) pause: PauseSignal,
    pub(super) stop: StopSignal,
    pub(super) upgrades: mpsc::Receiver<AcceptedUpgrade>,
}

impl Serving {
    /// Serves until it is asked to end, and ends.
    pub(super) async fn until_the_end(self) -> anyhow::Result<LaunchEnd> {
        let Self {
            app,
            mut listening,
            tasks,
            pause,
            mut stop,
            mut upgrades,
        } = self;
        let upgrade = tokio::select! {
            () = stop.asked() => None,
            Some(asked) = upgrades.recv() => Some(asked),
        };

        if let Some(asked) = &upgrade {
            let to = &asked.candidate.to;
            tracing::info!(name: "daemon.upgrading", detail = format!("{} {}", to.version, to.build), "changing over");
            service::tell(&service::reloading());
            app.enter(Phase::WindingDown);
            app.feed.close();
            let calls = async {
                listening.wind_down().await;
                app.runs.over().await;
                app.under_way.no_effects().await;
            };
            tokio::select! {
                done = tokio::time::timeout(upgrade::RUNNING, calls) => if done.is_err() {
                    tracing::warn!(name: "daemon.calls_cut", "calls still run; they are ended as at a stop");
                },
                () = stop.asked() => {}
            }
        } else {
            let calls = app.under_way.all();
            let count = calls.iter().filter(|call| !call.is_read).count();
            match count {
                0 => tracing::info!(name: "daemon.stopping", "stopping"),
                _ => {
                    tracing::info!(name: "daemon.stopping", count, "stopping; effects that are under way get 5 s, and are ended then; runs are cancelled after 1 s, and keep what they did");
                }
            }
            service::tell(&[sd_notify::NotifyState::Stopping]);
        }
        app.enter(Phase::Stopping);
        app.feed.close();
        // New calls are refused now; running ones get their outcome (docs/design.md#workers).
        app.supervisor.shutdown().await;
        // What was sent to a worker gets its record, also where the caller has gone.
        if tokio::time::timeout(LAST_RECORDS, app.under_way.no_effects())
            .await
            .is_err()
        {
            tracing::error!(name: "daemon.effects_left", "effects were still under way at the stop; the next start asks their workers"
            );
        }
        plexus_calls::denial::note_unrecorded(&app, true).await;
        plexus_edge::authenticate::note_unrecorded(&app).await;
        // A stop that was asked for meanwhile is a stop.
        let upgrade = if stop.was_asked().await {
            None
        } else {
            upgrade
        };
        listening.end().await;
        // Only another program has a use for the sockets.
        let next = upgrade.map(|asked| (asked, listening));
        for task in tasks {
            task.abort();
        }
        let mut pause = pause.end().await;
        let runtime = app.state_dir.join("runtime.json");
        if next.is_none() {
            let _ = std::fs::remove_file(&runtime);
        }
        app.save_held().await;
        if app.revocations.holds_the_owners() {
            tracing::error!(name: "revoke.held", "what you took back is lost with this stop, as it could not be saved: take it back again");
        }
        super::sweep::leave_mark(&app);
        plexus_calls::used::note(&app);
        let ledger = app.ledger.clone();
        let clean = blocking(move || ledger.close()).await.unwrap_or(false);
        let next = match next {
            Some(_) if stop_came(&mut stop).await => {
                let _ = std::fs::remove_file(&runtime);
                None
            }
            next => next,
        };
        let unclean = "the ledger did not close cleanly; the next start checks it";
        let Some((asked, listening)) = next else {
            if !clean {
                bail!(unclean);
            }
            return Ok(LaunchEnd::Stopped);
        };
        // Nothing could be recorded any more: the next launch, whosever it is, begins with it.
        if let Some(pause) = &mut pause
            && signals::has_come(pause).await
        {
            upgrade::handover::hand_on(Signal::SIGUSR1);
        }
        let (candidate, sockets) = (asked.candidate, listening.into_sockets());
        Ok(LaunchEnd::GoOn(if clean {
            candidate.exec(sockets)
        } else {
            // What is to be checked is checked by the program that wrote it.
            candidate.give_up(sockets, unclean.to_owned())
        }))
    }
}

/// Whether a stop has come until now, in the last moment that it can be heeded: what comes later is held back for the next
/// program.
async fn stop_came(stop: &mut StopSignal) -> bool {
    upgrade::handover::hold_signals();
    stop.was_asked().await
}
