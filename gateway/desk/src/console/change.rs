//! A source that changed and no longer waits: its card says so under the same id, until the source changes again.

use super::sheet;
use crate::desk::Desk;
use plexus_calls::approvals::change;
use plexus_owner::pending::{self, NamedSource};
use plexus_protocol::{PendingId, Timestamp};
use plexus_sheet::{Sheet, Untrusted, changed_source};
use plexus_trust::State;

/// Its page; none where no source as it is now has this id. `by`: as for [`super::words::verdict`].
pub(super) fn decided(
    desk: &Desk,
    state: &State,
    id: &PendingId,
    by: &str,
    now: Timestamp,
) -> Option<String> {
    let mut sources = state.sources.values();
    let source = sources.find(|source| change::id(source).as_ref() == Some(id))?;
    let verdict = match desk.feed.decision_on(id).as_deref() {
        Some("approve") => format!("Approved{by}: it serves as its card showed."),
        Some("deny") if source.stopped.is_some() => format!("Denied{by}: it stays stopped."),
        Some("deny") => format!(
            "Denied{by}: grants that its card named are revoked, tools that changed stay blocked."
        ),
        _ => "No grant on this source is suspended any more: they were resumed, or revoked one by one."
            .to_owned(),
    };
    let named = NamedSource {
        id: source.id.clone(),
        label: source.config.label.clone(),
    };
    let sheet = Sheet {
        id: id.clone(),
        state: pending::State::Expired,
        digest: None,
        since: now,
        ends: None,
        subject: changed_source(&named, "waits for you no longer"),
        gist: Untrusted::default(),
        blocks: Vec::new(),
        answer: None,
    };
    sheet::page(&sheet, 0, (Some(verdict), false), now).ok()
}
