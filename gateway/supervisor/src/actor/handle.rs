//! The way to an actor, and what can be seen of it without asking.
//!
//! Must not know: how an actor decides.

use super::{
    super::{
        Context, Spec,
        call::Command,
        notice::{SourceHealth, WorkerState, WorkerStatus, now},
        process::Process,
    },
    Actor,
};
use plexus_ipc::message::{CageReport, Role};
use plexus_protocol::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// What others may look at, without asking the actor.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) state: WorkerState,
    pub(crate) since: Timestamp,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) cage: Option<Arc<CageReport>>,
    pub(crate) health: SourceHealth,
}

/// The way to one actor.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) view: Arc<Mutex<View>>,
}

impl Handle {
    /// Starts the actor on the current runtime. It starts no worker while one of the actors `before` may have one.
    pub(crate) fn spawn<P: Process>(
        context: Arc<Context<P>>,
        spec: Arc<Spec>,
        role: Role,
        before: Vec<Self>,
    ) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let view = Arc::new(Mutex::new(View {
            state: WorkerState::Stopped,
            since: now(),
            pid: None,
            restarts: 0,
            cage: None,
            health: SourceHealth::unknown(),
        }));
        let actor = Actor::new(context, spec, role, before, Arc::clone(&view));
        tokio::spawn(actor.run(inbox));
        Self { commands, view }
    }

    pub(crate) fn status(&self, spec: &Spec, role: Role) -> WorkerStatus {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        WorkerStatus {
            source: spec.source.clone(),
            role,
            pid: view.pid,
            state: view.state,
            since: view.since,
            restarts: view.restarts,
            cage: view.cage.clone(),
        }
    }

    pub(crate) fn health(&self) -> SourceHealth {
        self.view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .health
            .clone()
    }
}
