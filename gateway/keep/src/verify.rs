//! Verifies a copy of a ledger, an export or archives without a running daemon.
//!
//! Must not know: how a result is printed beyond its one sentence and its JSON.

use crate::{MAGIC, hex};
use plexus_ledger::{CheckError, Head, OpenError, Verified, VerifiedArchives, VerifiedExport};
use plexus_protocol::Timestamp;
use plexus_record::Trust;
use serde_json::{Value, json};
use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read as _},
    path::Path,
};

/// What a file or folder that holds together contains.
#[derive(Clone, Copy, Debug)]
pub enum Verification {
    /// A copy of a ledger, with its archives where they lie beside it.
    Ledger(Verified),
    /// An export or one archive; `None` where it has no line.
    Export(Option<VerifiedExport>),
    /// A folder of archives without their ledger.
    Archives(VerifiedArchives),
}

/// Why a file or folder is not known to hold together.
#[derive(Debug)]
pub struct VerifyError {
    /// One sentence: the first thing that does not hold, or why it could not be checked.
    pub why: String,
    /// Whether it was checked; if not, nothing is known of its content.
    pub is_checked: bool,
}

impl VerifyError {
    fn unchecked(why: impl Into<String>) -> Self {
        let (why, is_checked) = (why.into(), false);
        Self { why, is_checked }
    }
}

impl From<CheckError> for VerifyError {
    fn from(error: CheckError) -> Self {
        Self {
            why: error.to_string(),
            // An error of reading checks nothing, nor does one of a later version's file.
            is_checked: matches!(error, CheckError::Found(_)),
        }
    }
}

impl From<OpenError> for VerifyError {
    fn from(error: OpenError) -> Self {
        let is_checked = match &error {
            OpenError::Damaged(_) | OpenError::Gone { .. } => true,
            OpenError::Store(_) => !error.is_the_systems(),
            _ => false,
        };
        let why = match error {
            // Its own words advise to verify it.
            OpenError::Damaged(found) => format!("the ledger does not hold together: {found}"),
            other => other.to_string(),
        };
        Self { why, is_checked }
    }
}

/// Verifies `path`: a copy of the ledger (with its archives in `archive` beside it), an export or an archive, or a folder:
/// a copy of a state directory, or of archives alone.
///
/// # Errors
/// Something does not hold, or it cannot be checked.
pub fn verify(path: &Path) -> Result<Verification, VerifyError> {
    let unread = |error: io::Error| VerifyError::unchecked(format!("{}: {error}", path.display()));
    let within = path.join("ledger.redb");
    if path.is_dir() && !within.is_file() {
        let archives = plexus_ledger::verify_archives(path)?;
        return archives.map(Verification::Archives).ok_or_else(|| {
            VerifyError::unchecked("there is neither a ledger.redb nor an archives.jsonl in it")
        });
    }
    let file = if path.is_dir() { &within } else { path };
    let start = start_of(file).map_err(unread)?;
    if start.starts_with(MAGIC.as_bytes()) {
        let why = "it is a backup: restore it to another folder (plexusctl --home DIR restore FILE), and verify that";
        return Err(VerifyError::unchecked(why));
    }
    if is_export(&start) {
        let lines = BufReader::new(File::open(file).map_err(unread)?);
        return Ok(Verification::Export(plexus_ledger::verify_export(lines)?));
    }
    // A copy may come with the heads that were noted beside it.
    let heads = Some(file.with_file_name("audit-heads.jsonl")).filter(|heads| heads.is_file());
    let verified = plexus_ledger::verify_file::<Trust>(file, heads.as_deref())?;
    Ok(Verification::Ledger(verified))
}

/// As much of a file as tells its kind.
fn start_of(file: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(file)?.take(65).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether a file begins as an export line does: a hash in hex and a space.
fn is_export(start: &[u8]) -> bool {
    matches!(start.split_last(), Some((b' ', hash))
        if hash.len() == 64 && hash.iter().all(u8::is_ascii_hexdigit))
}

/// Which events, and what the last one's hash is.
fn range(first: u64, head: &Head) -> String {
    let (last, hash, at) = (head.seq, hex(&head.hash), Timestamp(head.at));
    format!("events {first} to {last}, the last of {at} with hash {hash}")
}

/// What the first event of an incomplete chain proves.
fn anchor(first: u64) -> String {
    match first {
        1 => String::new(),
        _ => format!("; it begins at event {first}: nothing before that is proven"),
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ledger(v) => write!(
                f,
                "a ledger with {}; {} checkpoints, {} rows, {} noted heads and {} archives agree{}",
                range(v.first, &v.head),
                v.checkpoints,
                v.rows,
                v.heads,
                v.archives,
                anchor(v.first)
            ),
            Self::Export(None) => f.write_str("an export without events"),
            Self::Export(Some(v)) => {
                let (range, anchor) = (range(v.first, &v.head), anchor(v.first));
                write!(f, "an export with {range}{anchor}")
            }
            Self::Archives(v) => {
                let (range, anchor) = (range(v.first, &v.head), anchor(v.first));
                write!(f, "{} archives with {range}{anchor}", v.archives)
            }
        }
    }
}

impl Verification {
    /// The same for programs: `kind`, `first`, `last`, `hash` (lower-case hex), `at`, and what else was compared.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let of = |kind: &str, first: u64, head: &Head| {
            json!({
                "ok": true, "kind": kind, "first": first, "last": head.seq, "hash": hex(&head.hash),
                "at": Timestamp(head.at),
            })
        };
        match self {
            Self::Ledger(v) => {
                let mut json = of("ledger", v.first, &v.head);
                json["events"] = v.events.into();
                json["checkpoints"] = v.checkpoints.into();
                json["rows"] = v.rows.into();
                json["heads"] = v.heads.into();
                json["archives"] = v.archives.into();
                json
            }
            Self::Export(None) => json!({"ok": true, "kind": "export", "first": null, "last": 0}),
            Self::Export(Some(v)) => of("export", v.first, &v.head),
            Self::Archives(v) => {
                let mut json = of("archives", v.first, &v.head);
                json["archives"] = v.archives.into();
                json
            }
        }
    }
}
