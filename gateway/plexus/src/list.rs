//! `plexus list`: what can be called, one line each, for a reader who pays by the word.

use crate::{
    command,
    manifest::{Entry, State},
    session::Session,
    settings::Settings,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_protocol::{Timestamp, body::StandingGrant};
use plexus_search::{Document, Index};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// The words of a description that a line has room for.
const SUMMARY_WORDS: usize = 8;
/// Most characters of them: Japanese and Thai have no spaces between words.
const SUMMARY_CHARS: usize = 80;

/// Showing what can be called.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct List {
    /// Only what fits these words, best first
    query: Vec<String>,
    /// How many to show of what fits
    #[arg(long, value_name = "N", default_value_t = 20, requires = "query",
        value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the gateway and prints.
pub(crate) async fn run(settings: &Settings, list: List) -> Result<Exit, Stop> {
    let mut session = Session::open(settings).await?;
    let grants = session.grants().await?;
    let agent = session
        .agent
        .as_ref()
        .or_else(|| grants.first().map(|g| &g.agent_id));
    let view = View {
        agent: agent.map_or("unknown", |id| id.as_str()),
        gateway: session.gateway.address().to_string(),
        entries: chosen(&session.opened.manifest.entries, &list),
        grants: &grants,
        now: span::now(),
    };
    if list.json {
        out::line(&view.json().to_string())?;
    } else if view.entries.is_empty() && !list.query.is_empty() {
        out::line(&none_fits())?;
    } else {
        out::line(&view.text())?;
    }
    Ok(Exit::Ok)
}

/// In place of a list of nothing.
fn none_fits() -> String {
    let all = command::line("list");
    format!(
        "no capability fits these words; they are not looked for in notes or files\nnext: {all}"
    )
}

/// What to show: with a query what fits it, best first, else all in the gateway's order.
fn chosen<'a>(entries: &'a [Entry], list: &List) -> Vec<&'a Entry> {
    if list.query.is_empty() {
        return entries.iter().collect();
    }
    let index = Index::of(entries.iter().map(|entry| Document {
        id: entry.id.as_str(),
        label: &entry.label,
        usage: &entry.describe,
        keywords: &entry.keywords,
        source: &entry.source,
    }));
    let found = index.search(&list.query.join(" ")).into_iter();
    found
        .take(list.limit.into())
        .map(|at| &entries[at])
        .collect()
}

struct View<'a> {
    agent: &'a str,
    gateway: String,
    entries: Vec<&'a Entry>,
    grants: &'a [StandingGrant],
    now: Timestamp,
}

