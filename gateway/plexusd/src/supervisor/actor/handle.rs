//! The way to an actor, and what can be seen of it without asking.
//!
//! Must not know: how an actor decides.

use super::super::{
    Context, Spec,
    notice::{SourceHealth, WorkerState, WorkerStatus},
    process::Process,
};
use super::{Actor, Command, now};
use plexus_ipc::message::{CageReport, Role};
use plexus_protocol::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// What others may look at, without asking the actor.
#[derive(Debug)]
pub(in crate::supervisor) struct View {
    pub(in crate::supervisor) state: WorkerState,
    pub(in crate::supervisor) since: Timestamp,
    pub(in crate::supervisor) pid: Option<u32>,
    pub(in crate::supervisor) restarts: u32,
    pub(in crate::supervisor) cage: Option<Arc<CageReport>>,
    pub(in crate::supervisor) health: SourceHealth,
}

/// The way to one actor.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Handle {
    pub(in crate::supervisor) commands: mpsc::UnboundedSender<Command>,
    pub(in crate::supervisor) view: Arc<Mutex<View>>,
}

impl Handle {
    /// Starts the actor on the current runtime. It starts no worker while one of the actors `before` may have one.
    pub(in crate::supervisor) fn spawn<P: Process>(
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

    pub(in crate::supervisor) fn status(&self, spec: &Spec, role: Role) -> WorkerStatus {
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

    pub(in crate::supervisor) fn health(&self) -> SourceHealth {
        self.view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .health
            .clone()
    }
}
