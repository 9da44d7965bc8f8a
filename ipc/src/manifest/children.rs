//! The programs that a worker may have started by its keeper, as its manifest declares them.

use super::{Field, FieldKind, FieldTarget, Manifest, ManifestError, invalid};
use crate::message::Role;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Most programs of a manifest.
const MAX_CHILDREN: usize = 16;
/// Most arguments or variables of one.
const MAX_WORDS: usize = 64;
/// Longest argument or value that stands in the manifest, in bytes.
const MAX_WORD: usize = 1024;
/// What would have a program run other code than its own.
const REFUSED: [&str; 7] = [
    "LD_",
    "DYLD_",
    "GIT_",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "BASH_ENV",
    "ENV",
];
/// Of these, one that says what to do where there is no git, and names no code.
const NOT_REFUSED: &str = "GIT_PYTHON_REFRESH";
/// What the keeper sets.
const OF_THE_KEEPER: [&str; 3] = ["HOME", "TMPDIR", "PWD"];

/// A program that a worker may have started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChildProgram {
    /// What the worker calls it; its profile is registered under the same name.
    pub name: String,
    /// Which program it is.
    pub program: Program,
    /// The role whose workers alone may have it started; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether it runs programs of the machine itself, as a coding agent does. Its profile says the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tools: bool,
    /// The optional field of the owner's with further programs that its runs may use: absolute paths, separated by commas.
    /// Its profile has them as `TOOLS_0` to `TOOLS_3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_field: Option<String>,
    /// The optional field of the owner's with folders of the source's own that its runs read in place: paths below the root,
    /// separated by commas. Its profile has them as `SHARE_0` to `SHARE_3`, and a run's root a link to each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_field: Option<String>,
    /// The field of the owner's that says how many MiB the folder of a run may hold on the disk. It has a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_field: Option<String>,
    /// Whether its runs may ask the worker for what other sources offer, by two pipes and the worker's own program as the
    /// one that speaks over them. Its profile says the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// The owner's own sign-in, of which its runs have a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignIn>,
    /// Whether each run begins with an empty folder, which is removed when it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discard: bool,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<ChildArgument>,
    /// Its environment by name: the value, or null where the worker gives one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
    /// What a run of it may use.
    pub limits: ChildLimits,
}

/// A file with the owner's own sign-in. If the owner says so, each run has a copy of it while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The optional field of the route in which the owner says so: [`COPY`], or the absolute path of another file.
    pub field: String,
    /// The file, in the owner's home. It is JSON.
    pub home: String,
    /// The folder of the copy in the run's scratch, and the copy's name there.
    pub to: (String, String),
    /// The members that are empty in the copy: what renews the sign-in.
    pub without: Vec<String>,
}

/// The word for the file in its usual place.
pub const COPY: &str = "copy";

impl SignIn {
    /// The file that the owner names with this `route`; none where runs have no copy of one.
    ///
    /// # Errors
    /// The text is neither [`COPY`] nor an absolute path.
    pub fn file(&self, route: &Value) -> Result<Option<SignInFile>, &'static str> {
        match route[&self.field].as_str().unwrap_or_default() {
            "" => Ok(None),
            COPY => Ok(Some(SignInFile::InHome(PathBuf::from(&self.home)))),
            path if path.starts_with('/') => Ok(Some(SignInFile::At(PathBuf::from(path)))),
            _ => Err("neither \"copy\" nor an absolute path"),
        }
    }
}

/// Where the owner's sign-in lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInFile {
    /// In the owner's home.
    InHome(PathBuf),
    /// At an absolute path.
    At(PathBuf),
}

/// Which program a child is. Links are resolved when its worker starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// One at this path.
    Path(String),
    /// The one that the owner names in this field.
    Field(String),
}

/// One argument of a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ChildArgument {
    /// As it stands.
    Fixed(String),
    /// The worker's value.
    Named(NamedArgument),
    /// The words of an optional field of the owner's, in this place; none where it is empty.
    Words(Words),
    /// Any number of arguments that the worker gives.
    List(List),
}

/// Arguments that the owner gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// The field, of type text and target route; white space parts its words.
    pub words: String,
}

/// An argument that the worker gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedArgument {
    /// By this name.
    pub name: String,
}

/// Arguments that the worker gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// By this name.
    pub list: String,
}

/// What a run of a child may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChildLimits {
    /// Open descriptors of each of its processes.
    pub open_files: u32,
    /// Largest file that one of them can write, in bytes.
    pub file_bytes: u64,
    /// Memory of all of them together, in MiB.
    #[serde(rename = "memoryMiB")]
    pub memory_mib: u32,
    /// How many they may be.
    pub processes: u32,
}

impl Program {
    /// The file that the manifest or the owner names, as it was typed.
    #[must_use]
    pub fn named(&self, config: &Value) -> PathBuf {
        match self {
            Self::Path(path) => PathBuf::from(path),
            Self::Field(field) => config[field].as_str().unwrap_or_default().into(),
        }
    }
}

/// What a bound on the disk may be, in MiB.
const DISK: std::ops::RangeInclusive<u64> = 64..=1_048_576;

