//! `plexusctl sources add` and `kinds`: what a kind of source asks for, and one with that filled in. A person at a terminal
//! is asked for what is missing. A new source is tested; one that does not serve is removed again.

use super::{
    find::{Find, Found},
    secret,
    test::{health_of, sentence},
};
use crate::{
    owner::{Desk, Owner, patiently},
    prompt,
    screen::system,
    table::table,
};
use clap::Args;
use plexus_client::{Exit, Stop, near, out, text};
use plexus_owner::{
    kinds::{self, Connector, Form, FormField, GrantsAfter},
    sources::{self, AddResult, HealthStatus, List, ProbedSource, Remove},
};
use plexus_protocol::{CapabilityId, SourceId};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use zeroize::Zeroizing;

/// How long a new source may take until it answers: one that registers at a relay takes 20 s.
const START: Duration = Duration::from_secs(25);
/// The code of the refusal of a source whose id is there.
const TAKEN: &str = "precondition_changed";
/// The command that shows the ids of sources.
const LIST: &str = "plexusctl sources list";

/// A source to add.
#[derive(Args)]
pub(crate) struct Add {
    /// Kind of source: plexusctl sources kinds
    // Without one the kinds are told, and not only that it is missing.
    #[arg(default_value = "", hide_default_value = true)]
    kind: String,
    /// Folder that it opens, where it opens one
    path: Option<PathBuf>,
    /// Its id, the first part of its capabilities' names [default: from the folder's name, else the kind's]
    #[arg(long)]
    id: Option<SourceId>,
    /// Label
    #[arg(long)]
    label: Option<String>,
    /// Ask before every call, reads included
    #[arg(long)]
    ask: bool,
    /// Further field of this kind; may be given again
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Secret of this kind, from a file, or from standing input with -; may be given again. At a terminal it is asked for
    #[arg(long = "secret", value_name = "FIELD=FILE")]
    secrets: Vec<String>,
    /// Keep the source even if it does not serve
    #[arg(long)]
    keep: bool,
    /// The flags of a command of its own.
    #[arg(skip)]
    own: Option<OwnFlags>,
}

/// The flags of a command that adds one kind of source: it asks for one secret, and keeps nothing that does not serve.
#[derive(Clone, Copy)]
pub(crate) struct OwnFlags {
    /// For the id.
    pub(crate) id: &'static str,
    /// For the file with the secret.
    pub(crate) secret: &'static str,
}

