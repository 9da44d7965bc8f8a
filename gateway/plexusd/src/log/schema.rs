//! What a line of the log may say: one list of events and one of fields, for all of the daemon and its ledger.
//!
//! Each call of `tracing` names its event (`name: "…"`) and takes its fields from here. The tables of
//! `docs/operations.md` are these; the story `logged` holds code, page and the lines of real daemons against them.

/// Members that begin every line, in this order; then come `message` and [`FIELDS`].
pub(super) const HEAD: [&str; 4] = ["time", "level", "event", "target"];

/// What else a line may have. The meanings are the page's.
pub(super) const FIELDS: &[&str] = &[
    "message",
    "agent",
    "attempted",
    "attempts",
    "auditId",
    "cage",
    "capability",
    "cause",
    "code",
    "count",
    "detail",
    "durationMs",
    "error",
    "exit",
    "frame",
    "line",
    "path",
    "pendingId",
    "pid",
    "port",
    "role",
    "runId",
    "sequence",
    "source",
    "uid",
];

/// The event of a line that a library wrote. Its fields are in `detail`.
pub(super) const LIBRARY: &str = "library";

/// The words of `event`.
pub(super) const EVENTS: &[&str] = &[
    "archive.astray",
    "archive.left_behind",
    "archive.list_unsaved",
    "archive.postponed",
    "archive.sealed",
    "archive.unlisted",
    "audit.note_failed",
    "audit.unreadable",
    "audit.unserialisable",
    "backup.copy_failed",
    "backup.left_behind",
    "cage.unavailable",
    "call.ended",
    "call.task_failed",
    "clock.unmarked",
    "console.page_failed",
    "credential.failed",
    "daemon.calls_cut",
    "daemon.console",
    "daemon.effects_left",
    "daemon.manager_untold",
    "daemon.paused",
    "daemon.serving",
    "daemon.signals_lost",
    "daemon.socket_refused",
    "daemon.started",
    "daemon.stopping",
    "daemon.sweep_failed",
    "daemon.unheard",
    "daemon.upgrade_failed",
    "daemon.upgrade_refused",
    "daemon.upgraded",
    "daemon.upgrading",
    "effect.left_by_crash",
    "effect.recorded_late",
    "effect.unrecorded",
    "egress.ended",
    "event.not_recorded",
    "home.leftover",
    "home.mode_repaired",
    "http.accept_failed",
    "http.connection_ended",
    "http.few_places",
    "http.foreign_peer",
    "http.panicked",
    "http.place_taken",
    "http.task_failed",
    "http.unserialisable",
    "key.unsaved",
    "ledger.broken",
    "ledger.closed",
    "ledger.commit_failed",
    "ledger.event_unwritable",
    "ledger.file_failed",
    "ledger.head_unsaved",
    "ledger.index_stuck",
    "ledger.machine_panicked",
    "ledger.migrated",
    "ledger.no_ballast",
    "ledger.no_checkpoint",
    "ledger.rewritten",
    "ledger.rolled_back",
    "ledger.stop_unclean",
    "ledger.unsure",
    "ledger.writer_panicked",
    "lending.left_behind",
    LIBRARY,
    "limits.unsaved",
    "pending.input_lost",
    "pending.plan_late",
    "pending.unsaved",
    "reply.unsaved",
    "restore.unfinished",
    "revoke.held",
    "secret.left_behind",
    "secret.unsaved",
    "source.silent",
    "source.uncaged",
    "source.unusable",
    "worker.beyond_constraint",
    "worker.canary_left",
    "worker.ended",
    "worker.lines_dropped",
    "worker.not_started",
    "worker.out_of_turn",
    "worker.probe_excused",
    "worker.said",
    "worker.started",
    "worker.swept",
    "worker.unlisted",
];

/// The event's word, if it is one of ours.
pub(super) fn event(name: &'static str) -> &'static str {
    match EVENTS.binary_search(&name) {
        Ok(_) => name,
        Err(_) => LIBRARY,
    }
}

/// Whether a line may have a field of that name.
pub(super) fn is_field(name: &str) -> bool {
    FIELDS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_in_order_and_none_is_twice() {
        assert!(EVENTS.is_sorted_by(|a, b| a < b));
        assert!(HEAD.iter().all(|name| !is_field(name)));
    }
}