impl View<'_> {
    fn text(&self) -> String {
        let rows: Vec<_> = self
            .entries
            .iter()
            .map(|e| (e.state(self.grants, self.now), *e))
            .collect();
        let count = |state| rows.iter().filter(|((s, _), _)| *s == state).count();
        let mut text = format!(
            "agent {} at {}: {} now, {} asks, {} off\n",
            self.agent,
            text::line(&self.gateway),
            count(State::Now),
            count(State::Asks),
            count(State::Off)
        );
        for (end, ids) in self.ends() {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(text, "{end}: {}", ids.join(" "));
        }
        let lent = self.entries.iter().filter(|entry| entry.is_lent());
        let lent: BTreeSet<_> = lent
            .filter_map(|e| e.id.as_str().split('.').next())
            .collect();
        if !lent.is_empty() {
            let lent: Vec<_> = lent
                .into_iter()
                .map(|source| format!("{source}.*"))
                .collect();
            let _ = writeln!(
                text,
                "described in words of a third party: {}",
                lent.join(" ")
            );
        }
        let fields: Vec<_> = rows.iter().map(|(_, e)| fields(e)).collect();
        let width = |texts: &mut dyn Iterator<Item = usize>, most: usize| {
            texts.max().unwrap_or(0).min(most)
        };
        let ids = width(&mut rows.iter().map(|(_, e)| e.id.as_str().len()), 40);
        let inputs = width(&mut fields.iter().map(|f| f.chars().count()), 32);
        for (((state, why), entry), fields) in rows.iter().zip(&fields) {
            let last = match (why, entry.limits(self.grants, self.now)) {
                (Some(why), _) => text::short(why, 120),
                (None, Some(limits)) => {
                    format!(
                        "{} (limited to {})",
                        summary(entry),
                        text::short(&limits, 60)
                    )
                }
                (None, None) => summary(entry),
            };
            let line = format!(
                "{:<4} {:<ids$} {fields:<inputs$} {last}",
                state.word(),
                entry.id.as_str()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// What ends when, the nearest end first; what stays until it is revoked is not worth a line.
    fn ends(&self) -> Vec<(String, Vec<&str>)> {
        let mut ends: BTreeMap<Timestamp, Vec<&str>> = BTreeMap::new();
        for entry in &self.entries {
            if let Some(grant) = entry.grant(self.grants, self.now) {
                ends.entry(grant.expires_at)
                    .or_default()
                    .push(entry.id.as_str());
            }
        }
        let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
        for (at, ids) in ends {
            let end = span::end(at, self.now);
            match lines.last_mut() {
                _ if end == "until revoked" => {}
                Some((last, more)) if *last == end => more.extend(ids),
                _ => lines.push((end, ids)),
            }
        }
        lines
    }

    /// The shape that existing commands print, with additive `state`, `why`, `until`, `limits` and `input`.
    fn json(&self) -> Value {
        let capabilities: Vec<_> = self
            .entries
            .iter()
            .map(|entry| {
                let (state, why) = entry.state(self.grants, self.now);
                let mut row = json!({
                    "id": entry.id,
                    "label": entry.label,
                    "verbs": entry.grants,
                    "summary": entry.summary(),
                    "provenance": entry.provenance,
                    "sensitivity": entry.sensitivity,
                    "kind": entry.kind,
                    "callable": state == State::Now,
                    "state": state,
                });
                if let Some(why) = why {
                    row["why"] = why.into();
                }
                if let Some(grant) = entry.grant(self.grants, self.now) {
                    row["until"] = json!(grant.expires_at);
                }
                if let Some(limits) = entry.limits(self.grants, self.now) {
                    row["limits"] = limits.into();
                }
                if !entry.io.input.is_null() {
                    row["input"] = entry.io.input.clone();
                }
                row
            })
            .collect();
        json!({"agent": self.agent, "gateway": self.gateway, "capabilities": capabilities})
    }
}

/// `path [limit] [offset]`: required fields, then the others in brackets.
fn fields(entry: &Entry) -> String {
    let (required, others) = entry.fields();
    let others = others.iter().map(|name| format!("[{}]", text::line(name)));
    required
        .iter()
        .map(|name| text::line(name))
        .chain(others)
        .collect::<Vec<_>>()
        .join(" ")
}

fn summary(entry: &Entry) -> String {
    let mut words = entry.summary().split_whitespace();
    let mut line = words
        .by_ref()
        .take(SUMMARY_WORDS)
        .collect::<Vec<_>>()
        .join(" ");
    if words.next().is_some() {
        line.push('…');
    }
    text::short(&line, SUMMARY_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        serde_json::from_value(json!([
            {"id": "obsidian.vault.read", "kind": "capability", "label": "Read a note", "grants": ["read"],
             "describe": "Read one note of the vault as text, with its links and its front matter.\nMore.",
             "io": {"input": {"properties": {"offset": {"type": "integer"}, "path": {"type": "string"}},
                              "required": ["path"]}},
             "provenance": "first-party", "sensitivity": "low", "health": {"status": "ok"}},
            {"id": "obsidian.vault.write", "kind": "capability", "grants": ["write"],
             "describe": "Write a \u{1b}[31mnote"},
            {"id": "things.list", "kind": "capability", "grants": ["read"], "describe": "List to-dos",
             "health": {"status": "unavailable", "detail": "Things is not running"}},
            {"id": "workspace.how-to-use", "kind": "skill", "label": "How to", "describe": ""},
            {"id": "workspace.read", "kind": "capability", "grants": ["read"], "describe": "Read a file"},
            {"id": "workspace.list", "kind": "capability", "grants": ["read"], "describe": "List a folder"}
        ]))
        .unwrap()
    }

    fn grants() -> Vec<StandingGrant> {
        let suspended =
            json!({"suspended": "what this source can do has changed since you granted it"});
        let grant = |id: &str, more: Value| {
            let mut grant = json!({
                "agentId": "my-cc", "capabilityId": id, "verbs": ["read"], "provenance": "first-party",
                "grantedAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-07T00:00:00.000Z",
                "trustWindow": {"kind": "7d"}, "standing": true
            });
            let more = more.as_object().unwrap().clone();
            grant.as_object_mut().unwrap().extend(more);
            grant
        };
        serde_json::from_value(json!([
            grant("obsidian.vault.read", json!({})),
            // Read does not carry write.
            grant("obsidian.vault.write", json!({})),
            grant("workspace.read", suspended),
            grant("workspace.list", json!({"callsLeft": 2, "constraint": {"maxCalls": 5, "allow": {"field": "path", "values": ["a", "b"]}}})),
        ]))
        .unwrap()
    }

    fn view<'a>(entries: &'a [Entry], grants: &'a [StandingGrant]) -> View<'a> {
        View {
            agent: "my-cc",
            gateway: "unix:/h/agent.sock".into(),
            entries: entries.iter().collect(),
            grants,
            now: serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap(),
        }
    }

    #[test]
    fn one_line_each() {
        let (entries, grants) = (entries(), grants());
        assert_eq!(
            view(&entries, &grants).text(),
            "\
agent my-cc at unix:/h/agent.sock: 3 now, 2 asks, 1 off
ends in 6 days: obsidian.vault.read workspace.read workspace.list
now  obsidian.vault.read  path [offset] Read one note of the vault as text,…
asks obsidian.vault.write               Write a \\u{1b}[31mnote
off  things.list                        Things is not running
now  workspace.how-to-use               How to
asks workspace.read                     suspended: what this source can do has changed since you granted it
now  workspace.list                     List a folder (limited to path is a or b, at most 5 calls; 2 calls left)
"
        );
    }

    #[test]
    fn summary_without_spaces_is_cut_too() {
        let entry = json!({"id": "wiki.read", "kind": "capability", "describe": "とても長い説明".repeat(40)});
        let entry: Entry = serde_json::from_value(entry).unwrap();
        let cut = summary(&entry);
        assert!(
            cut.ends_with('…') && cut.chars().count() == SUMMARY_CHARS,
            "{cut}"
        );
    }

    #[test]
    fn json_has_the_wires_members() {
        let (entries, grants) = (entries(), grants());
        let json = view(&entries, &grants).json();
        let first = &json["capabilities"][0];
        assert_eq!(json["agent"], "my-cc");
        assert_eq!(first["callable"], true);
        for member in "id label verbs summary provenance sensitivity kind callable".split(' ') {
            assert!(!first[member].is_null(), "{member}");
        }
        let all = json["capabilities"].as_array().unwrap().iter();
        assert!(
            all.map(|c| c["callable"] == true)
                .eq([true, false, false, true, false, true])
        );
    }

    #[test]
    fn a_grant_past_its_end_is_none() {
        let (entries, grants) = (entries(), grants());
        let mut late = view(&entries, &grants);
        late.now = serde_json::from_str("\"2026-01-07T00:00:00.000Z\"").unwrap();
        let text = late.text();
        assert!(text.contains("1 now, 4 asks, 1 off"), "{text}");
    }

    #[test]
    fn list_of_nothing_names_the_whole_one() {
        let said = none_fits();
        assert!(said.ends_with("\nnext: plexus list"), "{said}");
    }

    #[test]
    fn query_chooses_best_first() {
        let entries = entries();
        let chosen = |query: &[&str], limit| {
            let list = List {
                query: query.iter().map(|word| (*word).to_owned()).collect(),
                limit,
                json: false,
            };
            let chosen = chosen(&entries, &list);
            chosen.iter().map(|e| e.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&[], 1).len(), 6);
        let both = chosen(&["read", "note"], 20);
        assert_eq!(both, ["obsidian.vault.read", "workspace.read"]);
        assert_eq!(chosen(&["VAULT"], 20).len(), 2);
        assert_eq!(chosen(&["VAULT"], 1).len(), 1);
        assert_eq!(chosen(&["to-dos"], 20)[0], "things.list");
        assert!(chosen(&["nope"], 20).is_empty());
    }
}
