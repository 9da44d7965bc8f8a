//! What a handler knows about the call it serves.

use super::SourceError;
use crate::frame::{FrameSender, WeakFrameSender};
use crate::message::{FromWorker, Progress, Role};
use crate::text::Line;
use plexus_protocol::{AuditId, Constraint};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// One call, as its handler sees it. Clones are the same call.
#[derive(Clone, Debug)]
pub struct CallContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    audit: Option<AuditId>,
    role: Role,
    constraint: Option<Constraint>,
    deadline: Instant,
    over: Arc<Over>,
    /// Weak: a blocking thread that outlives its call must not keep the writer waiting.
    out: Option<WeakFrameSender<FromWorker>>,
}

/// Says that nobody waits for a call any more.
#[derive(Debug, Default)]
pub(super) struct Over {
    flag: AtomicBool,
    notify: Notify,
}

impl Over {
    pub(super) fn set(&self) {
        self.flag.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
    fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }
    pub(super) async fn wait(&self) {
        let notified = self.notify.notified();
        if !self.is_set() {
            notified.await;
        }
    }
}

impl CallContext {
    pub(super) fn new(
        call: &crate::message::Call,
        role: Role,
        deadline: Instant,
        over: Arc<Over>,
        out: &FrameSender<FromWorker>,
    ) -> Self {
        Self(Arc::new(Inner {
            id: call.id,
            audit: call.audit.clone(),
            role,
            constraint: call.constraint.clone(),
            deadline,
            over,
            out: Some(out.downgrade()),
        }))
    }

    /// A call that no gateway made: for a connector's own tests of its handlers.
    #[must_use]
    pub fn detached(role: Role, constraint: Option<Constraint>, time: Duration) -> Self {
        Self(Arc::new(Inner {
            id: 0,
            audit: None,
            role,
            constraint,
            deadline: Instant::now() + time,
            over: Arc::default(),
            out: None,
        }))
    }

    /// The role that this worker has.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The intent's event of a commit: what a source files its record of the effect under, for `Source::settle`.
    #[must_use]
    pub fn audit(&self) -> Option<&AuditId> {
        self.0.audit.as_ref()
    }

    /// The narrowing of the permit.
    #[must_use]
    pub fn constraint(&self) -> Option<&Constraint> {
        self.0.constraint.as_ref()
    }

    /// Whether the constraint lets `resolved`, the value that the input's `field` came to, pass. Where the input lacks
    /// the field (a search), a handler leaves out what this says no to.
    #[must_use]
    pub fn allows(&self, field: &str, resolved: &str) -> bool {
        self.0
            .constraint
            .as_ref()
            .is_none_or(|constraint| constraint.lets_pass(field, &json!(resolved)))
    }

    /// As [`CallContext::allows`]; to be asked before a thing is opened.
    ///
    /// # Errors
    /// `constraint_miss`.
    pub fn require(&self, field: &str, resolved: &str) -> Result<(), SourceError> {
        if self.allows(field, resolved) {
            Ok(())
        } else {
            Err(SourceError::constraint_miss(field))
        }
    }

    /// The time that is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether nobody waits for a read or a plan any more: cancelled, or past its deadline. A loop on a blocking thread
    /// asks this, because dropping its handler does not stop it. An effect that has begun is never over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.over.is_set()
    }

    /// Tells whoever waits how far the call is. May be lost when much is under way.
    pub fn progress(&self, line: impl AsRef<str>, at: Option<(u64, u64)>) {
        if let Some(out) = &self.0.out {
            out.offer(&FromWorker::Progress(Progress {
                id: self.0.id,
                line: Line::new(line),
                at,
            }));
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.0.deadline
    }
    pub(super) async fn over(&self) {
        self.0.over.wait().await;
    }
    pub(super) fn end(&self) {
        self.0.over.set();
    }
}
