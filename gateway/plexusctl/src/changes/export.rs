//! One file of a change set, as its run left it, in a new file of the owner's: what no difference shows can be looked at.
//!
//! ```text
//! change set ─▶ digest of the file ─▶ its content in the source's own folder ─compared─▶ new file, private, no program
//! ```
//! Invariants: nothing is overwritten, and no link is followed; what is written has the digest that the change set names.
//!
//! Must not know: how a change set is made or applied.

use super::named;
use crate::{audit::create_private, owner::Desk};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use plexus_client::{Exit, Stop, text};
use plexus_owner::changes::Show;
use plexus_protocol::Digest;
use serde::Serialize;
use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Most bytes of one file of a change set: no larger one is copied for a run.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The answer with `--json`.
#[derive(Serialize)]
struct Exported {
    path: String,
    to: String,
    bytes: usize,
}

/// Writes the content that a run gave to one file.
pub(super) async fn export(desk: &Desk, id: &str, path: &str, to: &Path) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let show = Show {
        id: named(&mut owner, id).await?,
        path: Some(path.to_owned()),
        after: None,
    };
    let set = owner.call(&show).await?;
    let lacks = |why: &str| {
        let next = format!("plexusctl changes {}", text::line(&show.id));
        Stop::new(Exit::Failed, "not_found", why).next(next)
    };
    let file = set.files.iter().find(|file| file.path == path);
    let file = file.ok_or_else(|| lacks("the change set has no such file"))?;
    let after = file.after.as_ref();
    let after = after.ok_or_else(|| lacks("the run removed this file"))?;
    let digest = Digest::parse(&after.digest);
    let digest = digest.ok_or_else(|| lacks("its digest cannot be read"))?;
    let sources = desk.home.path().join("workers");
    let kept = sources.join(set.of.source.as_str()).join("changes");
    let kept = kept.join(&set.id).join(&after.digest);
    let bytes = content(&kept, &digest);
    let bytes = bytes.map_err(|why| lacks(&format!("its content cannot be had: {why}")))?;
    let mut file = create_private(to).map_err(|why| Stop::new_file(to, &why))?;
    if let Err(why) = file.write_all(&bytes) {
        let _ = fs::remove_file(to);
        return Err(Stop::path(to, &why));
    }
    let done = Exported {
        path: path.to_owned(),
        to: to.display().to_string(),
        bytes: bytes.len(),
    };
    desk.show(&done, || {
        format!(
            "written: {} ({} bytes), which cannot be executed there",
            text::line(&done.to),
            done.bytes
        )
    })
}

/// A content that a source keeps. Its worker can write there, so that it is compared.
fn content(kept: &Path, digest: &Digest) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let mut bytes = Vec::new();
    let file = options.open(kept)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    match Digest::of(&bytes) == *digest {
        true => Ok(bytes),
        false => Err(io::Error::other("it is damaged")),
    }
}
