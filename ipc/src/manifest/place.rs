//! The folders of a source: the path fields of its manifest, and the values that its configuration has for them.
//!
//! Each is a parameter of the profile. The root is `ROOT`; any other has the name of its field in upper case, so that
//! a field `library` is `(param "LIBRARY")`.
//!
//! Must not know: what lies there, or who looks.

use super::{Field, FieldKind, Manifest};
use serde_json::Value;
use std::path::PathBuf;

/// The parameter of the root.
const ROOT: &str = "ROOT";
/// Parameters that no path field but the root may have; `PORT` is that of a worker's way out.
pub(super) const RESERVED: [&str; 6] = ["WORKER", "ROOT", "SCRATCH", "ROLE", "PORT", "EGRESS_PORT"];

/// A folder of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderField {
    /// Its field.
    pub field: String,
    /// Its parameter in the profile.
    pub parameter: String,
    /// Where it is, as the owner typed it.
    pub path: PathBuf,
    /// Whether the writer may change what lies there.
    pub writable: bool,
}

impl Manifest {
    /// Its path fields, each with its parameter in the profile.
    pub fn paths(&self) -> impl Iterator<Item = (&Field, String)> {
        let is_path = |field: &&Field| field.kind == FieldKind::Path;
        self.fields.iter().filter(is_path).map(|field| {
            let is_root = self.root.as_ref() == Some(&field.name);
            let parameter = match is_root {
                true => ROOT.to_owned(),
                false => field.name.to_ascii_uppercase(),
            };
            (field, parameter)
        })
    }

    /// The folders that a configuration names, in the order of the fields.
    #[must_use]
    pub fn places(&self, config: &Value) -> Vec<FolderField> {
        let filled = self.paths().filter_map(|(field, parameter)| {
            let path = config.get(&field.name)?.as_str()?;
            (!path.is_empty()).then(|| FolderField {
                field: field.name.clone(),
                parameter,
                path: PathBuf::from(path),
                writable: field.writable,
            })
        });
        filled.collect()
    }
}