impl Add {
    /// One of a kind without folder, for a command with flags of its own.
    pub(crate) fn of(
        kind: &str,
        own: OwnFlags,
        id: Option<SourceId>,
        fields: Vec<String>,
        secrets: Vec<String>,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            path: None,
            id,
            label: None,
            ask: false,
            fields,
            secrets,
            keep: false,
            own: Some(own),
        }
    }

    /// Whether a secret is given beforehand.
    pub(crate) fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// A secret may come in on standing input; then the person is at the terminal that is written to.
    pub(crate) fn judge(&self, desk: &Desk) -> Result<(), Stop> {
        let mut given = self
            .secrets
            .iter()
            .filter_map(|given| given.split_once('='));
        let piped = given.any(|(_, file)| file == "-");
        secret::judge_piped::<sources::Add>(desk, piped)
    }

    pub(super) async fn run(self, desk: &Desk, owner: &mut Owner) -> Result<Exit, Stop> {
        let (added, said) = self.add(desk, owner).await?;
        desk.show(&added, || said)
    }

    /// Adds it; the gateway's answer, and the same for a person.
    pub(crate) async fn add(
        mut self,
        desk: &Desk,
        owner: &mut Owner,
    ) -> Result<(AddedSource, String), Stop> {
        let connectors = owner.call(&kinds::List {}).await?.connectors;
        let connector = connector_of(&connectors, &self.kind)?;
        let there = owner.call(&List {}).await?.sources;
        // Before anything is asked for, as far as the id is known.
        if let Some(id) = &self.id {
            self.hold_free(id, &there)?;
        }
        match desk.can_ask() {
            true => self.ask_for_fields(connector)?,
            false => self.name_programs(connector)?,
        }
        let (id, body) = self.body(connector)?;
        self.hold_free(&id, &there)?;
        if let Some(folder) = connector
            .root
            .as_deref()
            .and_then(|root| body.route.as_ref()?.get(root))
        {
            let serves = |row: &&sources::SourceRow| {
                let mut values = row.source.route.iter().flat_map(Map::values);
                row.source.kind == self.kind && values.any(|value| value == folder)
            };
            if let Some(row) = there.iter().find(serves).filter(|_| self.id.is_none()) {
                let why = format!("{} serves that folder already", row.source.id);
                return Err(Stop::usage(why).next("a second source on it is named with --id NAME"));
            }
        }
        let secrets = self.secrets(desk, &connector.form)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let added = match owner.call(&body).await {
            Ok(added) => added,
            // Somebody else's, since the look.
            Err(stop) if stop.code == TAKEN => return Err(stop.next(LIST)),
            // It may be saved all the same.
            Err(stop) => {
                let now = owner.call(&List {}).await;
                let is_ours = |row: &sources::SourceRow| {
                    // Fields that were not given have their defaults there.
                    let has = |(field, value): (&String, &Value)| {
                        let route = row.source.route.as_ref();
                        route.and_then(|route| route.get(field)) == Some(value)
                    };
                    row.source.id == id
                        && row.source.kind == body.kind
                        && body.route.iter().flatten().all(has)
                };
                return Err(match now.is_ok_and(|all| all.sources.iter().any(is_ours)) {
                    true => self.take_back(desk, &id, stop, &mut interrupt).await,
                    false => stop,
                });
            }
        };
        let open = self.missing_secrets(&connector.form, &secrets);
        let is_whole = open.iter().all(|field| !field.required);
        let tried = patiently("the source is started, and tested…", async {
            for (name, value) in &secrets {
                secret::set(owner, &id, name, value).await?;
            }
            match is_whole {
                true => answered(owner, &id).await.map(Some),
                false => Ok(None),
            }
        });
        let tried = tokio::select! {
            tried = tried => tried,
            _ = interrupt.recv() => Err(Stop::new(Exit::Failed, "interrupted", "you interrupted it")),
        };
        let health = match tried.and_then(|health| self.serving(health)) {
            Ok(health) => health,
            Err(stop) => return Err(self.take_back(desk, &id, stop, &mut interrupt).await),
        };
        let added = AddedSource { added, health };
        let said = registered(&added, &id, &open);
        Ok((added, said))
    }

    /// Holds that no source has this id.
    fn hold_free(&self, id: &SourceId, there: &[sources::SourceRow]) -> Result<(), Stop> {
        let Some(row) = there.iter().find(|row| row.source.id == *id) else {
            return Ok(());
        };
        let (kind, flag) = (&row.source.kind, self.own.map_or("--id", |own| own.id));
        let why = format!(
            "There is a source {id} already, of the kind {kind}; {flag} NAME adds another one"
        );
        Err(Stop::new(Exit::Failed, TAKEN, why).next(LIST))
    }

    /// The same, unless it does not serve and is not to be kept.
    fn serving(&self, health: TestedHealth) -> Result<TestedHealth, Stop> {
        let row = health.iter().flatten().find(|row| is_away(row));
        let Some(row) = row.filter(|_| !self.keep) else {
            return Ok(health);
        };
        let why = match row.health.status {
            HealthStatus::Unknown => format!("{} has not answered in time", row.id),
            _ => sentence(row),
        };
        Err(Stop::new(Exit::Failed, "source_unavailable", why))
    }

    /// Leaves nothing behind of a new source that does not serve, unless it is to be kept. A further Ctrl-C ends the waiting.
    async fn take_back(
        &self,
        desk: &Desk,
        id: &SourceId,
        stop: Stop,
        interrupt: &mut Signal,
    ) -> Stop {
        if self.keep {
            return stop.next(format!("plexusctl sources test {id}"));
        }
        let removed = patiently("it is taken out again…", async {
            // What was asked last may have no answer yet: another connection.
            let mut owner = desk.open().await?;
            owner.call(&Remove { id: id.to_string() }).await
        });
        let removed = tokio::select! {
            removed = removed => removed.is_ok(),
            _ = interrupt.recv() => false,
        };
        match removed {
            true => {
                let said = without_source(&stop.why, id, self.own.map(|own| own.secret));
                let why = format!("not added: {said}");
                let next = match self.own {
                    Some(_) => "put that right and run this again",
                    None => "put that right and run this again; --keep adds it all the same",
                };
                Stop::new(Exit::Failed, &stop.code, why).next(next)
            }
            false => stop.next(format!("plexusctl sources remove {id}")),
        }
    }

    /// The fields that a source cannot do without and that are not given.
    fn open_fields<'c>(&self, connector: &'c Connector) -> Vec<Field<'c>> {
        let is_given = |name: &str| {
            let mut fields = self.fields.iter().filter_map(|given| given.split_once('='));
            fields.any(|(field, _)| field == name)
                || connector.root.as_deref() == Some(name) && self.path.is_some()
        };
        fields(&connector.form)
            .filter(|field| !field.form.write_only && field.required && !is_given(field.name))
            .collect()
    }

    /// Asks the person for them.
    fn ask_for_fields(&mut self, connector: &Connector) -> Result<(), Stop> {
        for field in self.open_fields(connector) {
            let value = match field.find() {
                Some(find) => ask_for_program(&field, &find)?,
                None => prompt::line(&field.question())?,
            };
            self.fields.push(format!("{}={value}", field.name));
        }
        Ok(())
    }

    /// Refuses where a program is not given: nobody can be asked, and no guess becomes what an owner's grants are about.
    fn name_programs(&self, connector: &Connector) -> Result<(), Stop> {
        let mut open = self.open_fields(connector).into_iter();
        let Some((find, field)) = open.find_map(|field| Some((field.find()?, field))) else {
            return Ok(());
        };
        let name = field.name;
        let found = find.look();
        let (why, path) = match &found[..] {
            [] => (
                format!(
                    "{name} is not given, and nothing was found: looked for {}",
                    find.places()
                ),
                "/absolute/path".to_owned(),
            ),
            [first, ..] => (
                format!("{name} is not given; found here: {}", told(&found)),
                first.path.display().to_string(),
            ),
        };
        Err(Stop::usage(why).next(format!("add --set {name}={path}")))
    }

    /// The secrets that are given, and those that the person types.
    fn secrets(&self, desk: &Desk, form: &Form) -> Result<Vec<(String, Zeroizing<String>)>, Stop> {
        let mut secrets = Vec::new();
        for given in &self.secrets {
            let (name, file) = given
                .split_once('=')
                .ok_or_else(|| Stop::usage("write --secret FIELD=FILE"))?;
            if !field_of(&self.kind, form, name)?.form.write_only {
                let why = format!("{name} is no secret: --set {name}=VALUE");
                return Err(Stop::usage(why));
            }
            let value = match file {
                "-" => secret::from_stdin(),
                file => secret::from_file(Path::new(file)),
            };
            secrets.push((name.to_owned(), value?));
        }
        let open = self.missing_secrets(form, &secrets);
        let required = open.iter().filter(|field| field.required);
        if desk.can_ask() {
            for field in required {
                let value = prompt::secret(&field.question())?;
                secrets.push((field.name.to_owned(), value));
            }
        }
        Ok(secrets)
    }

    /// The secrets of a kind that are not among these, and that no field replaces.
    fn missing_secrets<'c>(
        &self,
        form: &'c Form,
        given: &[(String, Zeroizing<String>)],
    ) -> Vec<Field<'c>> {
        let is_set = |name: &str| {
            let mut fields = self.fields.iter().filter_map(|given| given.split_once('='));
            fields.any(|(field, value)| field == name && !value.is_empty())
        };
        fields(form)
            .filter(|field| field.form.write_only)
            .filter(|field| given.iter().all(|(name, _)| field.name != name))
            .filter(|field| !field.form.unless.as_deref().is_some_and(is_set))
            .collect()
    }

    /// The request with its id, and with the folder in the field that this kind of source has for it.
    fn body(&self, connector: &Connector) -> Result<(SourceId, sources::Add), Stop> {
        let mut route = Map::new();
        let root = connector.root.as_deref();
        let mut folder = None;
        match (root, &self.path) {
            (Some(root), Some(path)) => {
                let path = resolved(path)?;
                route.insert(root.to_owned(), path.clone().into());
                folder = Some(path);
            }
            (None, Some(_)) => {
                return Err(Stop::usage(format!(
                    "a source of kind {:?} opens no folder; what it asks for is given with --set: plexusctl sources kinds",
                    self.kind
                )));
            }
            (Some(root), None) if self.open_fields(connector).iter().any(|f| f.name == root) => {
                let why = format!("a source of kind {:?} opens a folder: name it", self.kind);
                let next = format!("plexusctl sources add {} FOLDER", self.kind);
                return Err(Stop::usage(why).next(next));
            }
            // It is among the fields, or not required.
            (_, None) => {}
        }
        for given in &self.fields {
            let (name, value) = field_value(&self.kind, &connector.form, given)?;
            if root == Some(name) {
                folder = Some(value.clone());
            }
            route.insert(name.to_owned(), value.into());
        }
        let id = match (&self.id, folder) {
            (Some(id), _) => id.clone(),
            (None, Some(folder)) => id_of(Path::new(&folder))?,
            (None, None) => SourceId::parse(&connector.connector)
                .map_err(|_| Stop::usage("name the source with --id"))?,
        };
        let label = self.label.clone().unwrap_or_else(|| id.to_string());
        let body = sources::Add {
            id: Some(id.to_string()),
            kind: self.kind.clone(),
            label: Some(label),
            enabled: Some(true),
            route: Some(route),
            approval: self.ask.then(|| "ask".to_owned()),
            only_new: Some(true),
            ..sources::Add::default()
        };
        Ok((id, body))
    }
}