impl Manifest {
    /// How many MiB the folder of a run of this child may hold on the disk with this `route`; none where nothing bounds it.
    ///
    /// # Errors
    /// The owner's text is no such number.
    pub fn disk_of(
        &self,
        child: &ChildProgram,
        route: &Value,
    ) -> Result<Option<u64>, &'static str> {
        let Some(field) = child.disk_field.as_deref().and_then(|of| self.field(of)) else {
            return Ok(None);
        };
        let text = route[&field.name].as_str().filter(|text| !text.is_empty());
        let text = text.or(field.default.as_deref()).unwrap_or_default();
        let most = text.trim().parse().ok().filter(|most| DISK.contains(most));
        most.map(Some)
            .ok_or("no number of MiB from 64 to 1048576, in digits alone")
    }

    pub(super) fn check_children(&self) -> Result<(), ManifestError> {
        if self.children.len() > MAX_CHILDREN {
            return Err(invalid("children", "more than 16"));
        }
        let mut names = BTreeSet::new();
        for child in &self.children {
            let at = || format!("child {:?}", child.name);
            if !super::check::plain_name(&child.name) {
                return Err(invalid(at(), "not 1 to 64 of a-z, 0-9 and '-'"));
            }
            if !names.insert(&child.name) {
                return Err(invalid(at(), "twice"));
            }
            self.check_child(child).map_err(|why| invalid(at(), why))?;
        }
        Ok(())
    }

    fn check_child(&self, child: &ChildProgram) -> Result<(), &'static str> {
        if child.host && !self.host_calls {
            return Err("host without the manifest's hostCalls");
        }
        match &child.program {
            Program::Path(path) => {
                let mut parts = path.split('/').skip(1);
                let named = |part: &str| !matches!(part, "" | "." | "..");
                if !path.starts_with('/') || !parts.all(named) || path.contains(char::is_control) {
                    return Err("its path is not absolute, or not in its one spelling");
                }
            }
            Program::Field(name) => {
                let fits = |field: &&Field| {
                    field.name == *name
                        // A field of type path is a folder that the worker reaches.
                        && field.kind == FieldKind::Text
                        && field.target == FieldTarget::Route
                        && field.required
                };
                if !self.fields.iter().any(|field| fits(&field)) {
                    return Err("names no required field of type text and target route");
                }
            }
        }
        let is_text = |name: &String| {
            let mut fields = self.fields.iter();
            fields.any(|field| {
                field.name == *name
                    && field.kind == FieldKind::Text
                    && field.target == FieldTarget::Route
            })
        };
        if child
            .tools_field
            .as_ref()
            .is_some_and(|field| !is_text(field))
        {
            return Err("toolsField names no field of type text and target route");
        }
        if child
            .share_field
            .as_ref()
            .is_some_and(|field| !is_text(field) || self.root.is_none())
        {
            return Err(
                "shareField names no field of type text and target route, or there is no root",
            );
        }
        if child
            .disk_field
            .as_ref()
            .is_some_and(|field| !is_text(field) || self.disk_of(child, &Value::Null).is_err())
        {
            return Err(
                "diskField names no field of type text and target route with a number of MiB as its default",
            );
        }
        if let Some(sign_in) = &child.sign_in {
            let plain =
                |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
            if !is_text(&sign_in.field) {
                return Err("signIn names no field of type text and target route");
            }
            if !sign_in.home.split('/').all(plain)
                || !plain(&sign_in.to.0)
                || !plain(&sign_in.to.1)
                || sign_in.without.len() > MAX_WORDS
            {
                return Err("the file of signIn is no path in the home, or its copy no name");
            }
        }
        if child.arguments.len() > MAX_WORDS || child.environment.len() > MAX_WORDS {
            return Err("more than 64 arguments or variables");
        }
        let mut named = BTreeSet::new();
        for argument in &child.arguments {
            match argument {
                ChildArgument::Fixed(text) if text.len() > MAX_WORD || text.contains('\0') => {
                    return Err("an argument beyond 1024 bytes, or with a zero byte");
                }
                ChildArgument::Named(NamedArgument { name })
                | ChildArgument::List(List { list: name })
                    if !super::check::plain_name(name) || !named.insert(name) =>
                {
                    return Err("a named argument's name is no name, or there twice");
                }
                ChildArgument::Words(Words { words }) if !is_text(words) => {
                    return Err("words of no field of type text and target route");
                }
                ChildArgument::Fixed(_)
                | ChildArgument::Named(_)
                | ChildArgument::Words(_)
                | ChildArgument::List(_) => {}
            }
        }
        for (name, value) in &child.environment {
            let word = name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if !word || name.is_empty() || name.len() > 64 {
                return Err("a variable's name is not 1 to 64 of A-Z, 0-9 and '_'");
            }
            let refused = |known: &&str| match known.strip_suffix('_') {
                Some(_) => name.starts_with(*known),
                None => name == known,
            };
            if name != NOT_REFUSED && REFUSED.iter().any(refused) {
                return Err("a variable that would have it run other code than its own");
            }
            if OF_THE_KEEPER.contains(&name.as_str()) {
                return Err("HOME, TMPDIR and PWD are the run's own folders");
            }
            if value
                .as_ref()
                .is_some_and(|v| v.len() > MAX_WORD || v.contains('\0'))
            {
                return Err("a value beyond 1024 bytes, or with a zero byte");
            }
        }
        let limits = child.limits;
        if !(16..=65_536).contains(&limits.open_files)
            || !(1..=65_536).contains(&limits.memory_mib)
            || !(1..=4096).contains(&limits.processes)
        {
            return Err(
                "its limits: open files 16 to 65,536, memory 1 to 65,536 MiB, processes 1 to 4,096",
            );
        }
        Ok(())
    }
}

impl ChildLimits {
    /// What the kernel is to hold each of its processes to. Memory has no such limit: what reserves addresses without using
    /// them, as JavaScript's engines do, would not start.
    #[must_use]
    pub fn of_process(&self) -> plexus_sandbox::Limits {
        plexus_sandbox::Limits {
            files: Some(self.open_files.into()),
            file_size: Some(self.file_bytes),
            memory: None,
            addresses: None,
        }
    }
}
