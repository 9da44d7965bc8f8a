//! What a connector says about itself to be examined.

use crate::{
    breach::{Breach, Rule},
    rules,
    world::World,
};
use plexus_ipc::{
    manifest::{Capability, Manifest},
    worker::Source,
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What is done to a folder.
type Change = Box<dyn Fn(&Path)>;

/// One connector under examination.
pub struct Subject {
    pub(crate) manifest: &'static str,
    pub(crate) profile: &'static str,
    pub(crate) worker: PathBuf,
    world: Change,
    pub(crate) moves: Option<Change>,
    folders: Vec<(String, Change)>,
    without: Vec<String>,
    config: Map<String, Value>,
    secrets: BTreeMap<String, String>,
    pub(crate) egress: Option<(u16, String)>,
    pub(crate) examples: Vec<Example>,
    pub(crate) outside: Vec<Outside>,
    /// Capabilities whose calls need what no world has.
    pub(crate) elsewhere: Vec<String>,
    only: Vec<Rule>,
}

/// A call that succeeds in the world.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) capability: String,
    pub(crate) input: Value,
    /// Ids that its answer must name as touched.
    pub(crate) touches: Vec<String>,
}

/// A call that must not pass a constraint.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) capability: String,
    pub(crate) input: Value,
    pub(crate) allow: String,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject")
            .field("worker", &self.worker)
            .field("examples", &self.examples)
            .finish_non_exhaustive()
    }
}

impl Subject {
    /// The connector with this `manifest.json`, this profile and this program.
    pub fn new(manifest: &'static str, profile: &'static str, worker: impl Into<PathBuf>) -> Self {
        Self {
            manifest,
            profile,
            worker: worker.into(),
            world: Box::new(|_| {}),
            moves: None,
            folders: Vec::new(),
            without: Vec::new(),
            config: Map::new(),
            secrets: BTreeMap::new(),
            egress: None,
            examples: Vec::new(),
            outside: Vec::new(),
            elsewhere: Vec::new(),
            only: Vec::new(),
        }
    }

    /// How the folder is filled that the source is opened on. Called for every rule anew.
    #[must_use]
    pub fn world(mut self, make: impl Fn(&Path) + 'static) -> Self {
        self.world = Box::new(make);
        self
    }

    /// How the folder of a further path field is filled. Each such field has one, empty unless this says otherwise.
    #[must_use]
    pub fn folder(mut self, field: &str, make: impl Fn(&Path) + 'static) -> Self {
        self.folders.push((field.to_owned(), Box::new(make)));
        self
    }