/// A source that is in place, and how it does, where that was asked.
#[derive(Serialize)]
pub(crate) struct AddedSource {
    #[serde(flatten)]
    pub(crate) added: AddResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: TestedHealth,
}

/// How a source does, where that was asked, and it is enabled.
type TestedHealth = Option<Option<ProbedSource>>;

/// How a new source does: one that has something to make before it serves is asked again.
async fn answered(owner: &mut Owner, id: &SourceId) -> Result<Option<ProbedSource>, Stop> {
    let until = Instant::now() + START;
    loop {
        let health = health_of(owner, id).await?;
        let is_unknown = |row: &ProbedSource| row.health.status == HealthStatus::Unknown;
        if !health.as_ref().is_some_and(is_unknown) || Instant::now() >= until {
            return Ok(health);
        }
    }
}

/// Words of a source that is gone again: a command that would set its secret is what this command takes, by a flag of its own
/// for the secret where it has one.
fn without_source(why: &str, id: &SourceId, own: Option<&str>) -> String {
    let command = format!("plexusctl sources secret {id} ");
    let mut parts = why.split(&command);
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let (name, rest) = part.split_at(part.find(|c| !is_named(c)).unwrap_or(part.len()));
        said.push_str(&match own {
            Some(flag) => format!("{flag} FILE{rest}"),
            None => format!("--secret {name}=FILE{rest}"),
        });
    }
    said
}

