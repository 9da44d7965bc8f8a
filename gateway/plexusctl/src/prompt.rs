//! Questions to the person at the terminal, on standard error: what a command prints stays apart.
//!
//! Must not know: what the answers are for.

use crate::{owner::Desk, screen::lines::laid};
use plexus_client::{Exit, Stop, out, text};
use rustix::{
    io::retry_on_intr,
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use std::io;
use zeroize::Zeroizing;

/// How many characters of a text of others a question holds.
pub(crate) const NAMED: usize = 200;

/// Asks for a yes before something is done. `question` ends without a question mark, and names what it is about: the page
/// above it may be longer than the screen. `flag` gives the yes beforehand.
///
/// # Errors
/// There is nobody to ask, or the answer is no.
pub(crate) fn confirm(desk: &Desk, question: &str, flag: &str) -> Result<(), Stop> {
    if !desk.can_ask() {
        let why = format!("nobody can confirm here: add {flag}");
        return Err(Stop::usage(why));
    }
    if is_yes(&format!("{question}?")) {
        return Ok(());
    }
    let why = "you did not confirm; nothing was changed";
    Err(Stop::new(Exit::Refused, "not_confirmed", why))
}

/// Shows a question and reads the answer: `y` and `yes` are yes; `n`, `no`, nothing, Ctrl-C and a closed standard input are no.
/// Another answer is asked for again.
pub(crate) fn is_yes(question: &str) -> bool {
    out::say(&laid(&format!("{question} [y/N]")));
    loop {
        let Some(answer) = typed() else {
            return false;
        };
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return true,
            "" | "n" | "no" => return false,
            _ => out::say("type y for yes, or n for no"),
        }
    }
}

/// Asks for one line that is not empty.
///
/// # Errors
/// Standard input ends, or the person leaves with Ctrl-C.
pub(crate) fn line(label: &str) -> Result<String, Stop> {
    loop {
        ask(label);
        let answer = typed().ok_or_else(left)?;
        if !answer.trim().is_empty() {
            return Ok(answer.trim().to_owned());
        }
    }
}

/// Asks for one line; an empty one is `default`.
///
/// # Errors
/// Standard input ends, or the person leaves with Ctrl-C.
pub(crate) fn line_or(label: &str, default: &str) -> Result<String, Stop> {
    ask(&format!("{label} [{default}]"));
    let answer = typed().ok_or_else(left)?;
    Ok(match answer.trim() {
        "" => default.to_owned(),
        answer => answer.to_owned(),
    })
}

/// A line that is typed; none where standard input ends. At a terminal Ctrl-C is none too, so that the caller says what was not
/// done.
fn typed() -> Option<String> {
    let stdin = io::stdin();
    let Ok(before) = tcgetattr(&stdin) else {
        let mut line = String::new();
        let read = stdin.read_line(&mut line);
        return matches!(read, Ok(1..)).then_some(line);
    };
    // Ctrl-C ends the line and is a part of it; Ctrl-Z stays as it is.
    let mut caught = before.clone();
    let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
    caught.special_codes[SpecialCodeIndex::VEOL] = interrupt;
    caught.special_codes[SpecialCodeIndex::VINTR] = NO_KEY;
    tcsetattr(&stdin, OptionalActions::Now, &caught).ok()?;
    let mut line = [0; MAX_LINE];
    let read = retry_on_intr(|| rustix::io::read(&stdin, &mut line[..]));
    let _ = tcsetattr(&stdin, OptionalActions::Now, &before);
    let line = line.get(..read.ok()?).filter(|line| !line.is_empty())?;
    if interrupt != NO_KEY && line.contains(&interrupt) {
        out::say("");
        return None;
    }
    std::str::from_utf8(line).ok().map(str::to_owned)
}

/// Asks for a secret, which is not shown. Ctrl-C leaves, and the terminal is as it was.
///
/// # Errors
/// Standing input is no terminal, or the person leaves.
pub(crate) fn secret(label: &str) -> Result<Zeroizing<String>, Stop> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).map_err(unusable)?;
    let mut silent = before.clone();
    // Ctrl-C ends the line and is a part of it, so that this process sees it and puts the terminal back.
    silent.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
    silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
    let _restored = Restored(&stdin, before);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(unusable)?;
    ask(label);
    let mut line = Zeroizing::new([0; MAX_LINE]);
    let length = rustix::io::read(&stdin, &mut line[..]).map_err(unusable)?;
    let line = line[..length]
        .strip_suffix(b"\n")
        .unwrap_or(&line[..length]);
    if line.is_empty() || line.contains(&CTRL_C) {
        return Err(left());
    }
    match std::str::from_utf8(line) {
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(_) => Err(Stop::usage("what was typed is no text")),
    }
}

const CTRL_C: u8 = 3;

/// As much as a terminal gives in a line, in bytes.
const MAX_LINE: usize = 4_096;

/// What stands in a terminal's settings for no key (`_POSIX_VDISABLE`).
const NO_KEY: u8 = if cfg!(target_os = "macos") { 0xff } else { 0 };

fn ask(label: &str) {
    out::murmur(&format!("{}: ", text::line(label)));
}

fn unusable(error: rustix::io::Errno) -> Stop {
    Stop::usage(format!("the terminal cannot be used: {error}"))
}

/// Puts a terminal back.
struct Restored<'s>(&'s io::Stdin, Termios);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
        // The line break that was typed was not shown either.
        out::say("");
    }
}

fn left() -> Stop {
    let why = "nothing was typed; nothing was changed";
    Stop::new(Exit::Refused, "not_answered", why)
}
