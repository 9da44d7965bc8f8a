//! What `(import "bsd.sb")` stands for on Linux: the one list of what any program needs to start.
//!
//! Files are named one by one: a folder of libraries also holds programs, modules and other people's data.
//! Entries that this machine does not have grant nothing. No `/etc/passwd`, no `/proc`, no `/sys`.

/// What a base entry may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Executed and mapped.
    Interpreter,
    /// Read. A folder: it and all below.
    Read,
    /// Read and written.
    ReadWrite,
}

/// ELF interpreters: the kernel starts one for every dynamic executable.
const INTERPRETERS: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Where distributions keep the C library: Debian and Ubuntu, Fedora and openSUSE, Arch and Alpine.
const LIBRARY_FOLDERS: &[&str] = &[
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// What a Rust program links: the C library, its older parts, and the unwinder.
const LIBRARIES: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
];

/// The rest: the loader's index, randomness, the time zone.
const OTHER: &[(&str, Use)] = &[
    ("/etc/ld.so.cache", Use::Read),
    ("/dev/null", Use::ReadWrite),
    ("/dev/urandom", Use::Read),
    ("/etc/localtime", Use::Read),
    ("/usr/share/zoneinfo", Use::Read),
];

/// The entries as rules of the profile language, for people and for comparing one version with the next. Each grants
/// something for itself: a list without some of them is narrower.
pub(super) fn rules() -> Vec<String> {
    let rule = |(path, usage): (String, Use)| {
        let operations = match usage {
            Use::Interpreter => "file-read* process-exec*",
            Use::Read => "file-read*",
            Use::ReadWrite => "file-read* file-write-data",
        };
        format!("(allow {operations} (subpath \"{path}\"))")
    };
    entries().map(rule).collect()
}

/// All entries. Paths may lead through links, which are followed: distributions lay their files out so.
pub(super) fn entries() -> impl Iterator<Item = (String, Use)> {
    let interpreters = INTERPRETERS
        .iter()
        .map(|path| ((*path).to_owned(), Use::Interpreter));
    let libraries = LIBRARY_FOLDERS.iter().flat_map(|folder| {
        LIBRARIES
            .iter()
            .map(move |name| (format!("{folder}/{name}"), Use::Read))
    });
    let other = OTHER
        .iter()
        .map(|(path, usage)| ((*path).to_owned(), *usage));
    interpreters.chain(libraries).chain(other)
}
