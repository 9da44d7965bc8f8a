//! For how long the owner may say yes to a card, and what each answer would allow: the one place of these words.
//!
//! Invariants: every window of the wire is listed, in the order from least to most, so that two views of a card offer
//! the same; `once` is the default and the only one; a window that the machine would shorten, or that it cannot grant,
//! says why instead of promising. Nothing here depends on the time of day: the words lie under the card's digest.

use super::store::Approvals;
use plexus_ipc::text::counted;
use plexus_protocol::{Provenance, Sensitivity, TrustWindow, Verb, constraint::calls_in_words};
use plexus_sources::catalogue::{Catalogue, Entry};
use plexus_trust::{Ask, Bounded, Ceiling, Item, OnApproval, Plan, Settings, State, ceiling};
use serde_json::{Value, json};

/// Every window that a card names, from least to most.
const WINDOWS: [TrustWindow; 5] = [
    TrustWindow::Once,
    TrustWindow::HOUR,
    TrustWindow::DAY,
    TrustWindow::WEEK,
    TrustWindow::UntilRevoked,
];

/// `choices` of a card: for each window its words, whether it is the default, and why it cannot be chosen.
pub(super) fn choices(catalogue: &Catalogue, state: &State, item: &Item) -> Value {
    let of = |window: TrustWindow| {
        let about = |ask: &Ask| {
            let entry = catalogue.get(&ask.capability).map(|entry| &**entry);
            (
                words(state, item, ask, entry, window),
                refused(state, ask, entry, window),
            )
        };
        let (words, refused): (Vec<String>, Vec<Option<String>>) =
            item.asks.iter().map(about).unzip();
        let refused = refused.into_iter().flatten().next();
        let mut choice = json!({
            "window": window.kind(),
            "words": words.join("; and "),
            "default": window == TrustWindow::Once && refused.is_none(),
        });
        if window == TrustWindow::Once && item.asks.iter().any(|ask| ask.input.is_none()) {
            choice["anyInput"] = json!(true);
        }
        if let Some(why) = refused {
            choice["refused"] = json!(why);
        }
        choice
    };
    WINDOWS.into_iter().map(of).collect()
}

/// The fields of the input by which a yes can be narrowed: those that each of its capabilities has, what the worker
/// resolves before anything else. Of a call that waits, the texts that it has: a limit to another field excludes it.
pub(super) fn narrow(approvals: &Approvals, catalogue: &Catalogue, item: &Item) -> Value {
    let fields = |ask: &Ask| {
        let Some(entry) = catalogue.get(&ask.capability) else {
            return Vec::new();
        };
        if !entry.facts.resolved.is_empty() {
            return entry.facts.resolved.clone();
        }
        let input = approvals.input_value(&item.id, ask);
        let is_text = |input: &Value, field: &str| input.get(field).is_some_and(Value::is_string);
        let has = |field: &&String| input.as_ref().is_none_or(|input| is_text(input, field));
        entry.facts.fields.iter().filter(has).cloned().collect()
    };
    let mut asks = item.asks.iter().map(fields);
    let first = asks.next().unwrap_or_default();
    let rest: Vec<Vec<String>> = asks.collect();
    let in_all = |field: &String| rest.iter().all(|fields| fields.contains(field));
    first.into_iter().filter(in_all).map(Value::from).collect()
}

/// `windows` of one ask, the form that came before `choices`: those that can be chosen, and their words.
pub(super) fn offers(state: &State, item: &Item, ask: &Ask, entry: Option<&Entry>) -> Value {
    // A plan that is being made, or failed, stands beside these.
    let offered = |window: &TrustWindow| {
        entry.is_some()
            && state.exposed(&ask.capability)
            && beyond(&state.settings, ask, entry, *window).is_none()
    };
    let offer =
        |window| json!({"window": window, "allows": words(state, item, ask, entry, window)});
    WINDOWS.into_iter().filter(offered).map(offer).collect()
}

