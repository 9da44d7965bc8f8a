//! Files below one root, and nothing outside it: the ground both file connectors stand on.
//!
//! ```text
//! text from a call ──RelPath::parse──▶ RelPath ──Root: one openat per component──▶ handle ──▶ bytes | names
//!                                                                └─ look ─▶ WriteTarget ─ put ─▶ new content
//! ```
//! Invariants:
//! - A [`Root`] is a directory *handle*. Every access starts there and takes one component at a time, without
//!   following a link, so a directory or file that is swapped for a link meanwhile is refused, never followed.
//! - [`Root::find`] looks once: the caller judges what it found, and reads it from the same folder handle.
//! - Only regular files are opened, and never in a way that can block. [`Root::read_at_hand`] does not even wait for a
//!   disk: it is the same walk for what the kernel has in memory.
//! - A name is opened with exactly the bytes given. If the file system itself folds case or normal forms
//!   (APFS, ext4 `casefold`), it finds the entry it takes for the same, and [`Root::spelling`] says how that entry
//!   is really written; elsewhere only the exact name opens, and [`Root::namesake`] says what was nearly met.
//! - A file changes by one rename within its parent's handle: readers see the old content or the new, never a mix.
//!
//! Must not know: connectors, calls, grants, frames. It depends on nothing else of this workspace.

mod anchor;
mod at_hand;
mod change;
mod digest;
mod error;
mod found;
mod hide;
mod list;
pub mod names;
mod namesake;
mod path_rule;
mod place;
mod read;
mod rel_path;
mod root;
mod runs_unasked;
pub mod text;
mod walk;
mod write;

pub use anchor::{Adrift, Anchor};
pub use at_hand::MAX_AT_HAND;
pub use change::{Change, MAX_DIFF_BYTES, shortened};
pub use digest::{Digest, DigestParseError};
pub use error::{FileError, WriteError};
pub use found::Found;
pub use hide::{HiddenPaths, Hide, HideRules, Stamp};
pub use list::{Entry, Kind, Listing, MAX_DIRECTORY_ENTRIES};
pub use namesake::{Difference, Namesake};
pub use path_rule::PathRule;
pub use place::{Current, StateToken, WriteTarget};
pub use read::{FileBytes, MAX_FILE_BYTES, Meta};
pub use rel_path::{MAX_COMPONENT_BYTES, MAX_PATH_BYTES, PathError, RelPath};
pub use root::{Identity, Policy, Root};
pub use runs_unasked::{root_runs_unasked, runs_unasked};
pub use walk::{MOST_NAMED, Missed, WalkBounds, WalkEntry, WalkReport, WalkStep};
pub use write::{Ready, is_leftover_name};
