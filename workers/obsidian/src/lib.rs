//! The Obsidian connector's logic: one vault, read and searched. It can change nothing.
//!
//! ```text
//! read:   path or note name ─▶ resolve ─▶ judged by the rule ─▶ bytes ─▶ text, front matter, links
//! search: walk, narrowed by the rule ─▶ per note: property, tag, text ─▶ hits in the order of paths and lines
//! ```
//! Invariants: what a rule does not allow is neither returned nor told apart from what does not exist, as far as the
//! answer goes; dot-files, `.obsidian` and `.trash` do not exist; a hostile note gives a warning, never a failure.
//!
//! Must not know: agents, grants, the gateway; only `source` knows that there are frames, and with `lane` a runtime.

mod error;
mod frontmatter;
mod hidden;
mod index;
mod lane;
mod markdown;
mod media;
mod names;
mod needle;
#[cfg(test)]
mod oracles;
mod read;
mod search;
mod source;
mod vault;

pub use error::VaultError;
pub use frontmatter::Frontmatter;
pub use index::{NoteIndex, ResolvedName};
pub use markdown::{Mark, Reference, scan};
pub use read::{FolderEntry, FolderOutput, Link, Next, NoteOutput, ReadInput, ReadOutput};
pub use search::{Hit, PropertyFilter, SearchInput, SearchOutput};
pub use source::{Config, ObsidianSource};
pub use vault::{Answer, Touched, Vault};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
