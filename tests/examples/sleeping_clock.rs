//! A machine that slept, for one process: loaded before the daemon, it moves the wall clock and the boot clock by what
//! `PLEXUS_TEST_CLOCK` says, and leaves the clock of awake time alone. `libfaketime` moves either the wall clock only or
//! every clock, which is not what a suspend does.
//!
//! The variable names a file with two numbers of seconds: what to add to the wall clock, and to the boot clock.

#[cfg(target_os = "linux")]
mod os {
    #![allow(unsafe_code, reason = "it stands in for a function of the C library")]
    #![allow(unreachable_pub, reason = "the linker reaches it")]

    use nix::libc;

    /// The C library's own, with two clocks moved.
    ///
    /// # Safety
    /// As `clock_gettime(2)`: `at` is null or points to a `timespec` that may be written.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn clock_gettime(
        id: libc::clockid_t,
        at: *mut libc::timespec,
    ) -> libc::c_int {
        // SAFETY: the arguments are the caller's own, and the system call takes the same ones.
        let result = unsafe { libc::syscall(libc::SYS_clock_gettime, id, at) };
        let moved = match id {
            libc::CLOCK_REALTIME => shift(0),
            libc::CLOCK_BOOTTIME => shift(1),
            _ => 0,
        };
        if result == 0 && moved != 0 {
            // SAFETY: the call succeeded, so `at` is not null and holds what the kernel wrote; it is the caller's to read
            // only when this function has returned.
            unsafe { (*at).tv_sec += moved };
        }
        libc::c_int::try_from(result).unwrap_or(-1)
    }

    fn shift(which: usize) -> i64 {
        let file = std::env::var_os("PLEXUS_TEST_CLOCK");
        let text = file.and_then(|file| std::fs::read_to_string(file).ok());
        let number = |text: &str| text.split_whitespace().nth(which)?.parse().ok();
        text.as_deref().and_then(number).unwrap_or(0)
    }
}
