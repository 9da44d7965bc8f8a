//! A terminal with a person in front of it: a real pseudo-terminal, and the picture that a real one would show.

use crate::waiting::{ended, until, until_true};
use crate::{binaries, programs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the program wrote: the picture that it makes, and the bytes themselves.
struct Shown {
    picture: vt100::Parser,
    bytes: Vec<u8>,
    /// How many of the bytes are in the picture: a drawing that is under way is not shown before it is whole.
    drawn: usize,
}

impl Shown {
    fn take(&mut self, bytes: &[u8]) {
        const BEGIN: &[u8] = b"\x1b[?2026h";
        const END: &[u8] = b"\x1b[?2026l";
        self.bytes.extend(bytes);
        let new = &self.bytes[self.drawn..];
        let last = |mark: &[u8]| new.windows(mark.len()).rposition(|at| at == mark);
        let whole = match (last(BEGIN), last(END)) {
            (Some(begun), Some(ended)) if ended > begun => new.len(),
            (Some(begun), _) => begun,
            // The mark itself may come in two parts.
            (None, _) => new
                .iter()
                .rposition(|byte| *byte == 0x1b)
                .filter(|at| BEGIN.starts_with(&new[*at..]))
                .unwrap_or(new.len()),
        };
        self.picture.process(&new[..whole]);
        self.drawn += whole;
    }
}

/// A program on a terminal of its own.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Shown>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    /// Starts `command` on a terminal of so many columns and rows; where it says 0 columns, its picture has 400.
    ///
    /// # Panics
    /// Where the system has no pseudo-terminals.
    #[must_use]
    #[track_caller]
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let keyboard = File::from(openpt(flags).expect("a pseudo-terminal"));
        grantpt(&keyboard).expect("its other end is ours");
        unlockpt(&keyboard).expect("its other end opens");
        let name = ptsname(&keyboard, Vec::new()).expect("its other end has a name");
        let other = || {
            let path = OsStr::from_bytes(name.as_bytes());
            let opened = OpenOptions::new().read(true).write(true).open(path);
            opened.expect("the other end")
        };
        tcsetwinsize(&keyboard, size(columns, rows)).expect("a size");
        let mut started = Command::new(binaries::path("plexus-on-terminal"));
        started.arg(command.get_program()).args(command.get_args());
        started.env_clear().env("TERM", "xterm-256color");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            started.current_dir(folder);
        }
        started.stdin(other()).stdout(other()).stderr(other());
        let child = started.spawn().expect("the program starts");
        drop(started);
        let wide = some(400);
        let shown = Arc::new(Mutex::new(Shown {
            picture: vt100::Parser::new(some(rows), NonZeroU16::new(columns).unwrap_or(wide), 0),
            bytes: Vec::new(),
            drawn: 0,
        }));
        let (mut screen, into) = (
            keyboard.try_clone().expect("a second handle"),
            shown.clone(),
        );
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end of the last program on it reads as an error on Linux, as an end elsewhere.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                let mut shown = into.lock().unwrap_or_else(PoisonError::into_inner);
                shown.take(&buffer[..count]);
            }
        });
        Self {
            child,
            keyboard,
            shown,
            reader: Some(reader),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The picture, a line for each row.
    #[must_use]
    pub fn picture(&self) -> String {
        self.shown().picture.screen().contents()
    }
    /// Its rows as they stand below one another: a line that the terminal itself went on with is several.
    #[must_use]
    pub fn rows(&self) -> Vec<String> {
        let shown = self.shown();
        let screen = shown.picture.screen();
        let (_, columns) = screen.size();
        screen.rows(0, columns.get()).collect()
    }
    /// All bytes that were written so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.shown().bytes.clone()
    }
    /// Whether any cell has a colour of its own.
    #[must_use]
    pub fn is_coloured(&self) -> bool {
        self.colour_of(|_| true).is_some()
    }
    /// The colour of the first coloured cell in a row whose text fits.
    #[must_use]
    pub fn colour_of(&self, fits: impl Fn(&str) -> bool) -> Option<vt100::Color> {
        let shown = self.shown();
        let screen = shown.picture.screen();
        let (rows, columns) = (screen.size().0.get(), screen.size().1.get());
        let texts: Vec<String> = screen.rows(0, columns).collect();
        (0..rows)
            .filter(|row| texts.get(usize::from(*row)).is_some_and(|text| fits(text)))
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .filter_map(|(row, column)| screen.cell(row, column))
            .map(vt100::Cell::fgcolor)
            .find(|colour| *colour != vt100::Color::Default)
    }
    /// Whether the program has the other screen, which it has to give back.
    #[must_use]
    pub fn has_other_screen(&self) -> bool {
        self.shown().picture.screen().alternate_screen()
    }
    /// Whether the cursor is hidden.
    #[must_use]
    pub fn hides_cursor(&self) -> bool {
        self.shown().picture.screen().hide_cursor()
    }
    /// Whether the terminal is as a shell needs it: lines are edited and echoed.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[must_use]
    #[track_caller]
    pub fn is_cooked(&self) -> bool {
        use rustix::termios::{LocalModes, tcgetattr};
        let modes = tcgetattr(&self.keyboard).expect("its modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
    /// Waits until the picture has a text; gives the picture.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn until_shows(&self, text: &str) -> String {
        self.until_fits(text, |picture| picture.contains(text))
    }
    /// Waits until the picture fits; gives it.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn until_fits(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let last = std::cell::RefCell::new(String::new());
        let guard = Tell(&last);
        let found = until(&format!("{what} on the screen"), || {
            let picture = self.picture();
            last.borrow_mut().clone_from(&picture);
            fits(&picture).then_some(picture)
        });
        drop(guard);
        found
    }
    /// Types: keys as bytes.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn keys(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the keyboard works");
    }
    /// Changes its size, as dragging its window does.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn resize(&self, columns: u16, rows: u16) {
        self.shown()
            .picture
            .screen_mut()
            .set_size(some(rows), some(columns));
        tcsetwinsize(&self.keyboard, size(columns, rows)).expect("a new size");
    }
    /// Sends a signal.
    ///
    /// # Panics
    /// When the program is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("the program is there");
    }
    /// Waits until the program has ended.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let status = ended("the program on the terminal", &mut self.child);
        if let Some(reader) = self.reader.take() {
            until_true("the end of the screen", || reader.is_finished());
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A terminal with a shell in it that knows nothing of Plexus.
pub struct Shell {
    /// Its screen and its keyboard.
    pub terminal: Terminal,
    prompt: &'static str,
}

impl Shell {
    /// Opens it; `home` is the person's folder, and `prompt` is what the shell says when it can be typed to.
    ///
    /// # Panics
    /// Where the system has no pseudo-terminals.
    #[must_use]
    #[track_caller]
    pub fn open(home: &Path, prompt: &'static str, columns: u16, rows: u16) -> Self {
        let mut shell = programs::command(Path::new("/bin/sh"), home);
        shell
            .arg("-i")
            .env_remove("NO_COLOR")
            .env("PATH", "/usr/bin:/bin")
            .env("PS1", prompt)
            .env("PS2", "");
        let terminal = Terminal::start(&shell, columns, rows);
        terminal.until_shows(prompt);
        Self { terminal, prompt }
    }
    /// Types a line.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn types(&mut self, line: &str) {
        self.terminal.keys(&format!("{line}\r"));
    }
    /// Types a line; gives the screen once it can be typed to again.
    ///
    /// # Panics
    /// When that does not come.
    #[track_caller]
    pub fn runs(&mut self, line: &str) -> String {
        let prompts = |picture: &str| picture.matches(self.prompt.trim_end()).count();
        let before = prompts(&self.terminal.picture());
        self.terminal.keys(&format!("{line}\r"));
        self.until_ready(line, |picture| prompts(picture) > before)
    }
    /// Waits until the picture fits and the shell can be typed to; gives the picture.
    ///
    /// # Panics
    /// When that does not come.
    #[track_caller]
    pub fn until_ready(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let prompt = self.prompt.trim_end();
        self.terminal.until_fits(what, |picture| {
            fits(picture) && picture.trim_end().ends_with(prompt)
        })
    }
}

/// Shows the last picture where a test fails.
struct Tell<'p>(&'p std::cell::RefCell<String>);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the screen\n{}", self.0.borrow());
        }
    }
}

fn some(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).expect("a terminal has cells")
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
