//! The card of a source whose grants rest, because it can do more than when they were given or because they came out of
//! a backup; that is stopped, because it runs something else than the owner agreed to; or whose server defines tools otherwise than the owner agreed to: why, what differs, whose the grants are, and
//! what an approval or a denial does. One for each such source, decided as a whole (docs/design.md#re-gating).
//!
//! Invariant: its id and its digest change with what the source can do, so that an answer is to what was seen.
//! Must not know: what is wider; the machine has decided that.

use plexus_protocol::{
    Digest, PendingId, Provenance, Sensitivity, Timestamp, TrustWindow, body::Narration,
};
use plexus_sources::{catalogue::Catalogue, profile};
use plexus_trust::{
    Difference, Source, State,
    pins::{CHANGEABLE, is_pin},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The cards of all sources on which grants rest.
pub fn cards(state: &State, catalogue: &Catalogue, now: Timestamp) -> Vec<Map<String, Value>> {
    let sources = state.sources.values();
    sources
        .filter_map(|source| card(state, catalogue, source, now))
        .collect()
}

/// The source whose card has this id, as it is now.
pub fn source_of<'s>(
    state: &'s State,
    catalogue: &Catalogue,
    card: &PendingId,
    now: Timestamp,
) -> Option<&'s Source> {
    let mut sources = state.sources.values();
    sources
        .find(|source| id(source).as_ref() == Some(card) && waits(state, catalogue, source, now))
        .map(|source| &**source)
}

/// Whether the owner is to decide on a source: whether it has a card.
pub fn waits(state: &State, catalogue: &Catalogue, source: &Source, now: Timestamp) -> bool {
    catalogue.proposal(&source.id).is_some() || state.asks_about(source, now)
}

