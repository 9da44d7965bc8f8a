//! `plexusctl activity`: what agents did, one line a call, in words.

mod unfound;

use crate::{
    moment::{self, End, Moment},
    owner::{Desk, Owner},
};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use jiff::{Zoned, tz::TimeZone};
use plexus_client::{Exit, Stop, text};
use plexus_owner::activity::{ActivityKind, ActivityRow, List, OnlyActivity, Totals, words};
use plexus_protocol::{AgentId, SourceId, Timestamp};
use serde::Serialize;

/// What is asked for.
#[derive(Args)]
pub(crate) struct Activity {
    /// Only this agent's [default: all agents]
    agent: Option<AgentId>,
    /// Since: yesterday, today, 2h, 10:42, 2026-11-19, 2026-11-19T10:42 [default: 24h to --until or now; with --touched, all]
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    since: Option<Moment>,
    /// Until; a day counts to its end
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    until: Option<Moment>,
    /// Only calls of this source
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Only calls that read or changed this item, as the source names it (Projects/Plexus.md), or by its path
    #[arg(long, value_name = "THING")]
    touched: Option<String>,
    /// Only calls that changed something, or may have
    #[arg(long, conflicts_with = "refused")]
    changed: bool,
    /// Only refused calls
    #[arg(long)]
    refused: bool,
    /// Only calls and requests of which this came
    #[arg(long, value_name = "OUTCOME", conflicts_with_all = ["changed", "refused"], value_parser = outcome())]
    only: Option<OnlyActivity>,
    /// Number of newest calls to show; the totals count all
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

fn outcome() -> impl TypedValueParser<Value = OnlyActivity> {
    let words = PossibleValuesParser::new(OnlyActivity::ALL.map(OnlyActivity::as_str));
    words.try_map(|word| OnlyActivity::parse(&word).ok_or("not one of the outcomes"))
}

/// What one page may hold.
const PAGE: u64 = 1_000;

/// Runs the command.
pub(crate) async fn run(desk: &Desk, activity: Activity) -> Result<Exit, Stop> {
    let now = moment::now();
    let found = activity.found(&mut desk.open().await?, &now).await?;
    desk.show(&found, || found.text(&now) + activity.further_back(&found))
}

/// The calls that were found, oldest first, and how many there are of what.
#[derive(Default, Serialize)]
pub(crate) struct FoundCalls {
    pub(crate) calls: Vec<ActivityRow>,
    totals: Totals,
    /// Whether there are calls that are counted and not shown.
    more: bool,
    /// The thing as its source names it, where it was typed as a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    thing: Option<Thing>,
    /// Where no call is recorded of what was typed: recorded names like it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) similar: Option<Vec<String>>,
}

/// A thing by its source's name for it.
#[derive(Debug, PartialEq, Serialize)]
struct Thing {
    source: SourceId,
    id: String,
}

/// The newest `limit` calls of those that are asked for, and how many there are.
async fn find(owner: &mut Owner, mut asked: List, limit: u32) -> Result<FoundCalls, Stop> {
    let mut found = FoundCalls::default();
    loop {
        let left = u64::from(limit) - found.calls.len() as u64;
        asked.limit = Some(left.min(PAGE));
        let page = owner.call(&asked).await?;
        found.totals += page.totals;
        found.calls.extend(page.calls);
        asked.before = page.next;
        if asked.before.is_none() {
            break;
        }
    }
    let rows: u64 = found.calls.iter().map(times).sum();
    let again = found.calls.windows(2).filter(|two| is_one_request(two));
    found.more = found.totals.all() > rows - again.count() as u64;
    found.calls.reverse();
    Ok(found)
}

/// Whether two rows tell one request, which the totals count once.
fn is_one_request(two: &[ActivityRow]) -> bool {
    let [one, other] = [0, 1].map(|at| two.get(at).map(ActivityRow::call));
    one.zip(other).is_some_and(|(one, other)| {
        one.did.is_of_request()
            && one.did == other.did
            && one.pending_id.is_some()
            && one.pending_id == other.pending_id
    })
}

/// How many calls a row is.
fn times(row: &ActivityRow) -> u64 {
    1 + row.call().unrecorded.unwrap_or(0)
}

impl Activity {
    /// The newest changes of one thing.
    pub(crate) fn changes_of(thing: String) -> Self {
        Self {
            agent: None,
            since: None,
            until: None,
            source: None,
            touched: Some(thing),
            changed: true,
            refused: false,
            only: None,
            limit: 100,
        }
    }

    /// All that is recorded of it, also where the thing is named by its path.
    pub(crate) async fn found(&self, owner: &mut Owner, now: &Zoned) -> Result<FoundCalls, Stop> {
        let found = find(owner, self.asked(now), self.limit).await?;
        match found.totals.all() {
            0 => unfound::look(owner, self, now, found).await,
            _ => Ok(found),
        }
    }

