//! `plexusctl logs`: what the gateway and its workers said. Read from the files, so it works with the daemon down.

mod files;

use crate::{
    moment::{self, End, Moment},
    owner::{Desk, text_of},
    sources,
};
use clap::{Args, ValueEnum};
use files::Follower;
use jiff::{Zoned, tz::TimeZone};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::{SourceId, Timestamp};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Which lines.
#[derive(Args)]
pub(crate) struct Logs {
    /// Only lines about this source, its workers' among them [default: everything]
    #[arg(value_parser = source)]
    source: Option<SourceId>,
    /// Follow new lines
    #[arg(long, short)]
    follow: bool,
    /// Since: yesterday, today, 2h, 10:42, 2026-11-19
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    since: Option<Moment>,
    /// Only lines of this level and above
    #[arg(long, value_enum, default_value = "trace")]
    level: Level,
    /// Number of newest lines to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    lines: u32,
}

/// How much a line weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

fn source(text: &str) -> Result<SourceId, String> {
    SourceId::parse(text).map_err(|e| e.to_string())
}

/// How often files are looked at for more.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The folder that was searched, and the options that may keep lines back.
fn none(logs: &Logs, folder: &Path) -> String {
    let folder = text::line(&folder.display().to_string());
    match logs.since.is_some() || logs.level != Level::Trace {
        true => format!("no line matches in {folder}; --since and --level leave others out"),
        false => format!("no line matches in {folder}"),
    }
}

/// Runs the command.
pub(crate) async fn run(desk: &Desk, logs: Logs) -> Result<Exit, Stop> {
    let now = moment::now();
    let mut wanted = LogFilter::new(&logs, &now);
    let folder = desk.home.path().join("logs");
    let mut follower = Follower::new(folder.clone());
    let most = usize::try_from(logs.lines).unwrap_or(usize::MAX);
    let mut last: VecDeque<LogLine> = VecDeque::new();
    follower
        .begin(|series, line| {
            if let Some(said) = wanted.said(series, line) {
                // Lines of one file are in order; those of all are put in order below.
                last.push_back(said);
                if last.len() > most.saturating_mul(4).max(10_000) {
                    last.make_contiguous().sort_by_key(|said| said.place);
                    last.drain(..last.len() - most);
                }
            }
        })
        .map_err(failed)?;
    last.make_contiguous().sort_by_key(|said| said.place);
    for said in last.iter().skip(last.len().saturating_sub(most)) {
        out::line(&said.shown(desk.json, now.time_zone()))?;
    }
    if last.is_empty() {
        let none = none(&logs, &folder);
        let none = match &logs.source {
            Some(source) => none_about(desk, source, folder, none).await?,
            None => none,
        };
        if !logs.follow && !desk.json {
            out::say(&none);
        }
    }
    if !logs.follow {
        return Ok(Exit::Ok);
    }
    desk.say_following("ends this");
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
            () = out::reader_gone() => return Ok(Exit::Ok),
        }
        let mut fresh = Vec::new();
        follower
            .more(|series, line| fresh.extend(wanted.said(series, line)))
            .map_err(failed)?;
        fresh.sort_by_key(|said| said.place);
        for said in fresh {
            out::line(&said.shown(desk.json, now.time_zone()))?;
        }
    }
}

fn failed(error: io::Error) -> Stop {
    Stop::new(Exit::Failed, "logs", error.to_string())
}

/// Why no line is shown. Refuses a source that no line is about and the gateway does not have; while the gateway is down,
/// names the sources that lines are about.
async fn none_about(
    desk: &Desk,
    source: &SourceId,
    folder: PathBuf,
    none: String,
) -> Result<String, Stop> {
    let mut known = BTreeSet::new();
    let about = |_: &str, line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        known.insert(text_of(&line, "source").to_owned());
    };
    Follower::new(folder).begin(about).map_err(failed)?;
    known.remove("");
    if known.contains(source.as_str()) {
        return Ok(none);
    }
    if let Ok(mut owner) = desk.open().await {
        sources::is_there(&mut owner, source).await?;
        return Ok(none);
    }
    let known: Vec<_> = known.into_iter().collect();
    Ok(match &known[..] {
        [] => "no line is about a source".to_owned(),
        known => format!(
            "no line is about {source}; there are lines about: {}",
            text::listed(known, ", ")
        ),
    })
}

struct LogFilter {
    source: Option<SourceId>,
    since: Option<Timestamp>,
    level: Level,
    /// The latest moment of each series so far. A clock that was set back writes the newest lines with earlier times, and they
    /// stay the newest.
    latest: BTreeMap<String, Timestamp>,
}

