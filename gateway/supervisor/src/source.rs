//! A source and its actors.
//!
//! Must not know: processes.

use super::{
    actor::Handle,
    call::{Job, Question},
    notice::{Health, SourceHealth},
    setup::Spec,
};
use plexus_ipc::message::Role;
use plexus_protocol::Timestamp;
use std::sync::Arc;

#[derive(Debug)]
/// One source: what to run for it, and its actors.
pub(super) struct Source {
    pub(super) spec: Arc<Spec>,
    pub(super) reader: Option<Handle>,
    pub(super) writer: Option<Handle>,
    /// When the last check found that its writer may not write, and why.
    pub(super) unwritable: Option<(Timestamp, String)>,
}

impl Source {
    pub(super) fn actor(&mut self, role: Role) -> &mut Option<Handle> {
        match role {
            Role::Reader => &mut self.reader,
            Role::Writer => &mut self.writer,
        }
    }

    pub(super) fn actors(&self) -> impl Iterator<Item = (Role, &Handle)> {
        let reader = self.reader.iter().map(|handle| (Role::Reader, handle));
        reader.chain(self.writer.iter().map(|handle| (Role::Writer, handle)))
    }

    /// As its workers said last, and the last check of its folders, unless its writer was heard since.
    pub(super) fn health(&self) -> SourceHealth {
        let health = self.heard();
        let writer = self.writer.as_ref();
        let heard_at = writer.and_then(|writer| writer.health().checked_at);
        match &self.unwritable {
            Some((at, why)) if health.status == Health::Ok && heard_at <= Some(*at) => {
                health.without_writer(Some(why.clone()))
            }
            _ => health,
        }
    }

    /// As its workers said last.
    pub(super) fn heard(&self) -> SourceHealth {
        let health = self
            .reader
            .as_ref()
            .map_or_else(SourceHealth::unknown, Handle::health);
        let writer = self.writer.as_ref().map(Handle::health);
        if health.status == Health::Unknown {
            // Its reader was not asked for yet, and its writer may have served all the same.
            let heard =
                |writer: &SourceHealth| matches!(writer.status, Health::Ok | Health::Degraded);
            return writer.filter(heard).unwrap_or(health);
        }
        let writer = writer.filter(|_| health.status == Health::Ok);
        match writer {
            // What works in part may be something that the reader does not see.
            Some(writer) if writer.status == Health::Degraded => writer,
            Some(writer) if writer.status == Health::Unavailable => {
                health.without_writer(writer.detail)
            }
            _ => health,
        }
    }

    /// The largest output that the job's capability may have, in bytes.
    pub(super) fn largest_output(&self, job: &Job) -> usize {
        let name = match &job.question {
            Question::Read(call) | Question::Plan(call) => &call.capability,
            Question::Commit(commit) => &commit.call.capability,
            Question::Settle(_) => return 0,
        };
        let manifest = &self.spec.offer.manifest;
        let limits = manifest
            .capability(name)
            .map_or(manifest.limits, |entry| manifest.limits_of(entry));
        limits.frame_bytes as usize
    }
}
