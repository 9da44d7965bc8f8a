//! Addresses of the console's pages. A page lies below `/admin`, and what fills it at the same path below
//! `/admin/console`.

use axum::{extract::FromRequestParts, http::request::Parts};
use plexus_edge::reply::query_of;
use plexus_owner::activity::List;
use plexus_protocol::{AgentId, SourceId, Timestamp, capability::HOUR_MS};
use plexus_trust::Item;
use std::convert::Infallible;

/// How long a stretch is.
const LISTED: usize = 50;

/// Where a page of a longer list begins: `?from=`, or at its beginning.
pub(super) struct Begin(pub(super) usize);

impl<S: Send + Sync> FromRequestParts<S> for Begin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let from = query_of(&parts.uri, "from").and_then(|from| from.parse().ok());
        Ok(Self(from.unwrap_or(0)))
    }
}

/// A stretch of a longer list, with the addresses of those around it.
pub(super) struct Stretch {
    /// Where it begins: at the beginning, where there is nothing so far behind.
    pub(super) from: usize,
    /// How long the list is.
    pub(super) all: usize,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Stretch {
    /// What of the list is in it.
    pub(super) fn part<L: IntoIterator>(&self, list: L) -> impl Iterator<Item = L::Item> + use<L> {
        list.into_iter().skip(self.from).take(LISTED)
    }

    /// Of a list of `all`, what a page has from `from` on; `at` says where the one that begins elsewhere lies.
    pub(super) fn of(from: usize, all: usize, at: impl Fn(usize) -> String) -> Self {
        let from = if from < all { from } else { 0 };
        Self {
            from,
            all,
            before: (from > 0).then(|| at(from.saturating_sub(LISTED))),
            after: (from + LISTED < all).then(|| at(from + LISTED)),
        }
    }
}

/// An agent's page: from where on it lists the grants, and of which source it lists what asks.
pub(super) fn agent(id: &AgentId, from: usize, of: Option<&SourceId>) -> String {
    let from = (from > 0).then(|| format!("from={from}"));
    let of = of.map(|of| format!("of={of}"));
    let parts: Vec<_> = from.into_iter().chain(of).collect();
    match parts.is_empty() {
        true => format!("/admin/agents/{id}"),
        false => format!("/admin/agents/{id}?{}", parts.join("&")),
    }
}

/// The calls of an agent.
pub(super) fn calls_of(agent: &str) -> String {
    activity(&List {
        agent: Some(agent.to_owned()),
        ..List::default()
    })
}

/// Those of them on one source.
pub(super) fn calls_on(agent: &str, source: &str) -> String {
    activity(&List {
        agent: Some(agent.to_owned()),
        source: Some(source.to_owned()),
        ..List::default()
    })
}

/// The calls of the 24 hours that the first page counts, of an agent or of a source.
pub(super) fn calls_of_day(agent: Option<&str>, source: Option<&str>, now: Timestamp) -> String {
    let hours = (now.0 / HOUR_MS + 1).saturating_sub(24);
    activity(&List {
        agent: agent.map(str::to_owned),
        source: source.map(str::to_owned),
        since: Some(Timestamp(hours * HOUR_MS)),
        ..List::default()
    })
}

/// What an agent did since it asked for this, on the source that it asked for.
pub(super) fn since_asked(item: &Item) -> String {
    let first = item.asks.first();
    activity(&List {
        agent: Some(item.agent.to_string()),
        source: first.map(|ask| ask.capability.parts().0.to_owned()),
        since: Some(item.created_at),
        ..List::default()
    })
}

/// The page that stands for a command of a terminal, by its name and address; none where only a terminal does it.
pub(super) fn page_for(command: &str) -> Option<(&'static str, String)> {
    let words: Vec<&str> = command.strip_prefix("plexusctl ")?.split(' ').collect();
    let (name, page) = match words.as_slice() {
        ["approvals", "show", card] => ("Decide on its card", format!("/approvals/{card}")),
        // A button stands for it.
        ["approvals", "undeny", _] => return None,
        ["approvals", ..] => ("Approvals", "/approvals".to_owned()),
        ["grants", "allow", agent, ..] => ("Give it a grant", format!("/agents/{agent}")),
        ["grants", "list" | "revoke", agent, ..] => ("Its grants", format!("/agents/{agent}")),
        ["review", agent] => ("All that it changed", format!("/agents/{agent}/review")),
        ["unknown", "list", call] | ["audit", "show", call] => {
            ("The call", format!("/activity/{call}"))
        }
        ["undo", call] => ("Take it back", format!("/activity/{call}/undo")),
        ["sources", "enable" | "resume" | "test", source] => {
            ("The source", format!("/sources/{source}"))
        }
        ["sources", "secret", source, ..] => ("Change it", format!("/source-form?id={source}")),
        ["mcp", "login", source] => ("Sign in again", format!("/sources/{source}")),
        ["sources", "list"] => ("The sources", "/sources".to_owned()),
        ["expose", _] => (
            "Hidden capabilities",
            "/capabilities?show=hidden".to_owned(),
        ),
        ["changes", ..] => ("Changes of coding agents", "/changes".to_owned()),
        ["lend", "list"] => ("Lent folders", "/lend".to_owned()),
        ["status"] => ("Health", "/health".to_owned()),
        _ => return None,
    };
    Some((name, format!("/admin{page}")))
}

/// The calls that touched a thing.
pub(super) fn touched(thing: &str) -> String {
    activity(&List {
        touched: Some(thing.to_owned()),
        ..List::default()
    })
}

/// A page of calls: the request that makes it is its address.
pub(super) fn activity(list: &List) -> String {
    format!("/admin{}", plexus_owner::write(list).path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_behind_the_end_is_the_first() {
        let at = |from, all| {
            let stretch = Stretch::of(from, all, |from| from.to_string());
            (stretch.from, stretch.before, stretch.after)
        };
        let to = |from: usize| Some(from.to_string());
        assert_eq!(at(0, 50), (0, None, None));
        assert_eq!(at(0, 51), (0, None, to(50)));
        assert_eq!(at(50, 101), (50, to(0), to(100)));
        assert_eq!(at(50, 50), (0, None, None));
        assert_eq!(at(7, 0), (0, None, None));
    }

    #[test]
    fn command_leads_to_its_page() {
        let page = |command: &str| page_for(command).map(|(_, page)| page);
        for (command, at) in [
            ("approvals show pend_1", "approvals/pend_1"),
            ("grants allow a notes.read --window 1d", "agents/a"),
            ("review a", "agents/a/review"),
            ("unknown list evt_1", "activity/evt_1"),
            ("sources enable notes", "sources/notes"),
            ("expose notes.read", "capabilities?show=hidden"),
        ] {
            let line = format!("plexusctl {command}");
            let found = page(&line);
            assert_eq!(found, Some(format!("/admin/{at}")), "{command}");
        }
        for none in ["plexusctl upgrade", "df -h", "nothing is left to do"] {
            assert_eq!(page(none), None, "{none}");
        }
    }

    #[test]
    fn a_part_of_an_agents_page_keeps_the_other() {
        let (id, notes) = (
            AgentId::parse("my-cc").unwrap(),
            SourceId::parse("notes").unwrap(),
        );
        let at = |from, of| agent(&id, from, of).replace("/admin/agents/my-cc", "");
        assert_eq!(at(0, None), "");
        assert_eq!(at(50, None), "?from=50");
        assert_eq!(at(0, Some(&notes)), "?of=notes");
        assert_eq!(at(50, Some(&notes)), "?from=50&of=notes");
    }
}
