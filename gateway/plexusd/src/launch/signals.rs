//! Signals from outside: stop, and pause all agents.

use crate::app::App;
use plexus_trust::Command;
use serde_json::json;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks the daemon to stop.
pub(crate) struct StopSignal {
    signals: [Signal; 3],
    heard: bool,
}

impl StopSignal {
    /// From here on nothing of the kind ends the process by itself.
    pub(crate) fn listen() -> anyhow::Result<Self> {
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
    pub(crate) async fn asked(&mut self) {
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
/// SIGUSR1 pauses all agents, for whoever has no `plexusctl` at hand. Nothing but the owner's command ends a pause.
pub(crate) async fn pause_on_signal(app: Arc<App>, mut asked: Signal) {
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
