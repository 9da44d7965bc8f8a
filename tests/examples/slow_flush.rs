//! A disk whose flush takes long, for one process: loaded before it, every `fdatasync` and `fsync` takes
//! `PLEXUS_TEST_FLUSH_US` microseconds more. What a Mac's full flush costs is measured with it.

#[cfg(target_os = "linux")]
mod os {
    #![allow(unsafe_code, reason = "it stands in for functions of the C library")]
    #![allow(unreachable_pub, reason = "the linker reaches it")]

    use nix::libc;
    use std::sync::OnceLock;
    use std::time::Duration;

    /// The C library's own, and slower.
    #[unsafe(no_mangle)]
    pub extern "C" fn fdatasync(file: libc::c_int) -> libc::c_int {
        flush(libc::SYS_fdatasync, file)
    }

    /// The C library's own, and slower.
    #[unsafe(no_mangle)]
    pub extern "C" fn fsync(file: libc::c_int) -> libc::c_int {
        flush(libc::SYS_fsync, file)
    }

    fn flush(call: libc::c_long, file: libc::c_int) -> libc::c_int {
        // SAFETY: both system calls take one descriptor, by value, and touch no memory of ours; `syscall` sets `errno`.
        let result = unsafe { libc::syscall(call, file) };
        if result == 0 {
            std::thread::sleep(*longer());
        }
        libc::c_int::try_from(result).unwrap_or(-1)
    }

    fn longer() -> &'static Duration {
        static LONGER: OnceLock<Duration> = OnceLock::new();
        LONGER.get_or_init(|| {
            let us = std::env::var("PLEXUS_TEST_FLUSH_US").ok();
            Duration::from_micros(us.and_then(|us| us.parse().ok()).unwrap_or(0))
        })
    }
}
