//! The surface of an extension, as lines of text: the sections that the gateway makes, which the console shows too.
//!
//! Must not know: what a section is about.

use crate::sheet;
use plexus_owner::{extensions::DeclaredPreview, pending::Surface};

/// All that the owner is to know before an approval.
pub(super) fn previewed(seen: &DeclaredPreview) -> String {
    let (moved, kept) = (&seen.moved_secrets, seen.if_kept.as_deref());
    let answer = plexus_sheet::to_approve(&seen.if_approved, moved, kept);
    format!(
        "{}\n\n{}",
        surface_lines(&seen.surface, seen.changes.as_deref()),
        sheet::answer(&answer).trim_end()
    )
}

/// A surface, and what differs from what the owner agreed to before.
pub(super) fn surface_lines(surface: &Surface, changes: Option<&[String]>) -> String {
    let lines = sheet::blocks(&plexus_sheet::surface(surface, changes));
    lines.trim_end().to_owned()
}