/// A card's id: made of the source and its revision, so that it stays over a restart and goes with the next change.
pub fn id(source: &Source) -> Option<PendingId> {
    let named = Digest::of(format!("change {} {}", source.id, source.revision).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(named.0.get(..16)?);
    let uuid = uuid::Uuid::from_bytes(bytes);
    PendingId::parse(&format!("pend_{}", uuid.hyphenated())).ok()
}

/// The card of one source; `None` where no grant on it rests, nothing is held back and its code is agreed to.
pub fn card(
    state: &State,
    catalogue: &Catalogue,
    source: &Source,
    now: Timestamp,
) -> Option<Map<String, Value>> {
    let resting: Vec<_> = state.resting(source, now).collect();
    let agents: BTreeSet<_> = resting.iter().map(|grant| &grant.agent).collect();
    let capabilities: BTreeSet<_> = resting.iter().map(|grant| &grant.capability).collect();
    let since = source.changed.first().map(|difference| difference.at);
    let since = since.or_else(|| resting.iter().map(|grant| grant.granted_at).max());
    let proposal = catalogue.proposal(&source.id);
    if resting.is_empty() && proposal.is_none() && !source.asks() {
        return None;
    }
    let since = proposal.map(|proposal| proposal.at).or(since)?;
    let (them, are) = match resting.len() {
        1 => ("its grant".to_owned(), "is"),
        n => (format!("its {n} grants"), "are"),
    };
    let narration = capabilities.iter().map(|capability| {
        let entry = catalogue.get(capability);
        let label = entry.map_or(capability.as_str(), |e| e.capability().label.as_str());
        let facts = source.capabilities.get(*capability);
        Narration {
            id: (*capability).clone(),
            verbs: facts.map(|f| f.verbs).unwrap_or_default(),
            provenance: entry.map_or(Provenance::Extension, |e| e.provenance),
            sensitivity: facts.map_or(Sensitivity::High, |f| f.sensitivity),
            default_trust_window: TrustWindow::Once,
            summary: format!("Approving resumes the grants of {label}, with what it can do now."),
            notification_line: plexus_protocol::words::cut(
                &format!("Grants of {label} are suspended until you decide"),
                120,
            ),
        }
    });
    // What is not offered now waits for nobody: it could come back as something else.
    let offered = |difference: &&Difference| {
        let about = difference.capability.as_ref();
        about.is_none_or(|id| source.capabilities.contains_key(id))
    };
    let mut changes: Vec<Value> = source.changed.iter().filter(offered).map(told).collect();
    let mut why: BTreeSet<_> = resting
        .iter()
        .filter_map(|g| g.suspended.as_deref())
        .collect();
    let mut go_on = format!(
        "{them} on {} {are} resumed; nothing new is granted",
        source.id
    );
    let mut end = format!("{them} on {} {are} revoked", source.id);
    if source.asks() {
        why.insert("what it runs is not what you agreed to: it is stopped until you decide");
        if source
            .changed
            .iter()
            .flat_map(|c| &c.rules)
            .any(|rule| rule.starts_with(CHANGEABLE))
        {
            why.insert("agents can change this code: it lies where they may write; each change stops it again");
        }
        let runs = format!("{} runs what is shown here", source.id);
        let stays = format!("{} stays stopped", source.id);
        (go_on, end) = match resting.is_empty() {
            true => (format!("{runs}; nothing is granted by that"), stays),
            false => (
                format!("{runs}, and {go_on}"),
                format!("{stays}, and {end}"),
            ),
        };
    }
    if let Some(proposal) = proposal {
        why.insert(
            "its server defines tools otherwise than you agreed to; they are hidden from agents",
        );
        let tools = match proposal.changes.len() {
            1 => "what changed is lent".to_owned(),
            n => format!("the {n} changes are lent"),
        };
        let blocked = "what changed stays blocked until it changes again";
        (go_on, end) = match resting.is_empty() && !source.asks() {
            true => (
                format!(
                    "{tools} as shown, and the grants of these tools are resumed; nothing new is granted"
                ),
                blocked.to_owned(),
            ),
            false => (
                format!("{tools} as shown, and {go_on}"),
                format!("{blocked}, and {end}"),
            ),
        };
        let held = proposal.changes.iter();
        changes.extend(held.map(
            |change| json!({"about": change.about, "words": change.words, "at": proposal.at}),
        ));
    }
    // The whole of what an approval puts in force.
    let definitions = proposal.map(|proposal| Digest::of(proposal.manifest.as_bytes()));
    let card = json!({
        "pendingId": id(source)?,
        "kind": "change",
        "state": "pending",
        "createdAt": since,
        "capabilities": capabilities,
        "reasons": why,
        "pendingNarration": narration.collect::<Vec<_>>(),
        "asks": [],
        "source": {"id": source.id, "label": source.config.label},
        "agents": agents,
        "changes": changes,
        // So that a view of cards that knows no such item still offers the one answer there is.
        "choices": [{"window": "once", "words": go_on, "default": true}],
        "narrow": [],
        "differs": null,
        "ifApproved": go_on,
        "ifDenied": end,
        "definitions": definitions,
    });
    let Value::Object(mut card) = card else {
        return None;
    };
    let digest = super::card::digest(&card);
    card.insert("cardDigest".into(), json!(digest));
    Some(card)
}

/// A difference in sentences: those that were found out of it, and the rules.
pub fn words(difference: &Difference) -> Vec<String> {
    let mut words = difference.words.clone();
    let rules = |rules: &[String], said: &str| -> Vec<String> {
        let word = |rule: &String| format!("{said} {}", profile::words(rule));
        // One file may be several programs of a source.
        let mut words: Vec<String> = rules.iter().map(word).collect();
        words.dedup();
        words
    };
    words.extend(rules(&difference.rules, "its worker may now"));
    words.extend(rules(&difference.rules_gone, "its worker may no longer"));
    words
}

/// One difference in words.
fn told(difference: &Difference) -> Value {
    let about = match &difference.capability {
        Some(capability) => capability.as_str(),
        None if difference.rules.iter().any(|rule| is_pin(rule)) => "what it runs",
        None if difference.rules.is_empty() && difference.rules_gone.is_empty() => "the source",
        None => "what its worker may reach",
    };
    json!({"about": about, "words": words(difference), "at": difference.at})
}
