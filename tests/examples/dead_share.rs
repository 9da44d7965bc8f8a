//! A network share that has gone, for one process: loaded before a daemon, a call that resolves a path on it hangs for as long
//! as the file is there that `PLEXUS_TEST_DEAD_SHARE` names. The share is the folder `share` beside that file; the file
//! `asked` appears there when somebody hangs.

#[cfg(target_os = "linux")]
mod os {
    #![allow(unsafe_code, reason = "it stands in for a function of the C library")]
    #![allow(unreachable_pub, reason = "the linker reaches it")]

    use nix::libc::{self, c_char};
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::time::Duration;

    type Realpath = unsafe extern "C" fn(*const c_char, *mut c_char) -> *mut c_char;

    fn next() -> Realpath {
        static NEXT: OnceLock<Realpath> = OnceLock::new();
        *NEXT.get_or_init(|| {
            // SAFETY: the name ends with a NUL.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"realpath".as_ptr()) };
            assert!(!found.is_null(), "the C library has realpath");
            // SAFETY: it is the C library's function of this name, and has its signature.
            unsafe { std::mem::transmute::<*mut libc::c_void, Realpath>(found) }
        })
    }

    /// # Safety
    /// As `realpath(3)`.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn realpath(path: *const c_char, into: *mut c_char) -> *mut c_char {
        if let Some(dead) = std::env::var_os("PLEXUS_TEST_DEAD_SHARE").map(PathBuf::from)
            && !path.is_null()
        {
            // SAFETY: the caller's path ends with a NUL.
            let asked = unsafe { CStr::from_ptr(path) };
            let asked = Path::new(OsStr::from_bytes(asked.to_bytes()));
            while asked.starts_with(dead.with_file_name("share")) && dead.exists() {
                let _ = std::fs::write(dead.with_file_name("asked"), "");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // SAFETY: the arguments are the caller's own.
        unsafe { next()(path, into) }
    }
}
