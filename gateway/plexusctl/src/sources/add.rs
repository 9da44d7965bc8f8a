//! `plexusctl sources add` and `kinds`: what a kind of source asks for, and one with that filled in. A person at a terminal
//! is asked for what is missing. A new source is tested; one that does not serve is removed again.

use super::{
    find::{Find, Found},
    secret,
    test::{health_of, sentence},
};
use crate::{
    owner::{Desk, Owner, list_of, text_of},
    prompt,
    table::table,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::SourceId;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A source to add.
#[derive(Args)]
pub(crate) struct Add {
    /// Kind of source: plexusctl sources kinds
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
}

impl Add {
    /// One of a kind without folder, for a command of its own.
    pub(crate) fn of(
        kind: &str,
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
        secret::judge_piped("adding a source", desk, piped)
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
    ) -> Result<(Value, String), Stop> {
        let reply = owner.get("/admin/api/connectors").await?;
        let connector = connector_of(&reply, &self.kind)?;
        match desk.can_ask() {
            true => self.ask_for_fields(connector)?,
            false => self.name_programs(connector)?,
        }
        let body = self.body(connector)?;
        let id = text_of(&body, "id").to_owned();
        let secrets = self.secrets(desk, connector)?;
        let sources = owner.get("/admin/api/sources").await?;
        let mut there = list_of(&sources, "sources").iter();
        let is_new = !there.any(|source| source["id"] == id.as_str());
        let mut added = owner.post("/admin/api/sources", &body).await?;
        for (name, value) in &secrets {
            let set = secret::set(owner, &id, name, value).await;
            if let Err(stop) = set {
                return Err(self.take_back(owner, &id, is_new, stop).await);
            }
        }
        let open = self.missing_secrets(connector, &secrets);
        if open.iter().all(|field| !field.required) {
            let health = match health_of(owner, &id).await {
                Ok(health) => health,
                Err(stop) => return Err(self.take_back(owner, &id, is_new, stop).await),
            };
            let away = health.as_ref().filter(|row| row["status"] == "unavailable");
            if let Some(row) = away.filter(|_| !self.keep) {
                let stop = Stop::new(Exit::Failed, "source_unavailable", sentence(row));
                return Err(self.take_back(owner, &id, is_new, stop).await);
            }
            added["health"] = json!(health);
        }
        let said = registered(&added, &id, &open);
        Ok((added, said))
    }

    /// Leaves nothing behind of a new source that does not serve, unless it is to be kept.
    async fn take_back(&self, owner: &mut Owner, id: &str, is_new: bool, stop: Stop) -> Stop {
        if self.keep || !is_new {
            return stop.next(format!("plexusctl sources test {id}"));
        }
        match owner.delete(&format!("/admin/api/sources/{id}")).await {
            Ok(_) => {
                let why = format!("not added: {}", stop.why);
                let next = "put that right and run this again; --keep adds it all the same";
                Stop::new(Exit::Failed, &stop.code, why).next(next)
            }
            Err(_) => stop.next(format!("plexusctl sources remove {id}")),
        }
    }

    /// The fields that a source cannot do without and that are not given.
    fn open_fields<'c>(&self, connector: &'c Value) -> Vec<Field<'c>> {
        let is_given = |name: &str| {
            let mut fields = self.fields.iter().filter_map(|given| given.split_once('='));
            fields.any(|(field, _)| field == name)
                || connector["root"] == name && self.path.is_some()
        };
        form(connector)
            .filter(|field| !field.is_secret() && field.required && !is_given(field.name))
            .collect()
    }

    /// Asks the person for them.
    fn ask_for_fields(&mut self, connector: &Value) -> Result<(), Stop> {
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
    fn name_programs(&self, connector: &Value) -> Result<(), Stop> {
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
    fn secrets(
        &self,
        desk: &Desk,
        connector: &Value,
    ) -> Result<Vec<(String, Zeroizing<String>)>, Stop> {
        let mut secrets = Vec::new();
        for given in &self.secrets {
            let (name, file) = given
                .split_once('=')
                .ok_or_else(|| Stop::usage("write --secret FIELD=FILE"))?;
            if !field_of(connector, name)?.is_secret() {
                let why = format!("{name} is no secret: --set {name}=VALUE");
                return Err(Stop::usage(why));
            }
            let value = match file {
                "-" => secret::from_stdin(),
                file => secret::from_file(Path::new(file)),
            };
            secrets.push((name.to_owned(), value?));
        }
        let open = self.missing_secrets(connector, &secrets);
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
        connector: &'c Value,
        given: &[(String, Zeroizing<String>)],
    ) -> Vec<Field<'c>> {
        let is_set = |name: &str| {
            let mut fields = self.fields.iter().filter_map(|given| given.split_once('='));
            fields.any(|(field, value)| field == name && !value.is_empty())
        };
        form(connector)
            .filter(Field::is_secret)
            .filter(|field| given.iter().all(|(name, _)| field.name != name))
            .filter(|field| !field.schema["x-unless"].as_str().is_some_and(is_set))
            .collect()
    }

    /// The request, with the folder in the field that this kind of source has for it.
    fn body(&self, connector: &Value) -> Result<Value, Stop> {
        let mut route = Map::new();
        let root = connector["root"].as_str();
        let mut folder = None;
        match (root, &self.path) {
            (Some(root), Some(path)) => {
                let path = resolved(path)?;
                route.insert(root.to_owned(), json!(path));
                folder = Some(path);
            }
            (None, Some(_)) => {
                return Err(Stop::usage(format!(
                    "a source of kind {:?} opens no folder; what it asks for is given with --set: plexusctl sources kinds",
                    self.kind
                )));
            }
            // It may be among the fields; if not, the gateway says so.
            (_, None) => {}
        }
        for given in &self.fields {
            let (name, value) = field_value(connector, given)?;
            if root == Some(name) {
                folder = value.as_str().map(PathBuf::from);
            }
            route.insert(name.to_owned(), value);
        }
        let id = match (&self.id, folder) {
            (Some(id), _) => id.clone(),
            (None, Some(folder)) => id_of(&folder)?,
            (None, None) => SourceId::parse(text_of(connector, "connector"))
                .map_err(|_| Stop::usage("name the source with --id"))?,
        };
        let mut body = json!({"id": id, "kind": self.kind, "enabled": true, "route": route});
        body["label"] = self.label.as_deref().unwrap_or(id.as_str()).into();
        if self.ask {
            body["approval"] = "ask".into();
        }
        Ok(body)
    }
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
    prompt::line_or(
        text_of(field.schema, "title"),
        &first.path.to_string_lossy(),
    )
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
pub(super) fn connector_of<'c>(connectors: &'c Value, kind: &str) -> Result<&'c Value, Stop> {
    let known = list_of(connectors, "connectors");
    let found = known.iter().find(|connector| connector["kind"] == kind);
    found.ok_or_else(|| {
        let kinds: Vec<_> = known.iter().map(|c| text_of(c, "kind")).collect();
        let kinds = text::line(&kinds.join(", "));
        Stop::usage(format!("there is no kind {kind:?}; there are: {kinds}"))
    })
}

