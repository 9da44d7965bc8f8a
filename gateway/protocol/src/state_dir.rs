//! Names in the state directory (docs/reference/state-directory.md): what `plexusd` makes and repairs, and what the commands look at. One
//! list, so that no entry is made that nobody examines; and one way to make a folder, so that a power cut takes none.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

/// Folders, 0700, each after the one that holds it.
pub const FOLDERS: &[&str] = &[
    "secrets",
    "agents",
    "pending",
    "archive",
    "run",
    "run/agent",
    "run/owner",
    "logs",
    "workers",
];

/// Files, 0600 where they exist.
pub const FILES: &[&str] = &[
    "connection-key",
    "ledger.redb",
    "audit-heads.jsonl",
    "clock.json",
    "network.json",
    "runtime.json",
    "instance-id",
    "chat.json",
];

/// Makes a folder and those above it, as far as they are missing; each name is on the disk when this returns. Without that,
/// what is durable in a folder goes with it.
///
/// # Errors
/// The system's; folders that were made by then stay.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems refuse before they look, and macOS calls `/` a directory.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && above != Path::new(".") => {
            make_folder(above, mode)?;
            make_folder(path, mode)
        }
        made => made.and_then(|()| sync_name(path)),
    }
}

/// Brings to the disk that `path` was made, moved or removed: its name, without its content.
///
/// # Errors
/// The system's.
pub fn sync_name(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}
