//! A real disk of a few megabytes, for one test: a tmpfs that only the test and what it starts can see.
//!
//! ```text
//! with ─ this thread's own mounts ─▶ mounted ─▶ story
//!   └ not allowed ─ the test again, as root of a user namespace ─▶ mounted ─▶ story
//!                     └ not allowed either ─▶ not run, and said so (module `not_run`)
//! ```
//! Invariant: nothing is mounted where another process looks, and the mount goes with its last user: a test that is killed
//! leaves an empty folder.

use crate::not_run;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Says to a test that it is root of a user namespace, and is not to try for another one.
const INSIDE: &str = "PLEXUS_SMALL_DISK";

/// A mounted disk.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Runs `story` on a disk of so many bytes. `test` is the test's own name, as `--exact` takes it.
    ///
    /// # Panics
    /// Where the story does.
    #[track_caller]
    pub fn with(test: &str, bytes: u64, story: impl FnOnce(&Self) + Send) {
        // A thread of its own: the harness may run a test on the main thread, whose mounts are everybody's.
        let mounted = std::thread::scope(|scope| {
            let thread = scope.spawn(|| match Self::mount(bytes) {
                Ok(disk) => {
                    story(&disk);
                    Ok(())
                }
                Err(error) => Err(error),
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let Err(error) = mounted else { return };
        if std::env::var_os(INSIDE).is_some() {
            not_run::say(test, &format!("no tmpfs can be mounted here: {error}"));
            return;
        }
        let again = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().expect("this test's file"))
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .status();
        match again {
            Ok(status) if status.success() => {}
            // `unshare` itself answers 1 where it may not; a test that fails answers 101.
            Ok(status) if status.code() == Some(1) => {
                not_run::say(
                    test,
                    &format!("no tmpfs can be mounted here: {error}, and no user namespace"),
                );
            }
            Ok(status) => panic!("in a namespace of its own the test ends with {status}"),
            Err(missing) => not_run::say(test, &format!("{error}, and no `unshare`: {missing}")),
        }
    }

    fn mount(bytes: u64) -> nix::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let folder = TempDir::with_prefix("plx").expect("a temporary folder");
        let size = format!("size={bytes},mode=0700");
        let kind = Some("tmpfs");
        mount(
            kind,
            folder.path(),
            kind,
            MsFlags::empty(),
            Some(size.as_str()),
        )?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A new folder on it, for a home.
    #[must_use]
    pub fn home(&self) -> TempDir {
        TempDir::with_prefix_in("h", self.path()).expect("a folder on the disk")
    }

    /// Takes all the room that is left, as any program of the user's could.
    #[must_use]
    pub fn fill(&self) -> Filler {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        let mut block = vec![0xa5_u8; 1 << 16];
        while !block.is_empty() {
            match file.write(&block) {
                Ok(1..) => {}
                Ok(0) | Err(_) => block.truncate(block.len() / 2),
            }
        }
        Filler(path)
    }

    /// Has `folder`, which is on it and empty, hold so many files from here on, and no more.
    pub fn holds_only(&self, files: u64, folder: &Path) {
        // The folder itself is one.
        let room = format!("nr_inodes={},mode=0700", files + 1);
        let kind = Some("tmpfs");
        mount(kind, folder, kind, MsFlags::empty(), Some(room.as_str())).expect("a mount");
    }

    /// While `story` runs, nobody can write `file`, or what is in it where it is a folder, not even root.
    pub fn read_only(&self, file: &Path, story: impl FnOnce()) {
        let none = None::<&str>;
        mount(Some(file), file, none, MsFlags::MS_BIND, none).expect("a mount of the file");
        let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, file, none, again, none).expect("a mount that is read only");
        story();
        // Workers may still have it open.
        nix::mount::umount2(file, nix::mount::MntFlags::MNT_DETACH).expect("the mount");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What was started may still end; the mount goes with it.
        let _ = nix::mount::umount2(self.folder.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// What took the room.
pub struct Filler(PathBuf);

impl Filler {
    /// Gives it back.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.0)
    }
}
