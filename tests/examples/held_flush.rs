//! A disk that takes no flush of a secret, for one process: loaded before a daemon, a flush of a file in the folder `secrets`,
//! or of that folder, hangs for as long as the file is there that `PLEXUS_TEST_HELD_FLUSH` names and that says `file` or
//! `folder`. The file `asked` appears beside it when one hangs.

#[cfg(target_os = "linux")]
mod os {
    #![allow(unsafe_code, reason = "it stands in for functions of the C library")]
    #![allow(unreachable_pub, reason = "the linker reaches it")]

    use nix::libc;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    /// The C library's own, once it is let go.
    #[unsafe(no_mangle)]
    pub extern "C" fn fdatasync(file: libc::c_int) -> libc::c_int {
        flush(libc::SYS_fdatasync, file)
    }

    /// The C library's own, once it is let go.
    #[unsafe(no_mangle)]
    pub extern "C" fn fsync(file: libc::c_int) -> libc::c_int {
        flush(libc::SYS_fsync, file)
    }

    fn flush(call: libc::c_long, file: libc::c_int) -> libc::c_int {
        let held = std::env::var_os("PLEXUS_TEST_HELD_FLUSH").map(PathBuf::from);
        let what = std::fs::read_link(format!("/proc/self/fd/{file}"));
        if let (Some(held), Some(what)) = (held, what.ok().as_deref().and_then(kind)) {
            while std::fs::read_to_string(&held).is_ok_and(|holds| holds == what) {
                let _ = std::fs::write(held.with_file_name("asked"), "");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // SAFETY: both system calls take one descriptor, by value, and touch no memory of ours; `syscall` sets `errno`.
        let result = unsafe { libc::syscall(call, file) };
        libc::c_int::try_from(result).unwrap_or(-1)
    }

    fn kind(path: &Path) -> Option<&'static str> {
        let is_secrets = |path: &Path| path.ends_with("secrets");
        match path.parent() {
            _ if is_secrets(path) => Some("folder"),
            Some(folder) if is_secrets(folder) => Some("file"),
            _ => None,
        }
    }
}
