//! What the owner installs beside the connectors: MCP servers, with the manifest that is made of what the owner asks for and of
//! what the server says; extensions [by manifest](manifest), of which one of the transport `mcp` is such a server; and the files that hold what the owner agreed to.
//!
//! ```text
//! ServerRequest ─▶ manifest without tools ─▶ listing, by a worker ─▶ manifest with tools ─agreed─▶ extensions/<id>.json
//!                                                                                              └─▶ Registry
//! ```
//! Invariants: one server is one kind, `mcp-<id>`, one extension `ext-<id>`, and each one source, `<id>`; a path is a parameter of a profile and no text
//! of it; a manifest that is installed is, byte for byte, the one that was shown.
//!
//! Must not know: how a server is started, who may call it.

mod checks;
mod code_files;
mod commands;
mod definitions;
mod ipc;
mod loader;
pub mod manifest;
#[cfg(test)]
mod oracles;
pub mod proposals;
mod rest;
pub mod sections;
mod server_manifest;
mod servers;
mod skills;
mod stdio;
mod surface;
mod variables;
mod workflows;

pub use checks::id_taken;
pub(crate) use checks::runs_others;
pub use code_files::file_changes;
pub use definitions::{Definition, IDLE};
pub use server_manifest::{NamedFolders, lends_server};
pub use servers::{Generated, Listing, ServerRequest, described};
pub use surface::{differences, surface, whole_surface};

use crate::{Registered, Registry, naming::source_of};
use manifest::Agreed;
use plexus_home::state_dir::{StateDir, remove, write_private};
use plexus_ipc::{manifest::Manifest, offer::Offer, text::Line};
use plexus_protocol::{Digest, SourceId, json, state_dir::make_folder};
use plexus_trust::Target;
use serde_json::json as object;
use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

/// The owner's read that answers what a server says of itself.
pub const LISTING: &str = "server.tools";
/// The folder in the state directory.
const FOLDER: &str = "extensions";
/// Most folders of either kind.
const MAX_FOLDERS: usize = 7;
const WORKER: &str = include_str!("../../../sandbox-profiles/mcp.sb");
/// The end of the profile of a server's reads.
const READS_ONLY: &str =
    "(deny file-write-mode) ; a file that is open to be read is enough to change its mode\n";
const SERVER: &str = include_str!("../../../sandbox-profiles/children/mcp.sb");
/// What a program with hosts has beside that: the source's egress, which lets it through to them, and the certificate
/// authorities of this machine, by which it knows them.
const HOSTS: &str = r#"(allow network-outbound (remote tcp (string-append "localhost:" (param "EGRESS_PORT")))) ; the one way out
(allow file-read* (subpath "/etc/ssl/certs"))                 ; whom it believes that a host is the one it names
(allow file-read* (subpath "/etc/pki/ca-trust/extracted"))    ; the same on other systems
"#;

fn shown_line(text: &str) -> String {
    Line::<256>::new(text).to_string()
}

/// A profile with these rules before what it denies at last.
fn before_denials(profile: &str, rules: &str) -> String {
    let end = profile.rfind("(deny file-write-create");
    let (before, last) = profile.split_at(end.unwrap_or(profile.len()));
    format!("{before}{rules}{last}")
}

/// A profile with the rules of the owner's folders.
fn with_folders(base: &str, manifest: &Manifest, may_write: &str) -> String {
    let mut rules = String::new();
    for (field, parameter) in manifest.paths() {
        rules.push_str(&format!(
            "(allow file-read* (subpath (param \"{parameter}\"))) ; the owner's \"{}\"\n",
            shown_line(&field.label)
        ));
        if field.writable {
            rules.push_str(&may_write.replace("FIELD", &parameter));
        }
    }
    before_denials(base, &rules)
}

/// The profile of a server's program, with its way to the hosts where it has any.
fn of_program(manifest: &Manifest, may_write: &str) -> String {
    let hosts = if manifest.egress.is_empty() {
        ""
    } else {
        HOSTS
    };
    with_folders(&before_denials(SERVER, hosts), manifest, may_write)
}