/// Whether it does not serve, as far as anybody knows: no answer is none.
fn is_away(row: &ProbedSource) -> bool {
    matches!(
        row.health.status,
        HealthStatus::Unavailable | HealthStatus::Unknown
    )
}

/// Offers the person what is installed, or says where it was looked for.
fn ask_for_program(field: &Field<'_>, find: &Find) -> Result<String, Stop> {
    let found = find.look();
    let Some(first) = found.first() else {
        out::say(&format!(
            "no such program was found: looked for {}",
            find.places()
        ));
        return prompt::line(&field.question());
    };
    out::say(&format!("found: {}", told(&found)));
    prompt::line_or(&field.form.title, &first.path.to_string_lossy())
}

/// Programs with their versions, for a person.
fn told(found: &[Found]) -> String {
    let told = found.iter().map(|found| {
        let path = found.path.to_string_lossy();
        format!("{} ({})", text::line(&path), text::line(&found.version))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The kind of source of that name.
pub(super) fn connector_of<'c>(known: &'c [Connector], kind: &str) -> Result<&'c Connector, Stop> {
    let found = known.iter().find(|connector| connector.kind == kind);
    found.ok_or_else(|| {
        let of_its_own = |add: &str| {
            let why = format!("{kind:?} is no kind of source here, and has a command of its own");
            Stop::usage(why).next(add)
        };
        match kind {
            "mcp" => return of_its_own("plexusctl mcp add"),
            "extension" => return of_its_own("plexusctl extension add"),
            _ => {}
        }
        let kinds: Vec<_> = known.iter().map(|c| c.kind.as_str()).collect();
        let begin = kinds
            .iter()
            .filter(|one| kind.len() > 2 && one.starts_with(kind));
        let begin: Vec<_> = begin.copied().collect();
        let meant = match begin[..] {
            [] => near(kind, kinds.iter().copied()).map(text::line),
            _ => Some(text::line(&begin.join(" or "))),
        };
        let kinds = text::line(&kinds.join(", "));
        let why = match (kind, meant) {
            ("", _) => format!("say which kind of source; there are: {kinds}"),
            (kind, Some(meant)) => {
                format!("there is no kind {kind:?}; did you mean {meant}? There are: {kinds}")
            }
            (folder, None) if folder.contains('/') || Path::new(folder).is_dir() => {
                format!(
                    "{folder:?} is no kind: the kind comes before the folder; there are: {kinds}"
                )
            }
            (kind, None) => format!("there is no kind {kind:?}; there are: {kinds}"),
        };
        Stop::usage(why).next("plexusctl sources kinds")
    })
}

/// A field of the form of a kind.
pub(super) struct Field<'c> {
    pub(super) name: &'c str,
    form: FormField,
    required: bool,
}

