//! A disk that turns read-only under one process, as a kernel makes it after errors of the device: loaded before a daemon,
//! every write, flush and change of name in its state directory (`state` in `HOME`) fails with `EROFS` while the file is
//! there that `PLEXUS_TEST_READ_ONLY` names. To remount a real one is refused as long as anybody has a file open to write, and the
//! daemon always has.

#[cfg(target_os = "linux")]
mod os {
    #![allow(unsafe_code, reason = "it stands in for functions of the C library")]
    #![allow(unreachable_pub, reason = "the linker reaches it")]

    use nix::errno::Errno;
    use nix::libc::{self, c_char, c_int, c_uint, c_void, mode_t, off_t, size_t, ssize_t};
    use std::ffi::{CStr, CString, OsStr};
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;

    struct Disk {
        folder: PathBuf,
        /// As the system takes it: looked for on every call.
        read_only: CString,
    }

    fn disk() -> Option<&'static Disk> {
        static DISK: OnceLock<Option<Disk>> = OnceLock::new();
        let found = DISK.get_or_init(|| {
            let folder = PathBuf::from(std::env::var_os("HOME")?).join("state");
            let read_only = std::env::var_os("PLEXUS_TEST_READ_ONLY")?.into_vec();
            let read_only = CString::new(read_only).ok()?;
            Some(Disk { folder, read_only })
        });
        found.as_ref()
    }

    /// The disk, if it is read-only now.
    fn read_only() -> Option<&'static Disk> {
        let disk = disk()?;
        // SAFETY: the name ends with a NUL and lives as long as the process; nothing is written to.
        let there = unsafe { libc::access(disk.read_only.as_ptr(), libc::F_OK) } == 0;
        there.then_some(disk)
    }

    fn is_refused(file: c_int) -> bool {
        read_only().is_some_and(|disk| {
            std::fs::read_link(format!("/proc/self/fd/{file}"))
                .is_ok_and(|path| path.starts_with(&disk.folder))
        })
    }

    /// # Safety
    /// `path` ends with a NUL.
    unsafe fn is_refused_at(path: *const c_char) -> bool {
        // SAFETY: the caller's.
        let path = unsafe { CStr::from_ptr(path) };
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        read_only().is_some_and(|disk| path.starts_with(&disk.folder))
    }

    fn refused() -> c_int {
        Errno::EROFS.set();
        -1
    }

    fn result(of: libc::c_long) -> c_int {
        c_int::try_from(of).unwrap_or(-1)
    }

    /// # Safety
    /// As `write(2)`.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn write(file: c_int, data: *const c_void, length: size_t) -> ssize_t {
        if is_refused(file) {
            return refused() as ssize_t;
        }
        // SAFETY: the arguments are the caller's own, and the system call takes the same ones; so with all below.
        unsafe { libc::syscall(libc::SYS_write, file, data, length) as ssize_t }
    }

    /// # Safety
    /// As `pwrite(2)`.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn pwrite64(
        file: c_int,
        data: *const c_void,
        length: size_t,
        at: off_t,
    ) -> ssize_t {
        if is_refused(file) {
            return refused() as ssize_t;
        }
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_pwrite64, file, data, length, at) as ssize_t }
    }

    /// As `ftruncate(2)`.
    #[unsafe(no_mangle)]
    pub extern "C" fn ftruncate64(file: c_int, length: off_t) -> c_int {
        if is_refused(file) {
            return refused();
        }
        // SAFETY: both arguments go by value.
        result(unsafe { libc::syscall(libc::SYS_ftruncate, file, length) })
    }

    /// As `fdatasync(2)`.
    #[unsafe(no_mangle)]
    pub extern "C" fn fdatasync(file: c_int) -> c_int {
        if is_refused(file) {
            return refused();
        }
        // SAFETY: the argument goes by value.
        result(unsafe { libc::syscall(libc::SYS_fdatasync, file) })
    }

    /// As `fsync(2)`.
    #[unsafe(no_mangle)]
    pub extern "C" fn fsync(file: c_int) -> c_int {
        if is_refused(file) {
            return refused();
        }
        // SAFETY: the argument goes by value.
        result(unsafe { libc::syscall(libc::SYS_fsync, file) })
    }

    /// # Safety
    /// As `open(2)`, whose third argument is only looked at where a file may be made.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        let writes = flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) != libc::O_RDONLY;
        // SAFETY: as above.
        if writes && unsafe { is_refused_at(path) } {
            return refused();
        }
        // SAFETY: as above.
        result(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) })
    }

    /// # Safety
    /// As `rename(2)`.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
        // SAFETY: as above.
        if unsafe { is_refused_at(from) || is_refused_at(to) } {
            return refused();
        }
        let (here, plain): (c_int, c_uint) = (libc::AT_FDCWD, 0);
        // SAFETY: as above.
        result(unsafe { libc::syscall(libc::SYS_renameat2, here, from, here, to, plain) })
    }

    /// # Safety
    /// As `unlink(2)`.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
        // SAFETY: as above.
        if unsafe { is_refused_at(path) } {
            return refused();
        }
        let plain: c_int = 0;
        // SAFETY: as above.
        result(unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, plain) })
    }

    /// # Safety
    /// As `mkdir(2)`.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
        // SAFETY: as above.
        if unsafe { is_refused_at(path) } {
            return refused();
        }
        // SAFETY: as above.
        result(unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) })
    }
}