/// What a yes for `window` would allow.
fn words(
    state: &State,
    item: &Item,
    ask: &Ask,
    entry: Option<&Entry>,
    window: TrustWindow,
) -> String {
    let label = entry.map_or(ask.capability.as_str(), |e| e.capability().label.as_str());
    let within = ask
        .constraint
        .as_ref()
        .map_or_else(String::new, |constraint| {
            format!(", only where {}", constraint.in_words())
        });
    match (window, ask.input) {
        (TrustWindow::Once, Some(_)) => match ask.bounded.as_deref() {
            Some(bounded) if bounded.children.as_ref().is_some_and(|calls| calls.members) => {
                format!("this call, exactly as shown: {}", permits(bounded, true))
            }
            Some(bounded) if bounded.children.is_some() => format!(
                "this call, exactly as shown, and {}; you do not see their inputs first",
                permits(bounded, true)
            ),
            Some(Bounded { limits, .. }) if limits.turns > 1 => format!(
                "this call, exactly as shown, and {} of its conversation within {}, whose messages you do not see first",
                counted(limits.turns - 1, "further turn"),
                counted(limits.minutes, "minute")
            ),
            Some(_) | None => "this one call, exactly as shown".to_owned(),
        },
        (TrustWindow::Once, None) => {
            let what = if is_undo(entry) {
                "on any change of its own"
            } else {
                "with any input"
            };
            let calls = ask.bounded.as_deref().filter(|b| b.children.is_some());
            let calls = calls.map_or_else(String::new, |bounded| {
                format!("; with it {}", permits(bounded, false))
            });
            format!(
                "one call of “{label}”, {what}{within}: you do not see it before it is made{calls}"
            )
        }
        (_, input) => {
            let now = match (input, item.on_approval) {
                (Some(_), OnApproval::Run) => "this call now, and ",
                _ => "",
            };
            let effect = !ask.verbs.is_read();
            let undo = is_undo(entry);
            let what = if undo {
                "as far as it undoes its own changes"
            } else if effect {
                "whatever it changes"
            } else {
                "whatever it reads"
            };
            let held = if effect && !undo && entry.is_some_and(names_content) {
                "; it must have read what it replaces or edits, as it is at that moment"
            } else {
                ""
            };
            format!(
                "{now}every call of “{label}” {}, {what}{within}, without asking you{held}{}",
                window.phrase(),
                replaced(state, item, ask)
            )
        }
    }
}

/// That a grant for a time ends one that is limited otherwise: an agent has one grant of a capability. One that has lapsed
/// stays for a while, and the words may not depend on the time.
fn replaced(state: &State, item: &Item, ask: &Ask) -> String {
    let grants = state.agent(&item.agent).map(|agent| &agent.grants);
    let held = grants.and_then(|grants| grants.get(&ask.capability));
    let held = held.filter(|held| held.suspended.is_none() && held.calls_left() != Some(0));
    let limits = held.and_then(|held| held.constraint.as_ref());
    let other = limits.filter(|limits| ask.constraint.as_ref() != Some(*limits));
    other.map_or_else(String::new, |limits| {
        format!(
            "; it replaces any grant that is limited to {}",
            limits.in_words()
        )
    })
}

/// Why `window` cannot be chosen now.
fn refused(state: &State, ask: &Ask, entry: Option<&Entry>, window: TrustWindow) -> Option<String> {
    let why = match (&ask.plan, entry) {
        (_, None) => return Some(gone(state, ask)),
        _ if !state.exposed(&ask.capability) => {
            return Some(format!(
                "{0} is hidden from agents: plexusctl expose {0}",
                ask.capability
            ));
        }
        (Plan::Making, _) => "what it would do is still being computed",
        (Plan::Failed, _) => {
            "what it would do could not be computed: deny it, or have it planned again"
        }
        (Plan::None | Plan::Ready { .. }, Some(_)) => {
            return beyond(&state.settings, ask, entry, window);
        }
    };
    Some(why.to_owned())
}

