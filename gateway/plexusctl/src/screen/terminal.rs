//! The terminal, taken and given back.
//!
//! ```text
//! as it was ─open─▶ ours (raw, another screen, no cursor) ─drop, or panic─▶ as it was
//! ```
//! Invariant: there is no way out of this program that leaves the terminal ours, but SIGKILL.

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{DisableBracketedPaste, EnableBracketedPaste},
        execute, queue,
        terminal::{
            BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen,
            LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
        },
    },
};
use std::{
    io::{self, Stdout, stdout},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether the terminal is ours.
static OURS: AtomicBool = AtomicBool::new(false);

/// Whether the terminal is a screen of ours now: no line is written to it then.
pub(crate) fn is_taken() -> bool {
    OURS.load(Ordering::SeqCst)
}

/// The terminal while it is ours.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn open() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            // Before the message, so that it is read on the screen that stays.
            panic::set_hook(Box::new(move |what| {
                give_back();
                before(what);
            }));
        });
        OURS.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste))
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws one picture, which appears whole.
    pub(crate) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        queue!(stdout(), BeginSynchronizedUpdate)?;
        let drawn = self.terminal.draw(picture).map(drop);
        execute!(stdout(), EndSynchronizedUpdate)?;
        drawn
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once. What cannot be given back is gone: nothing is left to be told.
fn give_back() {
    if OURS.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            stdout(),
            EndSynchronizedUpdate,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::Screen;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::{
        fs::{File, OpenOptions},
        io::Read,
        process::Command,
    };

    /// Says to the same test, in a process of its own, that it is on a terminal and shall panic there.
    const PANIC: &str = "PLEXUSCTL_TEST_PANIC";
    const NAME: &str = "screen::terminal::tests::a_panic_gives_the_terminal_back_before_it_speaks";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_speaks() {
        if std::env::var_os(PANIC).is_some() {
            let mut screen = Screen::open().unwrap();
            screen.draw(|_| panic!("in the middle")).unwrap();
            return;
        }
        let mut terminal = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new())
            .unwrap()
            .into_string()
            .unwrap();
        let other = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(&name)
                .unwrap()
        };
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", NAME, "--nocapture"])
            .env(PANIC, "1")
            .env("TERM", "xterm");
        child.stdin(other()).stdout(other()).stderr(other());
        let mut running = child.spawn().unwrap();
        // It holds the other end open, and the reading below ends with that.
        drop(child);
        let reader = std::thread::spawn(move || {
            let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = terminal.read(&mut buffer) {
                all.extend(&buffer[..count]);
            }
            (terminal, all)
        });
        assert!(!running.wait().unwrap().success());
        let (terminal, all) = reader.join().unwrap();
        let all = String::from_utf8_lossy(&all);
        let place = |what: &str| {
            all.find(what)
                .unwrap_or_else(|| panic!("{what:?} in {all:?}"))
        };
        assert!(place("\x1b[?1049h") < place("\x1b[?1049l"));
        assert!(place("\x1b[?1049l") < place("in the middle"), "{all:?}");
        let modes = rustix::termios::tcgetattr(&terminal).unwrap().local_modes;
        assert!(
            modes.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO)
        );
    }
}
