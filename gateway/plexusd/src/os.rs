//! What the daemon as a whole asks of the operating system beyond the standard library.
//!
//! Must not know: anything of the daemon.

/// Lets go of the pages of this program's own code that the start has brought in: reading arguments, compiling schemas,
/// checking the log are most of the code and are not needed again. What is needed comes back page by page, from the
/// system's cache. If the system has no such thing, nothing happens.
///
/// It changes what the system charges this process with (16 to 17 MB without it, 9 to 12 with), and that the system may use
/// the memory otherwise without asking; it frees nothing at once.
#[cfg(target_os = "linux")]
pub(crate) use linux::let_go_of_start;

#[cfg(not(target_os = "linux"))]
pub(crate) fn let_go_of_start() {}

pub(crate) use collected::{collect, is_ignored, let_go, raise_noted};
pub(crate) use inherited::started_with;

/// Signals that come to one thread, whichever hears them.
mod collected {
    #![expect(
        unsafe_code,
        reason = "a handler of a signal, and a signal to one thread, have no safe spelling"
    )]

    #[cfg(target_os = "macos")]
    use super::noted::NotedSignals;
    use nix::{
        libc,
        sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    };
    #[cfg(not(target_os = "macos"))]
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    /// The thread that they come to.
    #[cfg(not(target_os = "macos"))]
    static THREAD: AtomicUsize = AtomicUsize::new(0);
    /// Those that came to another thread.
    #[cfg(target_os = "macos")]
    static NOTED: NotedSignals = NotedSignals::none();
    /// How they were heard before.
    static BEFORE: Mutex<Vec<(Signal, SigAction)>> = Mutex::new(Vec::new());

    #[cfg(not(target_os = "macos"))]
    extern "C" fn pass_on(signal: libc::c_int) {
        // SAFETY: `pthread_kill` is one of the calls that a handler may make (POSIX), and Linux's takes no lock. The thread is the
        // one that called `collect`: the main thread, which lives as long as the process.
        unsafe { libc::pthread_kill(THREAD.load(Ordering::Relaxed) as libc::pthread_t, signal) };
    }

    /// `pthread_kill` walks a list of threads under a lock there, which the interrupted thread may hold: it is left to
    /// [`raise_noted`].
    #[cfg(target_os = "macos")]
    extern "C" fn pass_on(signal: libc::c_int) {
        NOTED.note(signal);
    }

    /// Has what came to another thread wait for the calling one, which holds it back. One that comes after this and before the
    /// exec is lost. Only macOS needs it.
    pub(crate) fn raise_noted() -> nix::Result<()> {
        #[cfg(target_os = "macos")]
        for signal in NOTED.take() {
            nix::sys::signal::raise(signal)?;
        }
        Ok(())
    }

    /// Whether a signal does nothing to this process, such as SIGHUP to one that `nohup` started.
    pub(crate) fn is_ignored(signal: Signal) -> bool {
        // SAFETY: a `sigaction` of zeros is a valid value: no handler, no flags, an empty mask.
        let mut was: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: without a new action the call changes nothing, and it writes to `was` alone, which outlives it.
        let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut was) };
        asked == 0 && was.sa_sigaction == libc::SIG_IGN
    }

    /// Has each of these signals wait for the calling thread, which holds them back, instead of being heard by another thread
    /// that does not: an exec keeps what waits for its own thread alone. One that is ignored stays so, over the exec too. To be
    /// called by the main thread.
    ///
    /// # Errors
    /// The system's; those before are collected.
    pub(crate) fn collect(signals: &[Signal]) -> nix::Result<()> {
        // One whose handler was still running at the end of an earlier try: it is long over.
        #[cfg(target_os = "macos")]
        drop(NOTED.take());
        #[cfg(not(target_os = "macos"))]
        {
            // SAFETY: it takes nothing and names the calling thread.
            let own = unsafe { libc::pthread_self() };
            THREAD.store(own as usize, Ordering::Relaxed);
        }
        let action = SigAction::new(
            SigHandler::Handler(pass_on),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in signals.iter().filter(|signal| !is_ignored(**signal)) {
            // SAFETY: the handler is one of the two above: one system call that is allowed there, or one change of an atomic. Neither
            // takes a lock.
            let was = unsafe { sigaction(*signal, &action) }?;
            before.push((*signal, was));
        }
        Ok(())
    }

    /// Has them heard as before.
    pub(crate) fn let_go() -> nix::Result<()> {
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((signal, was)) = before.pop() {
            // SAFETY: it is the action that was there, of a handler that is never taken away (tokio's), or the system's own.
            unsafe { sigaction(signal, &was) }?;
        }
        raise_noted()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ignored_signal_is_told_from_others() {
            // The standard library's start ignores it.
            assert!(is_ignored(Signal::SIGPIPE));
            assert!(!is_ignored(Signal::SIGTERM), "the control");
        }
    }
}

/// What a handler may do wherever it interrupts: nothing but to note.
#[cfg(any(target_os = "macos", test))]
mod noted {
    use nix::sys::signal::Signal;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Signals that have come, each once, as a set that a handler may add to.
    pub(super) struct NotedSignals(AtomicU32);

    impl NotedSignals {
        pub(super) const fn none() -> Self {
            Self(AtomicU32::new(0))
        }

        pub(super) fn note(&self, number: i32) {
            self.0.fetch_or(bit(number), Ordering::Relaxed);
        }

