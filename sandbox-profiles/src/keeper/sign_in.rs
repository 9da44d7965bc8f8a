//! The owner's own sign-in for a run: a copy in the run's scratch, from before its program starts until it has ended.
//!
//! Invariants: the copy lacks what renews the sign-in, so no run can renew it, or take it further than it lasts; the copy is
//! reached through no link; the file itself is only read.
//!
//! Must not know: whose sign-in it is, at which service.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde_json::Value;

use crate::children::SignIn;

/// Largest file of a sign-in, in bytes.
const LARGEST: u64 = 64 * 1024;

/// A copy that is there; removed when this is dropped.
pub(super) struct SignedIn {
    folder: File,
    name: String,
}

impl SignedIn {
    /// Puts the copy into `scratch`, in place of whatever had its name.
    ///
    /// # Errors
    /// One sentence for the owner.
    pub(super) fn copy(of: &SignIn, scratch: &Path) -> Result<Self, String> {
        let read = read(of).map_err(|error| {
            let from = of.from.display();
            format!("your sign-in in {from}: {error}; sign in with the program itself first")
        })?;
        let put = put(of, scratch, &read);
        put.map_err(|error| format!("the copy of your sign-in: {error}"))
    }
}

impl Drop for SignedIn {
    fn drop(&mut self) {
        // Gone already where the run removed it; one that kept it elsewhere could read it anyway.
        _ = unlinkat(&self.folder, &*self.name, UnlinkatFlags::NoRemoveDir);
    }
}

/// The file without what renews the sign-in.
fn read(of: &SignIn) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(&of.from)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is longer than 64 KiB"));
    }
    // The message of the parser could repeat a part of it.
    let mut whole: Value =
        serde_json::from_slice(&bytes).map_err(|_| io::Error::other("it is no JSON"))?;
    empty(&mut whole, &of.without);
    Ok(whole.to_string().into_bytes())
}

fn empty(value: &mut Value, members: &[String]) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match members.contains(name) {
                    true => *value = Value::String(String::new()),
                    false => empty(value, members),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| empty(value, members)),
        _ => {}
    }
}

fn put(of: &SignIn, scratch: &Path, bytes: &[u8]) -> io::Result<SignedIn> {
    let there = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let scratch: File = nix::fcntl::open(scratch, there, Mode::empty())?.into();
    match mkdirat(&scratch, &*of.folder, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let folder: File = openat(&scratch, &*of.folder, there, Mode::empty())?.into();
    match unlinkat(&folder, &*of.name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let new =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file: File = openat(&folder, &*of.name, new, mode)?.into();
    let signed_in = SignedIn {
        folder,
        name: of.name.clone(),
    };
    file.write_all(bytes)?;
    Ok(signed_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn copy_lacks_what_renews_it_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, scratch) = (dir.path().join("auth.json"), dir.path().join("scratch"));
        std::fs::create_dir(&scratch).unwrap();
        std::fs::write(
            &from,
            r#"{"tokens":{"access_token":"a","refresh_token":"r"},"n":null}"#,
        )
        .unwrap();
        let of = SignIn {
            from: from.clone(),
            folder: "agent".into(),
            name: "auth.json".into(),
            without: vec!["refresh_token".into()],
        };
        let copy = scratch.join("agent/auth.json");
        // A run before this one left a link to the owner's file in its place.
        std::fs::create_dir(scratch.join("agent")).unwrap();
        std::os::unix::fs::symlink(&from, &copy).unwrap();
        let signed_in = SignedIn::copy(&of, &scratch).unwrap();
        let read = std::fs::read_to_string(&copy).unwrap();
        assert!(read.contains(r#""access_token":"a""#), "{read}");
        assert!(read.contains(r#""refresh_token":"""#), "{read}");
        let mode = std::fs::symlink_metadata(&copy).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600);
        drop(signed_in);
        assert!(!copy.exists());
        assert!(std::fs::read_to_string(&from).unwrap().contains("\"r\""));

        std::fs::remove_dir(scratch.join("agent")).unwrap();
        std::os::unix::fs::symlink(dir.path(), scratch.join("agent")).unwrap();
        let refused = SignedIn::copy(&of, &scratch).err().unwrap();
        assert!(refused.contains("the copy of your sign-in"), "{refused}");
        std::fs::write(&from, "no JSON: secret").unwrap();
        let refused = SignedIn::copy(&of, &scratch).err().unwrap();
        assert!(
            refused.contains("it is no JSON") && !refused.contains("secret"),
            "{refused}"
        );
    }
}