/// A line that is wanted.
struct LogLine {
    at: Timestamp,
    /// By which it is sorted: never before a line that its file had earlier.
    place: Timestamp,
    line: Value,
}

impl LogFilter {
    fn new(logs: &Logs, now: &Zoned) -> Self {
        Self {
            source: logs.source.clone(),
            since: logs.since.as_ref().map(|since| since.at(End::First, now)),
            level: logs.level,
            latest: BTreeMap::new(),
        }
    }

    /// The line, if it is one and wanted. The rest of a line that a crash cut off is none.
    fn said(&mut self, series: &str, line: &str) -> Option<LogLine> {
        let line: Value = serde_json::from_str(line).ok()?;
        let at: Timestamp = serde_json::from_value(line["time"].clone()).ok()?;
        let level = Level::from_str(text_of(&line, "level"), true).unwrap_or(Level::Error);
        let of_source = self
            .source
            .as_ref()
            .is_none_or(|source| text_of(&line, "source") == source.as_str());
        let wanted = of_source && level >= self.level && self.since.is_none_or(|since| at >= since);
        wanted.then(|| {
            let latest = self.latest.entry(series.to_owned()).or_default();
            *latest = at.max(*latest);
            let place = *latest;
            LogLine { at, place, line }
        })
    }
}

impl LogLine {
    fn shown(&self, json: bool, zone: &TimeZone) -> String {
        if json {
            return self.line.to_string();
        }
        let at = moment::local(self.at, zone);
        let mut rest = Vec::new();
        let mut who = String::new();
        for (name, value) in self.line.as_object().into_iter().flatten() {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match name.as_str() {
                "time" | "level" | "event" | "target" | "message" => {}
                "source" => who = format!("{value}: "),
                // What a worker said is the line itself.
                "line" => rest.insert(0, value),
                _ => rest.push(format!("{name}={value}")),
            }
        }
        let said = format!("{who}{} {}", text_of(&self.line, "message"), rest.join(" "));
        format!(
            "{} {:<5} {}",
            at.strftime("%Y-%m-%d %H:%M:%S"),
            text::line(text_of(&self.line, "level")),
            text::line(said.trim_end())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(source: Option<&str>, level: Level) -> LogFilter {
        LogFilter {
            source: source.map(|s| SourceId::parse(s).unwrap()),
            since: serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").ok(),
            level,
            latest: BTreeMap::new(),
        }
    }

    #[test]
    fn no_line_names_its_folder_and_filters() {
        let mut logs = Logs {
            source: None,
            follow: false,
            since: None,
            level: Level::Trace,
            lines: 1,
        };
        let folder = Path::new("/h/logs");
        assert_eq!(none(&logs, folder), "no line matches in /h/logs");
        logs.level = Level::Warn;
        let said = none(&logs, folder);
        assert!(said.ends_with("--since and --level leave others out"));
    }

    #[test]
    fn newest_line_stays_last_after_clock_is_set_back() {
        let mut all = wanted(None, Level::Trace);
        let mut is_put_behind = |series, hour| {
            let line = format!(r#"{{"time":"2026-01-01T0{hour}:00:00.000Z"}}"#);
            let said = all.said(series, &line).unwrap();
            said.place > said.at
        };
        let mut of_gateway = |hour| is_put_behind("plexusd", hour);
        assert_eq!([3, 2, 4].map(&mut of_gateway), [false, true, false]);
        assert!(!is_put_behind("source-w", 1), "a series of its own");
    }

    #[test]
    fn lines_are_chosen_and_shown() {
        let said = |source, level, line: &str| wanted(source, level).said("plexusd", line);
        let line = r#"{"time":"2026-01-01T10:00:00.000Z","level":"warn","target":"plexusd::worker","message":"worker",
            "source":"notes","pid":7,"line":"odd\u001b[2J"}"#;
        let shown = said(Some("notes"), Level::Warn, line).unwrap();
        assert_eq!(
            shown.shown(false, &TimeZone::UTC),
            "2026-01-01 10:00:00 warn  notes: worker odd\\u{1b}[2J pid=7"
        );
        assert!(shown.shown(true, &TimeZone::UTC).starts_with(r#"{"time":"#));
        assert!(said(None, Level::Trace, line).is_some());
        assert!(said(Some("other"), Level::Trace, line).is_none());
        assert!(said(None, Level::Error, line).is_none());
        let old = line.replace("2026-01-01T10", "2025-01-01T10");
        assert!(said(None, Level::Trace, &old).is_none());
        let half = said(None, Level::Trace, &line[..40]);
        assert!(half.is_none(), "half a line");
    }
}