impl Field<'_> {
    /// Where it may be installed, of a program.
    fn find(&self) -> Option<Find> {
        self.form.find.clone().map(Find)
    }

    fn is_path(&self) -> bool {
        self.form.format == "absolute-path"
    }

    /// Whether it names a file or a program of the owner's.
    fn is_file(&self) -> bool {
        self.form.file || self.form.find.is_some()
    }

    /// Whether another value only suspends the grants on the source.
    pub(super) fn suspends(&self) -> bool {
        self.form.grants == GrantsAfter::Suspended
    }

    /// What a person is asked for it.
    fn question(&self) -> String {
        let example = match self.form.example() {
            None => String::new(),
            Some(example) => format!(" (such as {example})"),
        };
        format!("{}{example}", self.form.title)
    }
}

/// The fields of a form, in their order.
pub(super) fn fields(form: &Form) -> impl Iterator<Item = Field<'_>> {
    form.fields().map(|(name, field)| Field {
        name,
        form: field,
        required: form.required.iter().any(|one| one == name),
    })
}

fn field_of<'c>(kind: &str, form: &'c Form, name: &str) -> Result<Field<'c>, Stop> {
    let field = fields(form).find(|field| field.name == name);
    field.ok_or_else(|| {
        let names: Vec<_> = fields(form).map(|field| field.name).collect();
        let names = text::listed(&names, ", ");
        let why = format!("a source of kind {kind:?} has no field {name:?} (fields: {names})");
        Stop::usage(why).next(format!("plexusctl sources kinds {}", text::line(kind)))
    })
}

/// A field's name and value from `FIELD=VALUE`; a path is made absolute.
pub(super) fn field_value<'g>(
    kind: &str,
    form: &Form,
    given: &'g str,
) -> Result<(&'g str, String), Stop> {
    let (name, value) = given
        .split_once('=')
        .ok_or_else(|| Stop::usage(format!("{given:?} is not of the form FIELD=VALUE")))?;
    let field = field_of(kind, form, name)?;
    if field.form.write_only {
        return Err(Stop::usage(format!(
            "{name} is a secret, and what is typed here is seen by other programs: give it with --secret {name}=FILE, or later: plexusctl sources secret ID {name}"
        )));
    }
    let path = Path::new(value);
    match value {
        _ if field.is_path() => Ok((name, resolved(path)?)),
        // A link to a file stays one: what it leads to may be renewed.
        value if field.is_file() && !value.is_empty() => {
            Ok((name, named(path, std::path::absolute(path))?))
        }
        value => Ok((name, value.to_owned())),
    }
}

fn resolved(path: &Path) -> Result<String, Stop> {
    named(path, path.canonicalize())
}

/// The text of a whole path that was made of `path`.
fn named(path: &Path, whole: io::Result<PathBuf>) -> Result<String, Stop> {
    let whole = whole.map_err(|error| Stop::path(path, &error))?;
    let whole = whole.into_os_string().into_string();
    whole.map_err(|_| {
        Stop::usage(format!("{}: its name is no UTF-8", path.display())).next("name another")
    })
}