/// A field of the form of a kind: a property of the schema that the catalogue serves.
pub(super) struct Field<'c> {
    pub(super) name: &'c str,
    schema: &'c Value,
    required: bool,
}

impl Field<'_> {
    fn is_secret(&self) -> bool {
        self.schema["writeOnly"] == true
    }

    /// Where it may be installed, of a program.
    fn find(&self) -> Option<Find> {
        Find::deserialize(self.schema.get("x-find")?).ok()
    }

    fn is_path(&self) -> bool {
        self.schema["format"] == "absolute-path"
    }

    /// Whether another value only suspends the grants on the source.
    pub(super) fn suspends(&self) -> bool {
        self.schema["x-grants"] == "suspended"
    }

    /// What a person is asked for it.
    fn question(&self) -> String {
        let example = match self.schema["examples"][0].as_str() {
            None => String::new(),
            Some(example) => format!(" (such as {example})"),
        };
        format!("{}{example}", text_of(self.schema, "title"))
    }
}

/// The form of a kind, in its order.
pub(super) fn form(connector: &Value) -> impl Iterator<Item = Field<'_>> {
    let form = &connector["form"];
    let required = list_of(form, "required");
    let properties = form["properties"].as_object().into_iter().flatten();
    properties.map(|(name, schema)| Field {
        name,
        schema,
        required: required.iter().any(|one| one == name.as_str()),
    })
}

fn field_of<'c>(connector: &'c Value, name: &str) -> Result<Field<'c>, Stop> {
    let field = form(connector).find(|field| field.name == name);
    field.ok_or_else(|| {
        let kind = text_of(connector, "kind");
        Stop::usage(format!(
            "a source of kind {kind:?} has no field {name:?}: plexusctl sources kinds"
        ))
    })
}

