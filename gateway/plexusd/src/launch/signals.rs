//! Signals from outside: stop, and pause all agents.

use plexus_calls::kernel::Kernel;
use plexus_home::tasks::unless_panicked;
use plexus_trust::Command;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
};

/// What asks the daemon to stop.
pub(crate) struct StopSignal {
    signals: [Signal; 2],
    /// None where the daemon was started to outlive its terminal.
    hangup: Option<Signal>,
    heard: bool,
}

impl StopSignal {
    /// From here on nothing of the kind ends the process by itself.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let hears_hangups = !crate::os::is_ignored(nix::sys::signal::Signal::SIGHUP);
        let hangup = hears_hangups.then(|| signal(SignalKind::hangup()));
        Ok(Self {
            signals: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ],
            hangup: hangup.transpose()?,
            heard: false,
        })
    }

    /// Returns when it was asked for, at once where that is already so.
    pub(crate) async fn asked(&mut self) {
        let [term, interrupt] = &mut self.signals;
        if !self.heard {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
                () = hung_up(&mut self.hangup) => {}
            }
            self.heard = true;
        }
    }

    /// Whether it was asked for, without waiting. What was delivered before this call is seen.
    pub(crate) async fn was_asked(&mut self) -> bool {
        // Their handlers only leave a note; the runtime reads those when it is given a turn.
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::ZERO, self.asked())
            .await
            .is_ok()
    }
}

/// Returns when the terminal has gone, where that is heard.
async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// What asks the daemon to pause all agents, while that is heeded.
pub(crate) struct PauseSignal {
    over: oneshot::Sender<()>,
    heeding: JoinHandle<Signal>,
}

impl PauseSignal {
    /// Heeds it beside all else.
    pub(crate) fn heed(app: Arc<Kernel>, asked: Signal) -> Self {
        let (over, told) = oneshot::channel();
        let heeding = tokio::spawn(pause_on_signal(app, asked, told));
        Self { over, heeding }
    }

    /// Heeds it no longer: what was begun is ended, what comes later is in what is given back.
    pub(crate) async fn end(self) -> Option<Signal> {
        let _ = self.over.send(());
        self.heeding.await.ok()
    }
}

/// Whether `signal` has come, without waiting for it. What was delivered before this call is seen.
pub(crate) async fn has_come(signal: &mut Signal) -> bool {
    // Its handler only leaves a note; the runtime reads those when it is given a turn.
    tokio::task::yield_now().await;
    tokio::time::timeout(Duration::ZERO, signal.recv())
        .await
        .is_ok()
}

/// SIGUSR1 pauses all agents, for an owner without `plexusctl` at hand. Nothing but the owner's command ends a pause.
async fn pause_on_signal(
    app: Arc<Kernel>,
    mut asked: Signal,
    mut over: oneshot::Receiver<()>,
) -> Signal {
    loop {
        tokio::select! {
            heard = asked.recv() => if heard.is_none() {
                return asked;
            },
            _ = &mut over => return asked,
        }
        if unless_panicked(pause(&app)).await.is_none() {
            tracing::error!(name: "daemon.task_failed", detail = "the pause of SIGUSR1", "a task of the daemon panicked");
        }
    }
}

async fn pause(app: &Kernel) {
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