    /// An optional path field that the source is opened without: what it does then is examined by a subject of its own.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        self.without.push(field.to_owned());
        self
    }

    /// The value of a secret. Each secret field has one, made up unless this says otherwise.
    #[must_use]
    pub fn secret(mut self, field: &str, value: &str) -> Self {
        self.secrets.insert(field.to_owned(), value.to_owned());
        self
    }

    /// A port of 127.0.0.1 that stands for the source's egress, and the credential that it asks for: a real host, which
    /// takes that as the password. Of its cage that port is examined, of an egress nothing.
    #[must_use]
    pub fn egress(mut self, port: u16, credential: &str) -> Self {
        self.egress = Some((port, credential.to_owned()));
        self
    }

    /// A further value of the source's configuration.
    #[must_use]
    pub fn config(mut self, field: &str, value: Value) -> Self {
        self.config.insert(field.to_owned(), value);
        self
    }

    /// A call that succeeds in the world, and ids that it must name as touched. Every capability needs one at least;
    /// the more an example answers, the more is examined.
    #[must_use]
    pub fn example(mut self, capability: &str, input: Value, touches: &[&str]) -> Self {
        self.examples.push(Example {
            capability: capability.to_owned(),
            input,
            touches: touches.iter().map(|id| (*id).to_owned()).collect(),
        });
        self
    }

    /// A capability that can have no example, because its calls need what came before in this source: taking a change
    /// back, say. Its connector's own tests hold it; `because` says which.
    #[must_use]
    pub fn elsewhere(mut self, capability: &str, _because: &'static str) -> Self {
        self.elsewhere.push(capability.to_owned());
        self
    }

    /// A call that comes to something outside of the path `allow`, by whatever spelling, and must fail under a
    /// constraint to it.
    #[must_use]
    pub fn outside(mut self, capability: &str, input: Value, allow: &str) -> Self {
        self.outside.push(Outside {
            capability: capability.to_owned(),
            input,
            allow: allow.to_owned(),
        });
        self
    }

    /// How what the examples of effects change is changed by somebody else. A connector with effects needs it.
    #[must_use]
    pub fn moves(mut self, change: impl Fn(&Path) + 'static) -> Self {
        self.moves = Some(Box::new(change));
        self
    }

    /// Examines these rules only: to fix one of them.
    #[must_use]
    pub fn only(mut self, rules: &[Rule]) -> Self {
        self.only = rules.to_vec();
        self
    }

    /// Examines the connector `S` and returns every breach that was found, in the order of the rules.
    ///
    /// # Panics
    /// Where it cannot be examined at all: the manifest does not parse, the source cannot be opened in the world.
    #[must_use]
    pub fn breaches<S: Source>(&self) -> Vec<Breach> {
        let manifest = self.parsed();
        S::handlers()
            .check(&manifest)
            .unwrap_or_else(|misfit| panic!("the handlers do not fit the manifest: {misfit}"));
        Rule::ALL
            .into_iter()
            .filter(|rule| self.only.is_empty() || self.only.contains(rule))
            .flat_map(|rule| rules::examine::<S>(rule, self, &manifest))
            .collect()
    }

    /// As [`Subject::breaches`], for a test: panics with all of them.
    ///
    /// # Panics
    /// Where a rule is broken.
    #[track_caller]
    pub fn conform<S: Source>(&self) {
        let lines: Vec<String> = self
            .breaches::<S>()
            .iter()
            .map(|b| format!("\n  {b}"))
            .collect();
        assert!(
            lines.is_empty(),
            "{} breach(es):{}",
            lines.len(),
            lines.concat()
        );
    }

    pub(crate) fn parsed(&self) -> Manifest {
        Manifest::parse(self.manifest).expect("a manifest")
    }

    pub(crate) fn fresh_world(&self, manifest: &Manifest) -> World {
        let further = manifest.paths().map(|(field, _)| field.name.as_str());
        let further = further.filter(|name| manifest.root.as_deref() != Some(name));
        let further = further.filter(|name| !self.without.iter().any(|field| field == name));
        let world = World::new(&*self.world, further);
        for (field, make) in &self.folders {
            let folder = world.folders.get(field);
            make(folder.unwrap_or_else(|| panic!("the manifest has no path field {field}")));
        }
        world
    }

    /// The source's configuration for this world.
    pub(crate) fn configuration(&self, manifest: &Manifest, world: &World) -> Value {
        let mut config = self.config.clone();
        if let Some(field) = &manifest.root {
            config.insert(field.clone(), serde_json::json!(world.root));
        }
        for (field, folder) in &world.folders {
            config.insert(field.clone(), serde_json::json!(folder));
        }
        Value::Object(config)
    }

    /// The source's secrets, by field.
    pub(crate) fn secrets(&self, manifest: &Manifest) -> BTreeMap<String, String> {
        let value = |name: &String| {
            let given = self.secrets.get(name).cloned();
            given.unwrap_or_else(|| format!("secret-5d0c-{name}"))
        };
        let fields = manifest.secrets();
        fields
            .map(|field| (field.name.clone(), value(&field.name)))
            .collect()
    }

    /// The examples with their entries, reads or effects only.
    pub(crate) fn examples_of<'a>(
        &'a self,
        manifest: &'a Manifest,
        reads: bool,
    ) -> impl Iterator<Item = (&'a Capability, &'a Example)> {
        self.examples.iter().filter_map(move |example| {
            let entry = manifest.capability(&example.capability)?;
            (entry.callable() && entry.is_read() == reads).then_some((entry, example))
        })
    }
}
