//! Golden files: bodies that agents read, with what differs from run to run replaced, under `tests/goldens`.
//!
//! `PLEXUS_UPDATE_GOLDENS=1` writes what was seen; the difference is then reviewed like any other change.

use serde_json::Value;
use std::path::Path;

/// Replaces ids, times, ports, paths and credentials by placeholders of their kind.
#[must_use]
pub fn scrubbed(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(scrub_text(text)),
        Value::Array(members) => members.iter().map(scrubbed).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| {
                let scrubbed = match (name.as_str(), member) {
                    (
                        "uptime" | "pid" | "port" | "boundPort" | "seq" | "sequence",
                        Value::Number(_),
                    ) => Value::String(format!("<{name}>")),
                    ("version" | "runtimeVersion" | "build", Value::String(_)) => {
                        Value::String("<version>".into())
                    }
                    _ => scrubbed(member),
                };
                (name.clone(), scrubbed)
            })
            .collect(),
        other => other.clone(),
    }
}

/// The same for one text.
#[must_use]
pub fn scrub_text(text: &str) -> String {
    if text.starts_with("eyJ") && text.matches('.').count() == 2 {
        return "<jwt>".into();
    }
    let mut out = String::new();
    let mut rest = text;
    'text: while !rest.is_empty() {
        for (prefix, length, name) in KINDS {
            if rest.starts_with(prefix) {
                let body = &rest[prefix.len()..];
                let end = body.find(|c| !is_id(c)).unwrap_or(body.len());
                if end >= *length {
                    out.push_str(name);
                    rest = &body[end..];
                    continue 'text;
                }
            }
        }
        if let Some(after) = time(rest) {
            out.push_str("<time>");
            rest = after;
            continue;
        }
        if let Some(after) = digest(rest) {
            out.push_str("<digest>");
            rest = after;
            continue;
        }
        for host in ["127.0.0.1:", "localhost:"] {
            if let Some(port) = rest.strip_prefix(host) {
                let end = port
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(port.len());
                if end > 0 {
                    out.push_str(host);
                    out.push_str("<port>");
                    rest = &port[end..];
                    continue 'text;
                }
            }
        }
        if rest.starts_with("/tmp/") {
            let end = rest
                .find(|c: char| c.is_whitespace() || "\"',)".contains(c))
                .unwrap_or(rest.len());
            out.push_str("<path>");
            rest = &rest[end..];
            continue;
        }
        let first = rest.chars().next().unwrap_or_default();
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}

/// Prefix, least length of what follows, placeholder.
const KINDS: &[(&str, usize, &str)] = &[
    ("plx_live_", 48, "<connectionKey>"),
    ("plx_agent_", 43, "<pat>"),
    ("plx_enroll_", 43, "<code>"),
    ("sess_", 36, "<session>"),
    ("tok_", 36, "<token id>"),
    ("pend_", 36, "<pending id>"),
    ("run_", 36, "<run id>"),
    ("evt_", 36, "<event id>"),
];

fn is_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// `2026-01-31T08:15:00.000Z`
fn time(text: &str) -> Option<&str> {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd.dddZ";
    let bytes = text.as_bytes().get(..SHAPE.len())?;
    let fits = bytes.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    });
    fits.then(|| &text[SHAPE.len()..])
}

/// 64 lower-case hex digits.
fn digest(text: &str) -> Option<&str> {
    let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let bytes = text.as_bytes();
    (bytes.get(..64)?.iter().all(hex) && !bytes.get(64).is_some_and(hex)).then(|| &text[64..])
}

/// Compares with `tests/goldens/<name>.json`.
///
/// # Panics
/// When they differ, with the lines that do.
#[track_caller]
pub fn check(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("goldens")
        .join(format!("{name}.json"));
    hold(&path, &format!("{:#}\n", scrubbed(value)));
}

/// Compares a screen with `docs/images/<name>.txt`, which the pages show to a reader.
///
/// # Panics
/// When they differ, with the lines that do.
#[track_caller]
pub fn check_screen(name: &str, screen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
        .join("docs/images")
        .join(format!("{name}.txt"));
    let lines = screen.lines().map(|line| scrub_text(line.trim_end()));
    let lines: Vec<String> = lines.collect();
    hold(&path, &format!("{}\n", lines.join("\n").trim_end()));
}