/// The offer of what is installed, by its text.
fn registered(text: &str) -> anyhow::Result<Registered> {
    // Whose manifest is an object within it is an extension by manifest.
    let whole = json::parse_many(text.as_bytes());
    if let Some(whole) = whole.ok().filter(|whole| whole["manifest"].is_object()) {
        return json::read_value::<Agreed>(whole)?.registered();
    }
    let manifest = Manifest::parse(text)?;
    let fields = |begins: &str| {
        let fields = manifest
            .fields
            .iter()
            .filter(|f| f.name.starts_with(begins));
        fields.count()
    };
    if fields("code") > MAX_FOLDERS || fields("folder") > MAX_FOLDERS {
        anyhow::bail!("more than {MAX_FOLDERS} folders of a kind");
    }
    let worker = with_folders(
        WORKER,
        &manifest,
        "; Only the writer changes it.\n(if (string=? (param \"ROLE\") \"writer\")\n  (allow file-write* (subpath (param \"FIELD\"))))\n",
    );
    let reader = of_program(&manifest, "") + READS_ONLY;
    let writes = "(allow file-write* (subpath (param \"FIELD\"))) ; and changes it\n";
    let writer = of_program(&manifest, writes);
    let mut offer = Offer::of_connector(text, &worker)?;
    // A server at a URL is no program of ours.
    if !offer.manifest.children.is_empty() {
        offer = offer.with_children(&[("reader", &reader), ("writer", &writer)])?;
    }
    offer.program = "plexus-worker-mcp".into();
    offer.given = Some(text.into());
    Registered::of(Arc::new(offer))
}

fn file(state_dir: &StateDir, id: &SourceId) -> PathBuf {
    state_dir.join(FOLDER).join(format!("{id}.json"))
}

/// The manifest that the owner agreed to, as it lies in its file.
///
/// # Errors
/// The system's; `NotFound` where there is no such server.
pub fn stored(state_dir: &StateDir, id: &SourceId) -> io::Result<String> {
    fs::read_to_string(file(state_dir, id))
}

impl Registry {
    /// Reads what was installed. What does not read is kept as a reason, and keeps nothing else from serving.
    pub fn read_installed(&self, state_dir: &StateDir) {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(state_dir.join(FOLDER))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.strip_suffix(".json").map(SourceId::parse);
            let Some(Ok(id)) = id else { continue };
            let read = stored(state_dir, &id).map_err(anyhow::Error::from);
            let read = read.and_then(|text| registered(&text)).and_then(|read| {
                let kind = &read.offer.manifest.kind;
                anyhow::ensure!(
                    source_of(kind) == Some(id.as_str()),
                    "it is of the kind {kind}"
                );
                Ok(Arc::new(read))
            });
            let read = read.map_err(|why| format!("{}: {why:#}", entry.path().display()));
            if let Err(why) = &read {
                tracing::warn!(name: "extension.unreadable", source = %id, error = why, "what was installed cannot be used");
            }
            all.insert(id.to_string(), read);
        }
        self.proposals.read(state_dir, all.keys().cloned());
        self.installed.store(Arc::new(all));
    }

    /// The ids of all that is installed, each with its offer or with why it cannot be used.
    pub fn installed(&self) -> Vec<(String, Result<Arc<Registered>, String>)> {
        let all = self.installed.load();
        let all = all.iter();
        all.map(|(id, read)| (id.clone(), read.clone())).collect()
    }

    /// Keeps a manifest that the owner agreed to, in place of an earlier one of the same server.
    ///
    /// # Errors
    /// It cannot be kept, or is none.
    pub fn install(&self, state_dir: &StateDir, id: &SourceId, text: &str) -> anyhow::Result<()> {
        let read = Arc::new(registered(text)?);
        let path = file(state_dir, id);
        make_folder(&state_dir.join(FOLDER), 0o700)?;
        write_private(&path, text.as_bytes())?;
        self.installed.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(id.to_string(), Ok(read.clone()));
            all
        });
        Ok(())
    }

    /// Forgets a server. Whether there was one.
    ///
    /// # Errors
    /// Its file cannot be removed.
    pub fn uninstall(&self, state_dir: &StateDir, id: &SourceId) -> io::Result<bool> {
        let there = remove(&file(state_dir, id))?;
        remove(&code_files::list(state_dir, id))?;
        self.installed.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(id.as_str());
            all
        });
        self.propose(state_dir, id, None)?;
        Ok(there)
    }
}

/// What the owner agrees to: the manifest, which file its program is, and which folders it has.
#[must_use]
pub fn agreement(text: &str, programs: &[String], folders: &BTreeMap<String, Target>) -> Digest {
    let folders = object!(folders);
    Digest::of(format!("{text}\n{}\n{folders}", programs.join("\n")).as_bytes())
}
