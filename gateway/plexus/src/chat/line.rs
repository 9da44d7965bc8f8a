//! The line at which a person types a message: edited with the keys of a shell, with earlier messages on arrow-up. A paste is
//! part of the line, with its line breaks.
//!
//! Invariants: nothing is sent without an Enter at this line, so lines that came while a turn went on stand in it at first;
//! between two lines and at each end the terminal is as the shell had it, and between two Ctrl-C is a signal. What one read
//! brings behind an Enter, as a paste does at a terminal that does not mark it, is typed into the next line with its own Enters.
//!
//! Must not know: what becomes of a message.

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, raise},
        termios::{SetArg, tcgetattr, tcsetattr},
    },
    unistd::{getpgrp, read, tcgetpgrp},
};
use plexus_client::out;
use rustyline::{Behavior, Config, Editor, error::ReadlineError, history::MemHistory};
use std::{
    ffi::OsStr,
    io,
    os::fd::AsFd as _,
    process,
    sync::{Mutex, Once, PoisonError},
    thread,
};
use tokio::sync::oneshot;

/// Status of a command that a signal ended, where that signal was to be ignored: as of SIGTERM.
const SIGNALLED: i32 = 143;

/// One for the whole command: it keeps what was typed beyond an Enter.
static EDITOR: Mutex<Option<Editor<(), MemHistory>>> = Mutex::new(None);

/// An answer to the prompt.
pub(super) enum Typed {
    Words(String),
    CtrlC,
    /// The input ended, or the terminal is gone.
    End,
}

/// Whether a line can be edited at a terminal of this kind. At the others rustyline asks on standard output, and drops what
/// was typed before.
pub(super) fn can_edit(kind: &OsStr) -> bool {
    let plain = ["dumb", "cons25", "emacs"];
    !plain.iter().any(|one| kind.eq_ignore_ascii_case(one))
}

/// Waits for one message. `kept` stands in the line at first.
pub(super) async fn read_message(kept: String) -> Typed {
    static RESTORES: Once = Once::new();
    RESTORES.call_once(restore_at_signal);
    let (tell, typed) = oneshot::channel();
    // Beside the runtime, which notices meanwhile that the gateway closed a connection.
    thread::spawn(move || tell.send(edited(&kept)));
    match typed.await {
        Ok(Ok(words)) => Typed::Words(words),
        Ok(Err(ReadlineError::Interrupted)) => Typed::CtrlC,
        Ok(Err(ReadlineError::Eof)) | Err(_) => Typed::End,
        Ok(Err(error)) => {
            out::say(&format!("the terminal cannot be read: {error}"));
            Typed::End
        }
    }
}

/// From now on a signal from elsewhere that ends the command leaves the terminal as it is now. The threads that begin later
/// inherit that it waits for the one here.
fn restore_at_signal() {
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let Ok(before) = tcgetattr(io::stdin()) else {
        return;
    };
    if ends.thread_block().is_err() {
        return;
    }
    thread::spawn(move || {
        let signal = ends.wait();
        // In the background the terminal is another's, and setting it would stop this.
        if tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp()) {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
        }
        let _ = ends.thread_unblock();
        if signal.and_then(raise).is_ok() {
            // It was ignored, and would be from now on.
            process::exit(SIGNALLED);
        }
    });
}

fn edited(kept: &str) -> rustyline::Result<String> {
    let mut editor = EDITOR.lock().unwrap_or_else(PoisonError::into_inner);
    let editor = match &mut *editor {
        Some(editor) => editor,
        none => {
            // Standard output may be a file.
            let config = Config::builder()
                .behavior(Behavior::PreferTerm)
                .auto_add_history(true)
                .build();
            let history = MemHistory::with_config(&config);
            none.insert(Editor::with_history(config, history)?)
        }
    };
    editor.readline_with_initial("> ", (kept, ""))
}

/// The lines that were typed while none was asked for, without the last line break; none where the input ended instead.
pub(super) fn typed_meanwhile() -> Option<String> {
    let stdin = io::stdin();
    let mut typed = Vec::new();
    let mut part = [0; 4096];
    loop {
        let mut waiting = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            break;
        }
        match read(&stdin, &mut part) {
            Ok(0) if typed.is_empty() => return None,
            Ok(0) | Err(_) => break,
            Ok(length) => typed.extend(part.iter().take(length)),
        }
    }
    let typed = String::from_utf8_lossy(&typed);
    Some(typed.trim_end_matches('\n').to_owned())
}
