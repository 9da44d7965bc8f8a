//! `sandbox_check` of libsystem_sandbox, which no header declares and browsers call.
#![expect(unsafe_code, reason = "no crate binds it")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};

/// What is named beside an operation: `enum sandbox_filter_type`, as WebKit declares it.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(super) enum Filter {
    Path = 1,
    GlobalName = 2,
    AppleEventDestination = 4,
    PreferenceDomain = 6,
}

type Check = unsafe extern "C" fn(libc::pid_t, *const c_char, c_int, ...) -> c_int;

/// The kernel's judgement of sandboxed processes.
pub(super) struct Kernel {
    check: Check,
    /// `SANDBOX_CHECK_NO_REPORT`: a refusal is not logged.
    unlogged: c_int,
}

impl Kernel {
    /// None where this system does not have it.
    pub(super) fn find() -> Option<Self> {
        let (check, unlogged) = (
            symbol(c"sandbox_check")?,
            symbol(c"SANDBOX_CHECK_NO_REPORT")?,
        );
        Some(Self {
            // SAFETY: the symbol is a function of a library that libSystem loads for the life of the process; it takes a process,
            // the name of an operation, a filter's kind, and what that kind needs.
            check: unsafe { std::mem::transmute::<*mut c_void, Check>(check) },
            // SAFETY: the symbol is a constant of the same library, an `enum sandbox_filter_type`, which is an `int`.
            unlogged: unsafe { *unlogged.cast::<c_int>() },
        })
    }

    /// Whether the process may do this; none where the kernel does not know.
    pub(super) fn allows(
        &self,
        pid: u32,
        operation: &str,
        filter: Filter,
        value: &str,
    ) -> Option<bool> {
        let (operation, value) = (CString::new(operation).ok()?, CString::new(value).ok()?);
        let kind = filter as c_int | self.unlogged;
        // SAFETY: both texts are C strings that outlive the call; each of these filters takes one text, and the call only reads.
        let answer =
            unsafe { (self.check)(pid.cast_signed(), operation.as_ptr(), kind, value.as_ptr()) };
        match answer {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        }
    }
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `name` is a C string that outlives the call; the handle asks what is loaded and loads nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
