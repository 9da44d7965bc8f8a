//! `plexusctl sources add` and `kinds`: what a kind of source asks for, and one with that filled in.

use crate::{
    owner::{Desk, Owner, list_of, text_of},
    table::table,
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_protocol::SourceId;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A source to add.
#[derive(Args)]
pub(super) struct Add {
    /// Kind of source: plexusctl sources kinds
    kind: String,
    /// Folder that it opens, where it opens one
    path: Option<PathBuf>,
    /// Its id, the first part of its capabilities' names [default: from the folder's name, else the kind's]
    #[arg(long)]
    id: Option<SourceId>,
    /// What you call it
    #[arg(long)]
    label: Option<String>,
    /// Ask before every call, reads included
    #[arg(long)]
    ask: bool,
    /// Further field of this kind; may be given again
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
}

impl Add {
    pub(super) async fn run(&self, desk: &Desk, owner: &mut Owner) -> Result<Exit, Stop> {
        let reply = owner.get("/admin/api/connectors").await?;
        let connector = self.connector(&reply)?;
        let body = self.body(connector)?;
        let added = owner.post("/admin/api/sources", &body).await?;
        desk.show(&added, || {
            registered(&added, text_of(&body, "id"), connector)
        })
    }

    fn connector<'c>(&self, connectors: &'c Value) -> Result<&'c Value, Stop> {
        let known = list_of(connectors, "connectors");
        known
            .iter()
            .find(|c| c["kind"] == self.kind.as_str())
            .ok_or_else(|| {
                let kinds: Vec<_> = known.iter().map(|c| text_of(c, "kind")).collect();
                Stop::usage(format!(
                    "there is no kind {:?}; there are: {}",
                    self.kind,
                    text::line(&kinds.join(", "))
                ))
            })
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
            let (name, value) = self.field(connector, given)?;
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

    fn field<'g>(&self, connector: &Value, given: &'g str) -> Result<(&'g str, Value), Stop> {
        let (name, value) = given
            .split_once('=')
            .ok_or_else(|| Stop::usage("write --set FIELD=VALUE"))?;
        let mut fields = list_of(connector, "fields").iter();
        let field = fields.find(|f| f["name"] == name && f["target"] != "label");
        let field = field.ok_or_else(|| {
            Stop::usage(format!(
                "a source of kind {:?} has no field {name:?}",
                self.kind
            ))
        })?;
        if field["target"] == "secret" {
            return Err(Stop::usage(format!(
                "{name} is a secret, and what is typed here is seen by other programs; add the source, then: plexusctl sources secret ID {name}"
            )));
        }
        match field["type"] == "path" {
            true => Ok((name, json!(resolved(Path::new(value))?))),
            false => Ok((name, value.into())),
        }
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

fn registered(reply: &Value, id: &str, connector: &Value) -> String {
    let ids: Vec<_> = list_of(reply, "registered")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let id = text::line(id);
    let mut said = format!(
        "{id} serves: {}\nno agent may use it yet: each asks you first, or plexusctl grants allow; plexusctl hide takes one away",
        text::line(&ids.join(" "))
    );
    let mut fields = list_of(connector, "fields").iter();
    while let Some(secret) = fields.find(|f| f["target"] == "secret") {
        let name = text::line(text_of(secret, "name"));
        let need = match secret["required"] == true {
            true => "it needs a secret",
            false => "it can have a secret",
        };
        said.push_str(&format!("\n{need}: plexusctl sources secret {id} {name}"));
    }
    said
}

/// The kinds of sources, with what each asks for; one that cannot serve here says why.
pub(super) fn kinds(connectors: &[Value]) -> String {
    let field = |connector: &Value, field: &Value| {
        let name = text_of(field, "name");
        let what = match (field["target"].as_str(), field["type"].as_str()) {
            (Some("secret"), _) => " (secret)",
            _ if connector["root"] == name => " (folder)",
            (_, Some("path")) if field["writable"] == true => " (folder, written)",
            (_, Some("path")) => " (folder, read)",
            _ => "",
        };
        let optional = match field["required"] == true {
            true => "",
            false => "?",
        };
        format!("{name}{optional}{what}")
    };
    let rows = connectors.iter().map(|connector| {
        let fields = list_of(connector, "fields").iter();
        let fields: Vec<_> = fields
            .filter(|f| f["target"] != "label")
            .map(|f| field(connector, f))
            .collect();
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
        let connector = json!({"kind": "mail-imap", "connector": "mail", "fields": [
            {"name": "host", "type": "text", "target": "route", "required": true},
            {"name": "spool", "type": "path", "target": "route", "required": false},
            {"name": "token", "type": "password", "target": "secret", "required": true},
        ]});
        let add = |path: Option<&str>, fields: &[&str]| Add {
            kind: "mail-imap".into(),
            path: path.map(PathBuf::from),
            id: None,
            label: None,
            ask: false,
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
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
            said.contains("sources secret ID token") && !said.contains("hunter2"),
            "{said}"
        );
        let said = kinds(&[connector]);
        assert!(
            said.contains("host, spool? (folder, read), token (secret)"),
            "{said}"
        );
    }
}