    /// If nothing was found in the day that is looked through by itself: that, and how to look further back.
    fn further_back(&self, found: &FoundCalls) -> &'static str {
        let is_usual = self.since.is_none() && self.touched.is_none();
        match found.totals.all() {
            0 if is_usual => "\nlooked through: 24 h; --since 7d looks further back",
            _ => "",
        }
    }

    /// What is asked for, but for the page.
    fn asked(&self, now: &Zoned) -> List {
        let until = self.until.as_ref().map(|until| until.at(End::Last, now));
        let since = match (&self.since, &self.touched) {
            (Some(since), _) => Some(since.at(End::First, now)),
            (None, Some(_)) => None,
            (None, None) => {
                let now = Moment::Ago(0).at(End::Last, now);
                let last = until.map_or(now, |until| until.min(now));
                Some(Timestamp(last.0.saturating_sub(86_400_000)))
            }
        };
        List {
            limit: None,
            agent: self.agent.as_ref().map(ToString::to_string),
            since,
            until,
            source: self.source.clone(),
            touched: self.touched.clone(),
            only: match (self.changed, self.refused) {
                (true, _) => Some(OnlyActivity::Changed),
                (_, true) => Some(OnlyActivity::Refused),
                _ => self.only,
            },
            before: None,
        }
    }
}

/// Lines that a repeated call is looked for in, and how long ago it may have begun, in milliseconds.
const FOLD: (usize, u64) = (20, 600_000);

/// A line, or several that say the same.
struct Line {
    first: Timestamp,
    last: Timestamp,
    agent: String,
    words: String,
    times: u64,
    folds: bool,
}

impl FoundCalls {
    fn text(&self, now: &Zoned) -> String {
        let zone = now.time_zone();
        let mut out = String::new();
        let mut day = moment::day(now);
        for line in self.lines() {
            let its = moment::day(&moment::local(line.first, zone));
            if its != day {
                out.push_str(&its);
                out.push('\n');
                day = its;
            }
            out.push_str(&line.text(zone));
            out.push('\n');
        }
        if self.more {
            out.push_str("(earlier calls are counted and not shown: --limit)\n");
        }
        if let Some(thing) = &self.thing {
            let id = text::line(&thing.id);
            out.push_str(&format!("(of {id}, as {} names it)\n", thing.source));
        }
        let none = self.similar.as_ref().map(|similar| match &similar[..] {
            [] if self.thing.is_some() => {
                "\nnothing that fits is recorded under exactly this name".to_owned()
            }
            [] => "\nnothing that fits is recorded under exactly this name; a source names a file by its path below \
                   its own folder, such as Projects/Plexus.md: plexusctl activity shows the names"
                .to_owned(),
            names => format!(
                "\nnothing that fits is recorded under exactly this name; recorded names like it: {}",
                text::line(&names.join(", "))
            ),
        });
        let none = none.unwrap_or_default();
        format!("{out}{}{none}", words::totals(self.totals))
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for row in &self.calls {
            let (call, times) = (row.call(), times(row));
            let undone = if call.undone { ", taken back" } else { "" };
            let (at, words) = (call.at, format!("{}{undone}", words::said(call)));
            let words = match call.did {
                // A purpose or a reason, and no name that others chose.
                ActivityKind::Asked | ActivityKind::Denied => text::words(&words),
                _ => text::line(&words),
            };
            let agent = call.agent_id.clone().unwrap_or_default();
            let folds = words::folds(call.did);
            let recent = lines.iter_mut().rev().take(FOLD.0);
            let same = recent
                .filter(|line| folds && line.folds && at.since(line.first) <= FOLD.1)
                .find(|line| line.agent == agent && line.words == words);
            match same {
                Some(line) => {
                    line.last = at;
                    line.times += times;
                }
                None => lines.push(Line {
                    first: at,
                    last: at,
                    agent,
                    words,
                    times,
                    folds,
                }),
            }
        }
        lines
    }
}