        /// Those noted so far, which are noted no more.
        pub(super) fn take(&self) -> impl Iterator<Item = Signal> {
            let noted = self.0.swap(0, Ordering::Relaxed);
            Signal::iterator().filter(move |signal| noted & bit(*signal as i32) != 0)
        }
    }

    /// Signals of both systems that have a name go from 1 to 31.
    const fn bit(number: i32) -> u32 {
        match number {
            1..=31 => 1 << number,
            _ => 0,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn noted_signals_are_taken_once_each() {
            let noted = NotedSignals::none();
            assert_eq!(noted.take().count(), 0);
            let all = [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGSYS];
            for signal in all.into_iter().chain(all) {
                noted.note(signal as i32);
            }
            for nothing in [0, -1, 32, 64, i32::MAX] {
                noted.note(nothing);
            }
            let mut taken: Vec<_> = noted.take().collect();
            taken.sort_unstable();
            let mut expected = all;
            expected.sort_unstable();
            assert_eq!(taken, expected);
            assert_eq!(noted.take().count(), 0);
        }
    }
}

mod inherited {
    #![expect(
        unsafe_code,
        reason = "a descriptor that is known by its number has no safe spelling"
    )]

    use nix::{
        fcntl::{FcntlArg, FdFlag, fcntl},
        libc,
    };
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};

    /// The descriptor `number`, if this process was started with it: it is open, no standard stream, not closed by an
    /// exec, and nobody has taken it. From here on an exec closes it. To be called before the first thread.
    pub(crate) fn started_with(number: RawFd) -> Option<OwnedFd> {
        if number <= libc::STDERR_FILENO {
            return None;
        }
        // SAFETY: F_GETFD takes no pointer; of a number that is no open descriptor it says EBADF (fcntl(2)).
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
            return None;
        }
        // SAFETY: `from_raw_fd` needs an open descriptor that nobody else owns. It is open, by the call above. Whatever
        // opens descriptors in this process (std, tokio, nix as we call it, redb) opens them closed by an exec; this one
        // is not, so it was there before the program's first line, and no value of this program owns it but the one
        // that is made here: what was taken is closed by an exec, and so not taken again.
        let own = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl(&own, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        Some(own)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::os::fd::{AsRawFd, IntoRawFd};

        #[test]
        fn what_this_process_opened_itself_is_not_taken_over() {
            let ours = std::fs::File::open("/dev/null").unwrap();
            assert!(started_with(ours.as_raw_fd()).is_none());
            for number in [-1, 0, 1, 2, RawFd::MAX] {
                assert!(started_with(number).is_none(), "{number}");
            }
        }

        #[test]
        fn what_it_was_started_with_is_taken_over_once() {
            let file = std::fs::File::open("/dev/null").unwrap();
            // As an exec leaves it: open, nobody's, and kept.
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            let number = file.into_raw_fd();
            let taken = started_with(number).unwrap();
            let flags = fcntl(&taken, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
            assert!(started_with(number).is_none());
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    #![expect(unsafe_code, reason = "advice on a mapping has no safe spelling")]

    use nix::libc;
    use std::{ops::Range, ptr};

    pub(crate) fn let_go_of_start() {
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
            return;
        };
        let Some(program) = std::env::current_exe().ok() else {
            return;
        };
        let program = program.to_string_lossy();
        for range in maps.lines().filter_map(|line| code_of(line, &program)) {
            // SAFETY: `madvise` with `MADV_DONTNEED` needs a page-aligned range of mapped memory that is not locked; the
            // range is one line of the kernel's own list of mappings. The mapping is private, backed by a file and not
            // writable, so no page of it differs from the file: what is dropped reads the same when it is next used,
            // by this thread or another (madvise(2)). Nothing is written through the pointer.
            let _ = unsafe {
                libc::madvise(
                    ptr::without_provenance_mut(range.start),
                    range.len(),
                    libc::MADV_DONTNEED,
                )
            };
        }
    }

    /// The addresses of a line of `/proc/self/maps`, if it is code of `program`: private, executable, not writable.
    fn code_of(line: &str, program: &str) -> Option<Range<usize>> {
        let mut fields = line.split_ascii_whitespace();
        let (addresses, permissions) = (fields.next()?, fields.next()?);
        if permissions != "r-xp" || !line.ends_with(program) {
            return None;
        }
        let (start, end) = addresses.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(start)?..address(end)?).filter(|range| range.start < range.end)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_code_of_the_program_itself_is_let_go() {
            let line = |permissions: &str, path: &str| {
                format!("5648e09bd000-5648e14df000 {permissions} 002f1000 fe:00 100276  {path}")
            };
            let found = code_of(&line("r-xp", "/opt/plexusd"), "/opt/plexusd");
            assert_eq!(found, Some(0x5648_e09b_d000..0x5648_e14d_f000));
            for (permissions, path) in [
                ("rw-p", "/opt/plexusd"),
                ("r--p", "/opt/plexusd"),
                ("rwxp", "/opt/plexusd"),
                ("r-xp", "/lib/libc.so.6"),
                ("r-xp", ""),
            ] {
                assert_eq!(code_of(&line(permissions, path), "/opt/plexusd"), None);
            }
            assert_eq!(code_of("", "/opt/plexusd"), None);
        }

        #[test]
        fn the_program_goes_on() {
            let_go_of_start();
            assert_eq!("code".len(), 4, "and runs");
        }
    }
}
