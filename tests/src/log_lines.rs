//! What every daemon's log is held against once it has stopped, whatever the story it served.
//!
//! Each line is one JSON object that begins with `time`, `level`, `event` and `target`; its event and its fields are in
//! the tables of `docs/reference/log-events.md`; no line holds anything of the form of a credential.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

const PAGES: &str = concat!(
    include_str!("../../docs/reference/log-events.md"),
    include_str!("../../docs/reference/metrics.md")
);
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const HEAD: [&str; 4] = ["time", "level", "event", "target"];

/// The fields that the page lists.
pub static FIELDS: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| rows("fields").into_keys().collect());
/// The events that the page lists, each with its levels.
pub static EVENTS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| rows("events"));

/// The rows between two marks of the reference of log events and metrics: what stands between backticks in the first column, and the second column.
#[must_use]
pub fn rows(mark: &str) -> BTreeMap<String, String> {
    let (begin, end) = (
        format!("<!-- {mark}: begin -->"),
        format!("<!-- {mark}: end -->"),
    );
    let (_, rest) = PAGES.split_once(&begin).expect("the page has the table");
    let (table, _) = rest.split_once(&end).expect("the table ends");
    let row = |line: &str| {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), cells.next()?.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

/// Holds the log of a state directory against all of it; gives the lines.
///
/// # Panics
/// With the line, when it is not what it must be.
#[track_caller]
pub fn check(state: &Path) -> Vec<Map<String, Value>> {
    let Ok(files) = fs::read_dir(state.join("logs")) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for file in files.flatten() {
        let text = fs::read_to_string(file.path()).expect("the log is UTF-8");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            match fault(line) {
                Ok(line) => lines.push(line),
                Err(why) => panic!("{}: {why}: {line}", file.path().display()),
            }
        }
    }
    lines
}

/// What is wrong with a line, or the line.
///
/// # Errors
/// The rule that it breaks.
pub fn fault(line: &str) -> Result<Map<String, Value>, String> {
    if let Some(secret) = secret(line) {
        return Err(format!("it holds {secret}"));
    }
    let line: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("no object: {error}"))?;
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    if !line.keys().take(HEAD.len()).eq(HEAD) {
        return Err("it begins otherwise".into());
    }
    if !text("time").ends_with('Z') || !LEVELS.contains(&text("level")) {
        return Err("no such time or level".into());
    }
    let Some(levels) = EVENTS.get(text("event")) else {
        return Err("its event is not in the page".into());
    };
    if levels != "any" && !levels.split(", ").any(|level| level == text("level")) {
        return Err(format!("the page says {levels}"));
    }
    match line
        .keys()
        .skip(HEAD.len())
        .find(|name| !FIELDS.contains(*name))
    {
        Some(name) => Err(format!("its field {name} is not in the page")),
        None => Ok(line),
    }
}

/// Something of the form of a credential, if there is any.
fn secret(text: &str) -> Option<&'static str> {
    let long_run = |after: &str| {
        let is_part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        after.chars().take_while(is_part).count() >= 43
    };
    ["plx_live_", "plx_agent_", "plx_enroll_"]
        .into_iter()
        .find(|prefix| text.split(prefix).skip(1).any(long_run))
        // The first bytes of every token: `{"alg":"HS256"`.
        .or_else(|| text.contains("eyJhbGciOiJIUzI1NiI").then_some("a token"))
}
