//! A grant that stands, and its limits, as several commands print them.

use crate::{owner::Owner, pause::heard};
use plexus_client::{out, span, text};
use plexus_owner::sources;
use plexus_protocol::{
    CapabilityId, Constraint, SourceId, Timestamp, Verb, body::StandingGrant,
    constraint::calls_in_words,
};
use std::path::Path;
use unicode_normalization::UnicodeNormalization as _;

/// A grant as cells: agent, capability, verbs, end, terms.
pub(crate) fn row(grant: &StandingGrant, now: Timestamp) -> [String; 5] {
    let verbs: Vec<_> = grant.verbs.iter().map(Verb::as_str).collect();
    let mut terms = Vec::new();
    terms.extend(grant.constraint.as_ref().map(Constraint::in_words));
    if let Some(left) = grant.calls_left {
        terms.push(format!("{} left", calls_in_words(left)));
    }
    if let Some(why) = &grant.suspended {
        terms.push(format!("suspended: {why}"));
    }
    if grant.top_level_disabled {
        terms.push("hidden now".to_owned());
    }
    [
        grant.agent_id.to_string(),
        grant.capability_id.to_string(),
        verbs.join(","),
        span::end(grant.expires_at, now),
        terms.join("; "),
    ]
}

/// Warns of the paths of a limit at which a folder of the capabilities' sources has nothing now.
pub(crate) async fn warn_of_missing(
    owner: &mut Owner,
    capabilities: &[CapabilityId],
    limits: Option<&Constraint>,
) {
    let limit = limits.and_then(|limits| limits.path_prefix.as_ref());
    let Some(limit) = limit.filter(|limit| limit.field == "path") else {
        return;
    };
    let Some(listed) = heard(owner.call(&sources::List {})).await else {
        return;
    };
    let is_meant = |id: &SourceId| capabilities.iter().any(|one| one.parts().0 == id.as_str());
    let rows = listed.sources.iter().filter(|row| is_meant(&row.source.id));
    for row in rows {
        let folders = row.source.texts().map(Path::new);
        let folders: Vec<_> = folders
            .filter(|it| it.is_absolute() && it.is_dir())
            .collect();
        // What cannot be looked at is not known to be missing.
        let is_absent = |at: &Path| matches!(at.try_exists(), Ok(false));
        // A source without a folder names no files.
        let is_missing = |path: &&String| {
            !folders.is_empty() && folders.iter().all(|folder| is_absent(&folder.join(path)))
        };
        for path in limit.allow.iter().filter(is_missing) {
            let forms = [path.nfc().collect::<String>(), path.nfd().collect()];
            let but = match forms.iter().all(|form| is_missing(&form)) {
                true => "",
                false => {
                    ", but at that name with its letters composed otherwise: copy it from a listing"
                }
            };
            let path = text::line(path);
            out::say(&format!(
                "warning: {} has nothing at {path} now{but}",
                row.source.id
            ));
        }
    }
}