impl Line {
    fn text(&self, zone: &TimeZone) -> String {
        let [first, last] =
            [self.first, self.last].map(|at| moment::minute(&moment::local(at, zone)));
        let time = if first == last {
            first
        } else {
            format!("{first}–{last}")
        };
        let times = if self.times > 1 {
            format!(" ×{}", self.times)
        } else {
            String::new()
        };
        let agent = match self.agent.as_str() {
            "" => "you",
            agent => agent,
        };
        format!("{time} {} {}{times}", text::line(agent), self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use jiff::civil;
    use serde_json::json;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        activity: Activity,
    }

    fn now() -> Zoned {
        civil::date(2026, 11, 20)
            .at(12, 0, 0, 0)
            .to_zoned(TimeZone::UTC)
            .unwrap()
    }

    fn thing(id: &str) -> serde_json::Value {
        json!({"kind": "file", "id": id, "access": "read"})
    }

    #[test]
    fn nothing_in_a_day_names_the_way_back() {
        let told = |typed: &[&str]| {
            let typed = [&["activity"], typed].concat();
            let activity = Typed::try_parse_from(typed).unwrap().activity;
            activity.further_back(&FoundCalls::default())
        };
        assert!(told(&["cc"]).ends_with("24 h; --since 7d looks further back"));
        assert_eq!(told(&["--since", "7d"]), "");
        assert_eq!(told(&["--touched", "a.md"]), "");
    }

    #[test]
    fn what_is_asked_of_the_gateway() {
        for (typed, asked) in [
            (&[][..], "limit=9&since=2026-11-19T12%3A00%3A00.000Z"),
            (
                &[
                    "cc",
                    "--since",
                    "yesterday",
                    "--until",
                    "yesterday",
                    "--changed",
                ],
                "limit=9&agent=cc&since=2026-11-19T00%3A00%3A00.000Z&until=2026-11-20T00%3A00%3A00.000Z&only=changed",
            ),
            (
                &["--until", "2026-11-01"],
                "limit=9&since=2026-11-01T00%3A00%3A00.000Z&until=2026-11-02T00%3A00%3A00.000Z",
            ),
            // The day before such an end is yet to come: it has no calls.
            (
                &["--until", "2026-12-31"],
                "limit=9&since=2026-11-19T12%3A00%3A00.000Z&until=2027-01-01T00%3A00%3A00.000Z",
            ),
            (
                &["--touched", "a b&c#é.md", "--source", "w", "--refused"],
                "limit=9&source=w&touched=a%20b%26c%23%C3%A9.md&only=refused",
            ),
            (
                &["--touched", "a", "--only", "unknown"],
                "limit=9&touched=a&only=unknown",
            ),
        ] {
            let typed = [&["activity"], typed].concat();
            let activity = Typed::try_parse_from(typed).unwrap().activity;
            let page = List {
                limit: Some(9),
                ..activity.asked(&now())
            };
            let path = plexus_owner::write(&page).path;
            assert_eq!(path, format!("/activity?{asked}"));
        }
    }

    #[test]
    fn name_without_calls_says_how_a_source_names_things() {
        let told = |thing: Option<&str>, similar: &[&str]| {
            let found = FoundCalls {
                thing: thing.map(|id| Thing {
                    source: SourceId::parse("vault").unwrap(),
                    id: id.to_owned(),
                }),
                similar: Some(similar.iter().map(|name| (*name).to_owned()).collect()),
                ..FoundCalls::default()
            };
            found.text(&now())
        };
        let hint = "by its path below its own folder";
        assert!(told(None, &[]).contains(hint), "{}", told(None, &[]));
        let named = told(Some("a/b.md"), &[]);
        assert!(named.contains("(of a/b.md, as vault names it)"), "{named}");
        assert!(!named.contains(hint), "{named}");
        let near = told(None, &["a/bb.md"]);
        assert!(near.contains("names like it: a/bb.md"), "{near}");
    }

    #[test]
    fn a_day_in_lines() {
        let read = |at: &str, path: &str| {
            json!({"at": at, "did": "read", "agentId": "cc", "source": "obsidian", "capabilityId": "obsidian.vault.read",
                "summary": format!("read {path}"), "touched": [thing(path)], "outputBytes": 3_140})
        };
        let row = |mut call: serde_json::Value| {
            call["auditId"] = json!("evt_0");
            call["seq"] = json!(1);
            ActivityRow::new(serde_json::from_value(call).unwrap())
        };
        let found = FoundCalls {
            calls: [
                read("2026-11-19T23:59:10.000Z", "a.md"),
                read("2026-11-20T10:42:00.000Z", "a.md"),
                read("2026-11-20T10:42:30.000Z", "b\u{202e}.md"),
                read("2026-11-20T10:44:00.000Z", "a.md"),
                read("2026-11-20T11:44:00.000Z", "a.md"),
                json!({"at": "2026-11-20T11:45:00.000Z", "did": "refused", "agentId": "cc", "capabilityId": "w.write",
                    "code": "paused", "unrecorded": 7}),
            ]
            .map(row)
            .into(),
            totals: Totals {
                read: 5,
                refused: 8,
                asked: 1,
                ..Totals::default()
            },
            more: true,
            ..FoundCalls::default()
        };
        assert_eq!(
            found.text(&now()),
            "Thu 2026-11-19\n\
             23:59 cc read a.md (obsidian, answer of 3.1 KB)\n\
             Fri 2026-11-20\n\
             10:42–10:44 cc read a.md (obsidian, answer of 3.1 KB) ×2\n\
             10:42 cc read b\\u{202e}.md (obsidian, answer of 3.1 KB)\n\
             11:44 cc read a.md (obsidian, answer of 3.1 KB)\n\
             11:45 cc was refused w.write: you have paused all agents ×8\n\
             (earlier calls are counted and not shown: --limit)\n\
             13 calls: 5 read, 0 changed, 8 refused, 0 unknown; 1 request to you"
        );
    }
}
