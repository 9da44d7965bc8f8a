//! For how long something may stand: ceilings that nobody can lift, and the defaults below them.

use crate::{Facts, Settings};
use plexus_protocol::{Provenance, Sensitivity, TrustWindow, Verb, capability::WindowKind};

/// The longest that a grant of a capability may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// One call at a time, for every caller (docs/design.md#ceilings).
    Once,
    /// Any window that the owner chooses.
    Owner,
}

/// The ceiling of a capability: `high`, everything `execute`, and an extension's effects are approved call by call.
#[must_use]
pub fn ceiling(facts: &Facts, provenance: Provenance) -> Ceiling {
    let effect = !facts.verbs.is_read();
    if facts.sensitivity == Sensitivity::High
        || facts.verbs.contains(Verb::Execute)
        || (provenance == Provenance::Extension && effect)
    {
        Ceiling::Once
    } else {
        Ceiling::Owner
    }
}

/// The window of an approval that names none (docs/protocol/agents.md#trust-windows).
#[must_use]
pub fn class_default(settings: &Settings, facts: &Facts, provenance: Provenance) -> TrustWindow {
    // A skill has no verbs: reading it is all that can be done with it.
    let reads = facts.verbs.is_read() || facts.verbs.is_empty();
    match (ceiling(facts, provenance), reads, provenance) {
        (Ceiling::Once, ..) => TrustWindow::Once,
        (Ceiling::Owner, true, Provenance::FirstParty) => settings.read_window,
        (Ceiling::Owner, false, Provenance::FirstParty) => settings.write_window,
        (Ceiling::Owner, true, Provenance::Managed) => settings.managed_read_window,
        (Ceiling::Owner, false, Provenance::Managed) => settings.managed_write_window,
        (Ceiling::Owner, true, Provenance::Extension) => settings.extension_read_window,
        // Its ceiling answers above; were that ever lifted, an extension's effect would still ask each time.
        (Ceiling::Owner, false, Provenance::Extension) => TrustWindow::Once,
    }
}

/// What becomes of a window that somebody chose: cut to the ceiling and to the owner's settings.
#[must_use]
pub fn grantable(
    settings: &Settings,
    facts: &Facts,
    provenance: Provenance,
    chosen: TrustWindow,
) -> TrustWindow {
    match (ceiling(facts, provenance), chosen) {
        (Ceiling::Once, _) | (_, TrustWindow::Once) => TrustWindow::Once,
        (_, TrustWindow::UntilRevoked) if !settings.allow_until_revoked => {
            bounded(settings, class_default(settings, facts, provenance))
        }
        (_, window) => bounded(settings, window),
    }
}

/// A window that has an end, of whatever kind, ends at the owner's longest.
fn bounded(settings: &Settings, window: TrustWindow) -> TrustWindow {
    match window {
        TrustWindow::For { ms, .. } if ms > settings.max_trust_window_ms => TrustWindow::For {
            kind: WindowKind::Custom,
            ms: settings.max_trust_window_ms,
        },
        window => window,
    }
}