/// A source id from a folder's name: lower-case letters, digits and dashes.
fn id_of(path: &Path) -> Result<SourceId, Stop> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    SourceId::parse(&slug).map_err(|_| {
        let path = path.display().to_string();
        Stop::usage(format!(
            "no source id can be made of the name of the folder {path:?}: name one with --id"
        ))
    })
}

fn registered(added: &AddedSource, id: &SourceId, open: &[Field<'_>]) -> String {
    let ids: Vec<_> = added
        .added
        .registered
        .iter()
        .map(CapabilityId::as_str)
        .collect();
    let health = added.health.iter().flatten().next();
    let now = match health {
        Some(row) if is_away(row) => "is kept, with",
        Some(row) => row.health.status.in_words(),
        None => "is added, and not tested yet, with",
    };
    let mut lines = vec![
        format!("{id} {now}: {}", ids.join(" ")),
        "no agent may use it yet: each asks you first. To allow one: plexusctl grants allow AGENT ID --window 1d; to hide one: plexusctl unexpose ID".to_owned(),
    ];
    let shared = &added.added.shares_folder_with;
    if !shared.is_empty() {
        let others: Vec<_> = shared.iter().map(SourceId::as_str).collect();
        lines.push(format!(
            "it shares a folder with {}: each has its own grants, and hides on its own",
            others.join(", ")
        ));
    }
    // That it serves stands above.
    let told = health.filter(|row| row.health.status != HealthStatus::Ok);
    lines.extend(told.map(sentence));
    lines.extend(open.iter().map(|secret| {
        let name = text::line(secret.name);
        let need = match secret.required {
            true => "it needs a secret",
            false => "it can have a secret",
        };
        format!("{need}: plexusctl sources secret {id} {name}")
    }));
    lines.join("\n")
}

/// A field's name, with what sort it is; one that may be left out has a question mark.
fn sort_of(field: &Field<'_>) -> String {
    let what = match &field.form {
        secret if secret.write_only => " (secret)",
        folder if folder.root => " (folder)",
        folder if field.is_path() && folder.writable => " (folder, written)",
        _ if field.is_path() => " (folder, read)",
        _ => "",
    };
    let optional = if field.required { "" } else { "?" };
    format!("{}{optional}{what}", field.name)
}

/// One kind, with what each of its fields is for.
pub(super) fn kind(connector: &Connector) -> String {
    let rows = fields(&connector.form).map(|field| {
        let purpose = field.form.description.clone();
        [sort_of(&field), purpose]
    });
    let fields = table(
        ["field", "what it is for"],
        rows.collect(),
        "it has no fields",
    );
    let about = text::line(&connector.blurb);
    format!("{}: {about}\n\n{fields}", text::line(&connector.label))
}

/// The kinds of sources, with what each asks for; one that cannot serve here says why.
pub(super) fn kinds(connectors: &[Connector]) -> String {
    let rows = connectors.iter().map(|connector| {
        let fields: Vec<_> = fields(&connector.form)
            .map(|field| sort_of(&field))
            .collect();
        [
            connector.kind.clone(),
            connector.label.clone(),
            fields.join(", "),
            connector.reason.clone().unwrap_or_default(),
        ]
    });
    let kinds = table(
        ["kind", "label", "fields", "not here because"],
        rows.collect(),
        "this build has no connectors",
    );
    format!("{kinds}\nto see what its fields are for: plexusctl sources kinds KIND")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_from_folders() {
        let id = |path: &str| id_of(Path::new(path)).map(|id| id.to_string());
        assert_eq!(id("/home/me/My Vault (2)"), Ok("my-vault-2".to_owned()));
        assert_eq!(id("/srv/notes"), Ok("notes".to_owned()));
        for path in ["/srv/2024", "/", "/srv/ノート"] {
            let why = id(path).unwrap_err().why;
            let expected = format!(
                "no source id can be made of the name of the folder {path:?}: name one with --id"
            );
            assert_eq!(why, expected);
        }
    }

    #[test]
    fn words_of_a_source_that_is_gone_name_no_command_on_it() {
        let id = SourceId::parse("calx").unwrap();
        let said = |why| without_source(why, &id, None);
        assert_eq!(
            said(
                "set a new one: plexusctl sources secret calx password, or plexusctl sources secret calx token"
            ),
            "set a new one: --secret password=FILE, or --secret token=FILE"
        );
        let of_another = "see plexusctl sources secret cal password";
        assert_eq!(said(of_another), of_another);
        let join = "ask for another one, and set it: plexusctl sources secret calx invitation";
        assert_eq!(
            without_source(join, &id, Some("--invitation")),
            "ask for another one, and set it: --invitation FILE"
        );
    }

    #[test]
    fn source_without_folder_takes_fields_and_no_secret() {
        let mut connector: Connector = serde_json::from_value(json!({
            "kind": "mail-imap", "connector": "mail", "label": "Mail", "blurb": "", "provenanceClass": "managed",
            "transport": "egress", "detectable": false, "wireable": true, "exposesSummary": "", "fields": [],
            "form": {"properties": {
                "host": {"description": "Of whom."},
                "spool": {"format": "absolute-path"},
                "token": {"writeOnly": true},
                "ca": {"x-file": true},
            }, "required": ["host", "token"]},
        }))
        .unwrap();
        let add = |path: Option<&str>, fields: &[&str]| Add {
            kind: "mail-imap".into(),
            path: path.map(PathBuf::from),
            id: None,
            label: None,
            ask: false,
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            secrets: Vec::new(),
            keep: false,
            own: None,
        };
        let body = add(None, &["host=a=b", "spool=/usr/../usr"]).body(&connector);
        assert_eq!(
            json!(body.unwrap().1),
            json!({"id": "mail", "kind": "mail-imap", "label": "mail", "enabled": true,
                "onlyNew": true, "route": {"host": "a=b", "spool": "/usr"}})
        );
        let here = std::env::current_dir().unwrap();
        for (typed, route) in [
            ("ca=ca.pem", here.join("ca.pem").display().to_string()),
            ("ca=/ca.pem", "/ca.pem".to_owned()),
            ("ca=", String::new()),
        ] {
            let (_, body) = add(None, &[typed]).body(&connector).unwrap();
            assert_eq!(json!(body.route), json!({"ca": route}), "{typed}");
        }
        let why = |add: Add| add.body(&connector).err().unwrap().to_string();
        let said = why(add(Some("/usr"), &[]));
        assert!(said.contains("opens no folder"), "{said}");
        let said = why(add(None, &["token=hunter2"]));
        assert!(
            said.contains("--secret token=FILE") && !said.contains("hunter2"),
            "{said}"
        );
        let said = kinds(std::slice::from_ref(&connector));
        assert!(
            said.contains("host, spool? (folder, read), token (secret)"),
            "{said}"
        );
        let said = kind(&connector);
        for words in ["Mail: ", "host", "Of whom.", "spool? (folder, read)"] {
            assert!(said.contains(words), "{said}");
        }
        let wrong = |kind| {
            connector_of(std::slice::from_ref(&connector), kind)
                .err()
                .unwrap()
        };
        for (kind, said) in [
            ("mail", "did you mean mail-imap? There are: mail-imap"),
            ("mcp", "plexusctl mcp add"),
            ("extension", "plexusctl extension add"),
            ("/usr", "the kind comes before the folder"),
        ] {
            let why = wrong(kind).to_string();
            assert!(why.contains(said), "{kind}: {why}");
        }
        let row: sources::SourceRow = serde_json::from_value(json!({"id": "mail", "kind": "mail-imap",
            "label": "Mail", "enabled": true, "transport": "egress", "live": true, "liveCapabilityCount": 1,
            "provenance": "managed", "suspendedGrants": 0, "health": {"status": "ok"}}))
        .unwrap();
        let there = std::slice::from_ref(&row);
        let held = |id| add(None, &[]).hold_free(&SourceId::parse(id).unwrap(), there);
        assert_eq!(held("mail2"), Ok(()));
        let taken = held("mail").unwrap_err();
        assert!(
            taken.why.ends_with("; --id NAME adds another one"),
            "{taken}"
        );
        assert_eq!(taken.next, "plexusctl sources list");
        connector.root = Some("spool".to_owned());
        connector.form.required.push("spool".to_owned());
        let refused = add(None, &["host=a"]).body(&connector).err().unwrap();
        let said = refused.to_string();
        assert!(said.contains("opens a folder: name it"), "{said}");
    }
}
