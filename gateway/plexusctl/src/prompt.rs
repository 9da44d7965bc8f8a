//! Questions to the person at the terminal, on standard error: what a command prints stays apart.
//!
//! Invariant: a signal at a question, such as Ctrl-C, is no answer: it ends the command, which says first what was not done.
//!
//! Must not know: what the answers are for.

use crate::{owner::Desk, screen::lines::laid};
use nix::sys::{
    pthread::pthread_kill,
    signal::{SigSet, SigmaskHow, Signal, raise},
};
use plexus_client::{Exit, Stop, out, text};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::{
    io,
    os::unix::thread::JoinHandleExt as _,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use zeroize::Zeroizing;

/// How many characters of a text of others a question holds.
pub(crate) const NAMED: usize = 200;

/// The words of a command that ends at a question, where no others are given.
pub(crate) const UNCHANGED: &str = "nothing was changed";

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
    if is_yes(&format!("{question}?"), UNCHANGED) {
        return Ok(());
    }
    let why = "you did not confirm; nothing was changed";
    Err(Stop::new(Exit::Refused, "not_confirmed", why))
}

/// Shows a question and reads the answer: `y` and `yes` are yes; `n`, `no`, nothing and a closed standard input are no. Another
/// answer is asked for again. `undone` says after Ctrl-C what was not done.
pub(crate) fn is_yes(question: &str, undone: &'static str) -> bool {
    unless_ended(undone, None, || {
        out::say(&laid(&format!("{question} [y/N]")));
        loop {
            let answer = typed().unwrap_or_default();
            match answer.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => return true,
                "" | "n" | "no" => return false,
                _ => out::say("type y for yes, or n for no"),
            }
        }
    })
}

/// Asks for one line that is not empty.
///
/// # Errors
/// Standard input ends.
pub(crate) fn line(label: &str) -> Result<String, Stop> {
    unless_ended(UNCHANGED, None, || {
        loop {
            ask(label);
            let answer = typed().ok_or_else(left)?;
            if !answer.trim().is_empty() {
                return Ok(answer.trim().to_owned());
            }
        }
    })
}

/// Asks for one line; an empty one is `default`.
///
/// # Errors
/// Standard input ends.
pub(crate) fn line_or(label: &str, default: &str) -> Result<String, Stop> {
    let answer = unless_ended(UNCHANGED, None, || {
        ask(&format!("{label} [{default}]"));
        typed().ok_or_else(left)
    })?;
    Ok(match answer.trim() {
        "" => default.to_owned(),
        answer => answer.to_owned(),
    })
}

/// A line that is typed; none where standard input ends.
fn typed() -> Option<String> {
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    matches!(read, Ok(1..)).then_some(line)
}

/// Asks, and reads the answer. A signal that ends a command does so here as well, after one line that says what was not done. Where the
/// terminal does not show what is typed, `shown` are its settings before; Ctrl-Z ends the command too there.
fn unless_ended<T>(undone: &'static str, shown: Option<Termios>, asks: impl FnOnce() -> T) -> T {
    let ends = [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ];
    let mut ends: SigSet = ends.into_iter().collect();
    // A signal of the others that is ignored here would not wake the watcher on macOS.
    ends.add(WAKES);
    if shown.is_some() {
        ends.add(Signal::SIGTSTP);
    }
    let Ok(before) = ends.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
        return asks();
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let is_answered = Arc::clone(&is_over);
    let watcher = thread::spawn(move || {
        let signal = ends.wait();
        // An answer right after a signal is none.
        if signal == Ok(WAKES) && is_answered.load(Ordering::Relaxed) {
            return;
        }
        if let Some(shown) = shown {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &shown);
        }
        out::say(&format!("\n{undone}"));
        // A shell sees that a signal ended this, and leaves its loop.
        let _ = ends.thread_unblock();
        let _ = signal.and_then(raise);
        process::exit(INTERRUPTED)
    });
    let answer = asks();
    is_over.store(true, Ordering::Relaxed);
    let _ = pthread_kill(watcher.as_pthread_t(), WAKES);
    // Where a signal came first, this does not return.
    let _ = watcher.join();
    // One that waits still ends the command here.
    let _ = before.thread_set_mask();
    answer
}

/// Asks for a secret, which is not shown.
///
/// # Errors
/// Standard input is no terminal, or nothing is typed.
pub(crate) fn secret(label: &str) -> Result<Zeroizing<String>, Stop> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).map_err(unusable)?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    let mut line = Zeroizing::new([0; MAX_LINE]);
    let read = unless_ended(UNCHANGED, Some(before.clone()), || {
        let _restored = Restored(&stdin, before);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        ask(label);
        rustix::io::read(&stdin, &mut line[..])
    });
    let length = read.map_err(unusable)?;
    let line = line[..length]
        .strip_suffix(b"\n")
        .unwrap_or(&line[..length]);
    if line.is_empty() {
        return Err(left());
    }
    match std::str::from_utf8(line) {
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(_) => Err(Stop::usage("what was typed is no text")),
    }
}

/// Tells the watcher that the answer is there. From elsewhere it ends the command, as it would without a question.
const WAKES: Signal = Signal::SIGUSR1;

/// The exit status of a command that Ctrl-C ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// As much as a terminal gives in a line, in bytes.
const MAX_LINE: usize = 4_096;

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