/// Compares with `docs/images/<name>.svg`, but for the pictures that lie in it: a browser draws no two alike.
///
/// # Panics
/// When they differ, with the lines that do.
#[track_caller]
pub fn check_picture(name: &str, svg: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let path = root
        .expect("the workspace")
        .join(format!("docs/images/{name}.svg"));
    if std::env::var_os("PLEXUS_UPDATE_GOLDENS").is_some() {
        return hold(&path, svg);
    }
    let words = |svg: &str| {
        let lines = svg.lines().filter(|line| !line.starts_with("<image "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let (kept, seen) = (words(&kept), words(svg));
    assert!(kept == seen, "{}", differs(&path, &kept, &seen));
}

/// Compares with a file of the workspace.
///
/// # Panics
/// When they differ, with the lines that do.
#[track_caller]
pub fn check_file(name: &str, seen: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    hold(&root.expect("the workspace").join(name), seen);
}

/// Compares with what stands in a page of the workspace between `<!-- <name>: begin … -->` and `<!-- <name>: end -->`.
///
/// # Panics
/// When they differ, with the lines that do; where the page has no such place.
#[track_caller]
pub fn check_section(page: &str, name: &str, section: &str) {
    hold_section(page, name, section, str::to_owned);
}

/// The same for what happened on one day: words that have a digit in them, `ms` and `s`, less than a minute ago, and how far
/// words and lines are apart, are that day's, and so are the lines that `may_be`.
///
/// # Panics
/// When the other words differ, with the lines that do; where the page has no such place.
#[track_caller]
pub fn check_told(page: &str, name: &str, told: &str, may_be: impl Fn(&str) -> bool) {
    hold_section(page, name, told, |text| {
        let lines = text.lines().filter(|line| !may_be(line));
        let lines = lines.map(of_any_day);
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    });
}

fn of_any_day(line: &str) -> String {
    let word = |word: &str| match word {
        "ms" | "s" => "s".to_owned(),
        word if word.contains(|c: char| c.is_ascii_digit()) => "#".to_owned(),
        word => word.to_owned(),
    };
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    // What took some seconds took none elsewhere.
    let line = line.replace("< 1 s", "0 s");
    let line = (0..60).fold(line, |line, s| {
        let line = line.replace(&format!(" {s} s ago"), " just now");
        line.replace(&format!(" for {s} s "), " began just now ")
    });
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn hold_section(page: &str, name: &str, section: &str, read: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
        .join(page);
    // Two tests may write their sections of one page at a time.
    let page_lock = std::fs::File::open(&path).expect("the page");
    page_lock.lock().expect("its lock");
    let kept = std::fs::read_to_string(&path).expect("the page");
    let begin = kept.find(&format!("<!-- {name}: begin"));
    let begin = begin.and_then(|at| Some(at + kept[at..].find("-->\n")? + "-->\n".len()));
    let end = kept.find(&format!("<!-- {name}: end"));
    let (Some(begin), Some(end)) = (begin, end) else {
        panic!("{page} has no place for {name}");
    };
    if std::env::var_os("PLEXUS_UPDATE_GOLDENS").is_none() {
        let (kept, seen) = (read(&kept[begin..end]), read(&format!("{section}\n")));
        assert!(kept == seen, "{}", differs(&path, &kept, &seen));
        return;
    }
    hold(
        &path,
        &format!("{}{section}\n{}", &kept[..begin], &kept[end..]),
    );
}

#[track_caller]
fn hold(path: &Path, seen: &str) {
    if std::env::var_os("PLEXUS_UPDATE_GOLDENS").is_some() {
        std::fs::write(path, seen).expect("the golden can be written");
        return;
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == seen, "{}", differs(path, &kept, seen));
}

/// What a failed test says: the lines that differ, and where to look.
fn differs(path: &Path, kept: &str, seen: &str) -> String {
    let lines = similar::TextDiff::from_lines(kept, seen);
    let lines = lines.unified_diff().header("kept", "seen").to_string();
    format!(
        "{} differs; if the change is meant, set PLEXUS_UPDATE_GOLDENS=1 and review it\n{lines}",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_two_days_differ_by_more_than_seconds() {
        for (one, other, is_same) in [
            ("for writer, 17 s ago", "for writer, just now", true),
            ("done  1 s ago  spec", "done  11 s ago  spec", true),
            ("build  for 12 s  spec", "build  began just now  spec", true),
            ("took 300 ms", "took 2 s", true),
            ("up < 1 s, process", "up 3 s, process", true),
            ("for writer, 17 s ago", "for writer, 5 min ago", false),
            ("within 30 s", "within 30 min", false),
        ] {
            assert_eq!(of_any_day(one) == of_any_day(other), is_same, "{one}");
        }
    }

    #[test]
    fn what_differs_is_replaced_and_nothing_else() {
        let id = "0b1e4a5c-7d2f-4c3a-9e8b-1f2a3b4c5d6e";
        let value = json!({
            "at": "2026-01-31T08:15:00.000Z",
            "url": format!("http://127.0.0.1:40001/grants/status?pendingId=pend_{id}"),
            "key": format!("plx_live_{}", "a".repeat(48)),
            "digest": "0".repeat(64),
            "port": 40001,
            "text": "tok_short stays, ä stays, 2026 stays",
            "n": [1, null, true],
        });
        assert_eq!(
            scrubbed(&value),
            json!({
                "at": "<time>",
                "url": "http://127.0.0.1:<port>/grants/status?pendingId=<pending id>",
                "key": "<connectionKey>",
                "digest": "<digest>",
                "port": "<port>",
                "text": "tok_short stays, ä stays, 2026 stays",
                "n": [1, null, true],
            })
        );
    }
}