/// Why the catalogue does not have what is asked for.
fn gone(state: &State, ask: &Ask) -> String {
    let source = state.sources.get(ask.capability.parts().0);
    let disabled = source.filter(|source| !source.config.enabled && !source.config.is_over());
    match disabled {
        Some(source) => format!("{0} is disabled: plexusctl sources enable {0}", source.id),
        None => "this capability is gone: deny it".to_owned(),
    }
}

/// Why `window` is more than this may ever be allowed for.
fn beyond(
    settings: &Settings,
    ask: &Ask,
    entry: Option<&Entry>,
    window: TrustWindow,
) -> Option<String> {
    if window == TrustWindow::Once {
        return None;
    }
    let why = match entry {
        None => "this capability is gone",
        Some(_) if amounts_to_execute(ask) => {
            "what this would write is run or obeyed by programs of yours, so each such call is approved by itself"
        }
        Some(e) if ceiling(&e.facts, e.provenance) == Ceiling::Once => once_only(e),
        Some(_) if ask.plan.is_once_only() => {
            "it undoes a change that this agent did not make, so each such call is approved by itself"
        }
        Some(_) if window == TrustWindow::UntilRevoked && !settings.allow_until_revoked => {
            "your settings have no window without an end (plexusctl config show)"
        }
        Some(_) if matches!(window, TrustWindow::For { ms, .. } if ms > settings.max_trust_window_ms) => {
            "your settings have no window of that length (plexusctl config show)"
        }
        Some(_) => return None,
    };
    Some(why.to_owned())
}

/// Whether a field names a thing with a content: a call of it is held against what its agent has read.
fn names_content(entry: &Entry) -> bool {
    let mut named = entry.capability().constrainable.iter();
    let kind = named.find_map(|field| field.touched.as_deref());
    kind.is_some_and(|kind| !matches!(kind, "list" | "calendar" | "project" | "area" | "board"))
}

fn is_undo(entry: Option<&Entry>) -> bool {
    entry.is_some_and(Entry::is_undo)
}

/// Why each call of this is approved by itself, for every caller (docs/design.md#ceilings).
fn once_only(entry: &Entry) -> &'static str {
    if entry.facts.verbs.contains(Verb::Execute) {
        "it runs code, so each call is approved by itself"
    } else if entry.facts.sensitivity == Sensitivity::High {
        "its source rates it high, so each call is approved by itself"
    } else if entry.provenance == Provenance::Extension {
        "an extension changes something with it, so each call is approved by itself"
    } else {
        "each call of it is approved by itself"
    }
}

/// Whether the plan amounts to running code, though the capability alone does not.
#[must_use]
pub(crate) fn amounts_to_execute(ask: &Ask) -> bool {
    let is_rated_so = matches!(
        ask.plan,
        Plan::Ready {
            rating: Verb::Execute,
            ..
        }
    );
    is_rated_so && !ask.verbs.contains(Verb::Execute)
}

/// How far a bounded approval reaches, as a card says it. Without an input of the call the card shows none of its members.
#[must_use]
pub(crate) fn permits(bounded: &Bounded, is_shown: bool) -> String {
    let (most, minutes) = (bounded.limits.turns, bounded.limits.minutes);
    let Some(children) = &bounded.children else {
        return format!(
            "at most {most} turns, this one among them, within {minutes} minutes from its start"
        );
    };
    let names: Vec<_> = children.capabilities.keys().map(|id| id.as_str()).collect();
    if children.members {
        return format!(
            "its {} of {} {}, in this order, each once, within {minutes} minutes from its start; what it \
             reads, the agent may read without it",
            calls_in_words(most),
            names.join(" and "),
            match is_shown {
                true => "as listed",
                false => "with inputs that you do not see first",
            }
        );
    }
    format!(
        "at most {} of {} within {minutes} minutes from its start, {} side by side; each works on a copy and \
         changes nothing in its folder until you approve its change set",
        calls_in_words(most),
        names.join(" or "),
        children.parallel
    )
}
