//! The same findings as a text that can be shown to strangers.
//!
//! What is left out: the home folder's path (`~`), the folders of sources (`<folder of ID>`), agents' names and sources'
//! ids, which are made of folders' names (a short hash, so that two lines about one of them can be told to be; an agent
//! that is called as its type and a source that is called as its connector keep that), anything that looks like a
//! credential of ours. Findings name no note and no file of a source.

use super::{Finding, gateway::Daemon};
use crate::integration::Kind;
use crate::owner::{Desk, list_of, text_of};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::Digest;
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

pub(super) fn text(
    desk: &Desk,
    daemon: &Daemon,
    examined: Option<&Value>,
    findings: &[Finding],
) -> String {
    let mut hidden: Vec<(String, String)> = Vec::new();
    // Without a daemon the ledger says which there are.
    let examined = examined.map_or(&[][..], |seen| list_of(seen, "configured"));
    let mut hide = |id: &str, kind: &str, route: &mut dyn Iterator<Item = &str>| {
        let name = match kind.split('-').next() {
            Some(connector) if connector == id => id.to_owned(),
            _ => format!("source-{}", short(id)),
        };
        for folder in route.filter(|value| value.starts_with('/')) {
            hidden.push((folder.to_owned(), format!("<folder of {name}>")));
        }
        hidden.push((id.to_owned(), name));
    };
    for row in &daemon.sources {
        let source = &row.source;
        hide(source.id.as_str(), &source.kind, &mut source.texts());
    }
    for source in examined {
        let route = source["route"].as_object().into_iter().flatten();
        let mut texts = route.filter_map(|(_, value)| value.as_str());
        hide(text_of(source, "id"), text_of(source, "kind"), &mut texts);
    }
    let files = fs::read_dir(desk.home.path().join("agents"))
        .into_iter()
        .flatten();
    for file in files.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if let Some((agent, _)) = name.split_once('.') {
            hidden.push((agent.to_owned(), agent_shown(agent)));
        }
    }
    hidden.push((
        desk.home.path().to_string_lossy().into_owned(),
        "<state>".to_owned(),
    ));
    if let Some(home) = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|h| h.is_absolute())
    {
        hidden.push((home.to_string_lossy().into_owned(), "~".to_owned()));
    }
    let mut lines = vec![format!(
        "plexusctl {} on {} {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )];
    for finding in findings {
        lines.push(format!(
            "{:<4}  {}: {}",
            finding.level.word(),
            finding.name,
            finding.what
        ));
    }
    let told = lines
        .iter()
        .map(|line| text::line(&redacted(line, &hidden)));
    told.collect::<Vec<_>>().join("\n")
}

/// A type names nobody's agent, and stands in the rows of programs too.
fn agent_shown(agent: &str) -> String {
    match Kind::of(agent) {
        Some(_) => agent.to_owned(),
        None => format!("agent-{}", short(agent)),
    }
}

fn short(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()[..8].to_owned()
}

/// `line` without what is hidden, the longest first, and without anything of a credential's form.
fn redacted(line: &str, hidden: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = hidden.iter().filter(|(what, _)| what.len() > 1).collect();
    sorted.sort_by_key(|(what, _)| std::cmp::Reverse(what.len()));
    let mut line = line.to_owned();
    for (what, instead) in sorted {
        line = replaced(&line, what, instead);
    }
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some(at) = rest.find("plx_") {
        out.push_str(&rest[..at]);
        out.push_str("plx_…");
        let word = rest[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
        rest = word.map_or("", |end| &rest[at + end..]);
    }
    out + rest
}

/// Whole words only: an agent named `a` is not every letter.
fn replaced(line: &str, what: &str, instead: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(what) {
        let (before, after) = (&rest[..at], &rest[at + what.len()..]);
        let last = before
            .chars()
            .next_back()
            .or_else(|| out.chars().next_back());
        let whole = !last.is_some_and(word) && !after.chars().next().is_some_and(word);
        out.push_str(before);
        out.push_str(if whole { instead } else { what });
        rest = after;
    }
    out + rest
}

/// Prints it, or makes the file.
pub(super) fn write(file: &Path, report: &str) -> Result<(), Stop> {
    if file == Path::new("-") {
        return out::data(format!("{report}\n").as_bytes());
    }
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|e| Stop::new_file(file, &e))?;
    if let Err(error) = writeln!(made, "{report}") {
        // A part would pass for the whole.
        let _ = fs::remove_file(file);
        let why = format!("{}: {error}", file.display());
        return Err(Stop::new(Exit::Failed, "output", why));
    }
    out::say(&format!(
        "written: {}; read it before you send it",
        file.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_called_as_its_type_keeps_that() {
        assert_eq!(agent_shown("codex"), "codex");
        assert!(agent_shown("my-codex").starts_with("agent-"));
    }

    #[test]
    fn nothing_private_is_left() {
        let hidden = [
            ("/home/jo".to_owned(), "~".to_owned()),
            ("/home/jo/Diary".to_owned(), "<folder of notes>".to_owned()),
            ("cc".to_owned(), "agent-12345678".to_owned()),
        ];
        let line = "of cc: /home/jo/Diary is gone, /home/jo/.plexus stays, success; plx_agent_AbC-1, end /home/john";
        assert_eq!(
            redacted(line, &hidden),
            "of agent-12345678: <folder of notes> is gone, ~/.plexus stays, success; plx_…, end /home/john"
        );
    }
}