/// A field's name and value from `FIELD=VALUE`; a path is made absolute.
pub(super) fn field_value<'g>(connector: &Value, given: &'g str) -> Result<(&'g str, Value), Stop> {
    let (name, value) = given
        .split_once('=')
        .ok_or_else(|| Stop::usage(format!("{given:?} is not of the form FIELD=VALUE")))?;
    let field = field_of(connector, name)?;
    if field.is_secret() {
        return Err(Stop::usage(format!(
            "{name} is a secret, and what is typed here is seen by other programs: give it with --secret {name}=FILE, or later: plexusctl sources secret ID {name}"
        )));
    }
    match field.is_path() {
        true => Ok((name, json!(resolved(Path::new(value))?))),
        false => Ok((name, value.into())),
    }
}

fn resolved(path: &Path) -> Result<PathBuf, Stop> {
    path.canonicalize()
        .map_err(|e| Stop::usage(format!("{}: {e}", path.display())))
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
    SourceId::parse(&slug)
        .map_err(|_| Stop::usage(format!("{name:?} gives no source id: name one with --id")))
}

fn registered(reply: &Value, id: &str, open: &[Field<'_>]) -> String {
    let ids: Vec<_> = list_of(reply, "registered")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let id = text::line(id);
    let now = match reply["health"]["status"] == "unavailable" {
        true => "is kept, with",
        false => "serves",
    };
    let mut lines = vec![
        format!("{id} {now}: {}", text::line(&ids.join(" "))),
        "no agent may use it yet: each asks you first, or plexusctl grants allow; plexusctl unexpose takes one away".to_owned(),
    ];
    // That it serves stands above.
    let health = Some(&reply["health"]).filter(|row| row["status"].is_string());
    lines.extend(health.filter(|row| row["status"] != "ok").map(sentence));
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

/// The kinds of sources, with what each asks for; one that cannot serve here says why.
pub(super) fn kinds(connectors: &[Value]) -> String {
    let field = |field: Field<'_>| {
        let what = match &field.schema {
            _ if field.is_secret() => " (secret)",
            schema if schema["x-root"] == true => " (folder)",
            schema if field.is_path() && schema["x-writable"] == true => " (folder, written)",
            _ if field.is_path() => " (folder, read)",
            _ => "",
        };
        let optional = if field.required { "" } else { "?" };
        format!("{}{optional}{what}", field.name)
    };
    let rows = connectors.iter().map(|connector| {
        let fields: Vec<_> = form(connector).map(field).collect();
        [
            text_of(connector, "kind").to_owned(),
            text_of(connector, "label").to_owned(),
            fields.join(", "),
            text_of(connector, "reason").to_owned(),
        ]
    });
    table(
        ["kind", "label", "fields", "not here because"],
        rows.collect(),
        "this build has no connectors",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_folders() {
        let id = |path: &str| id_of(Path::new(path)).map(|id| id.to_string());
        assert_eq!(id("/home/me/My Vault (2)"), Ok("my-vault-2".to_owned()));
        assert_eq!(id("/srv/notes"), Ok("notes".to_owned()));
        assert!(id("/srv/2024").is_err() && id("/").is_err() && id("/srv/ノート").is_err());
    }

    #[test]
    fn source_without_folder_takes_fields_and_no_secret() {
        let connector = json!({"kind": "mail-imap", "connector": "mail", "form": {"properties": {
            "host": {},
            "spool": {"format": "absolute-path"},
            "token": {"writeOnly": true},
        }, "required": ["host", "token"]}});
        let add = |path: Option<&str>, fields: &[&str]| Add {
            kind: "mail-imap".into(),
            path: path.map(PathBuf::from),
            id: None,
            label: None,
            ask: false,
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            secrets: Vec::new(),
            keep: false,
        };
        let body = add(None, &["host=a=b", "spool=/usr/../usr"]).body(&connector);
        assert_eq!(
            body.unwrap(),
            json!({"id": "mail", "kind": "mail-imap", "label": "mail", "enabled": true,
                "route": {"host": "a=b", "spool": "/usr"}})
        );
        assert!(add(Some("/usr"), &[]).body(&connector).is_err());
        let secret = add(None, &["token=hunter2"]).body(&connector).unwrap_err();
        let said = secret.to_string();
        assert!(
            said.contains("--secret token=FILE") && !said.contains("hunter2"),
            "{said}"
        );
        let said = kinds(&[connector]);
        assert!(
            said.contains("host, spool? (folder, read), token (secret)"),
            "{said}"
        );
    }
}
