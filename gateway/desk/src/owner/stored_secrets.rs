//! Secrets of an extension that the owner decides on: which are stored, and which of those stay.
//!
//! ```text
//! declared, not stored ─▶ missing
//! stored, the host of before ─▶ stays
//! stored, another host ─▶ moves ─kept by the owner─▶ goes to the new host
//!                               └─────────────────▶ deleted before the new manifest is in force
//! stored, not declared ─▶ deleted likewise
//! ```
//! Invariant: a stored secret goes to no host but the one that it was stored for, unless the owner keeps it by name after
//! the host was shown (docs/decisions/0085).
//!
//! Must not know: a secret's value.

use super::{Narrowing, secrets};
use crate::{
    acts::{blocking, failed, record},
    desk::Desk,
};
use plexus_edge::reply::Refused;
use plexus_owner::pending::{MissingSecret, MovedSecret};
use plexus_protocol::SourceId;
use plexus_sources::extensions::sections::{Fact, Section};
use plexus_trust::Source;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    sync::Arc,
};

/// What becomes of a declared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecretFate {
    Missing,
    Stays,
    Moves,
}

/// The secrets of one extension.
pub(super) struct StoredSecrets {
    source: SourceId,
    declared: BTreeMap<String, SecretFate>,
    /// Stored ones.
    own: BTreeSet<String>,
    /// The file elsewhere that the owner has named for its secret.
    reference: Option<String>,
    /// Where they would go.
    host: String,
}

impl StoredSecrets {
    /// Those of `after`, in place of `before`.
    pub(super) async fn of(
        desk: &Arc<Desk>,
        source: &SourceId,
        there: Option<&Source>,
        before: Option<&Value>,
        after: &Value,
    ) -> Result<Self, Refused> {
        let reference = there.and_then(|there| there.config.secret_ref.clone());
        let (here, id, file) = (desk.clone(), source.clone(), reference.clone());
        let stored = blocking(move || stored(&here, &id, file.as_deref())).await?;
        let stored = stored.map_err(|error| failed(format!("secrets: {error}")))?;
        let none = Value::Null;
        let before = before.unwrap_or(&none);
        let is_same_host = before["hosts"] == after["hosts"];
        let was: BTreeSet<_> = names(before).collect();
        let fate = |name: &str| match (stored.has(name), is_same_host && was.contains(name)) {
            // A file that is named moves with its name, also before it is there.
            (_, false) if reference.is_some() => SecretFate::Moves,
            (false, _) => SecretFate::Missing,
            (true, true) => SecretFate::Stays,
            (true, false) => SecretFate::Moves,
        };
        let declared: BTreeMap<_, _> = names(after)
            .map(|name| (name.to_owned(), fate(name)))
            .collect();
        Ok(Self {
            source: source.clone(),
            own: stored.own,
            declared,
            reference,
            host: after["hosts"][0]["url"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// Those that an approval deletes unless the owner keeps them.
    pub(super) fn moving(&self) -> impl Iterator<Item = &String> {
        let moving = self
            .declared
            .iter()
            .filter(|(_, fate)| **fate == SecretFate::Moves);
        moving.map(|(name, _)| name)
    }

    /// Stored ones that the manifest does not declare.
    fn stray(&self) -> impl Iterator<Item = &String> {
        let own = self.own.iter();
        own.filter(|name| !self.declared.contains_key(*name))
    }

    /// The same for the owner, each with the host that it would go to.
    pub(super) fn offered(&self) -> Vec<MovedSecret> {
        let moved = self.moving().map(|name| MovedSecret {
            name: name.clone(),
            host: self.host.clone(),
        });
        moved.collect()
    }

    /// A surface with their state.
    pub(super) fn shown_in(&self, mut surface: Value) -> Value {
        let fact = |(name, fate): (&String, &SecretFate)| match fate {
            SecretFate::Missing => Fact::line(
                "not set",
                format!(
                    "{name}: once it is added, {}",
                    self.next(name, self.reference.as_ref())
                ),
            ),
            SecretFate::Stays => Fact::line(
                "stored",
                format!("{name}: it stays, and goes to {} as before", self.host),
            ),
            SecretFate::Moves => Fact::line(
                "stored",
                format!(
                    "{name}: the secret {name} will go to {} if you keep it; else {}",
                    self.host,
                    match &self.reference {
                        Some(file) => format!("the source loses the file {file}"),
                        None => "it is deleted".to_owned(),
                    }
                ),
            ),
        };
        let deleted = self
            .stray()
            .map(|name| Fact::line("deleted", format!("{name}: stored, and no longer declared")));
        let facts: Vec<_> = self.declared.iter().map(fact).chain(deleted).collect();
        if let (false, Some(sections)) = (facts.is_empty(), surface["sections"].as_array_mut()) {
            let after = sections
                .iter()
                .position(|section| section["title"] == "Secrets");
            sections.insert(
                after.map_or(0, |at| at + 1),
                json!(Section::new("Stored secrets", facts)),
            );
        }
        surface
    }

    /// The file that the owner has named for its secret, where an approval that keeps these leaves it.
    pub(super) fn reference(&self, keeps: &BTreeSet<String>) -> Option<&String> {
        let stays = |(name, fate): (&String, &SecretFate)| {
            *fate != SecretFate::Moves || keeps.contains(name)
        };
        let stays = !self.declared.is_empty() && self.declared.iter().all(stays);
        self.reference.as_ref().filter(|_| stays)
    }

    /// Whether an approval that keeps these takes a stored secret from the source.
    pub(super) fn drops(&self, keeps: &BTreeSet<String>) -> bool {
        self.stray().next().is_some()
            || self.moving().any(|name| !keeps.contains(name))
            || self.reference != self.reference(keeps).cloned()
    }

    /// The secrets that are not there after an approval that keeps these, each with the command that sets it.
    pub(super) fn missing(&self, keeps: &BTreeSet<String>) -> Vec<MissingSecret> {
        let is_missing = |(name, fate): &(&String, &SecretFate)| match fate {
            SecretFate::Missing => true,
            SecretFate::Stays => false,
            SecretFate::Moves => !keeps.contains(*name),
        };
        let missing = self.declared.iter().filter(is_missing);
        let missing = missing.map(|(name, _)| MissingSecret {
            name: name.clone(),
            next: self.next(name, self.reference(keeps)),
        });
        missing.collect()
    }

    /// How a secret is set, where the source has this file for its secret.
    fn next(&self, name: &str, reference: Option<&String>) -> String {
        match reference {
            Some(file) => format!("write secrets/{file} in the state directory"),
            None => format!("plexusctl sources secret {} {name}", self.source),
        }
    }

    /// Checks that the owner keeps nothing but what would be deleted.
    pub(super) fn check(&self, keeps: &BTreeSet<String>) -> Result<(), Refused> {
        match keeps
            .iter()
            .find(|name| !self.moving().any(|moving| moving == *name))
        {
            Some(name) => Err(Refused::malformed(format!(
                "no stored secret {name:?} would go to another host"
            ))),
            None => Ok(()),
        }
    }

    /// Records what the owner keeps, and deletes what does not stay. What was granted on that is revoked first.
    ///
    /// # Errors
    /// Nothing is recorded, or a file cannot be deleted.
    pub(super) async fn settle(
        &self,
        desk: &Arc<Desk>,
        narrowing: &Narrowing,
        keeps: &BTreeSet<String>,
    ) -> Result<(), Refused> {
        for field in keeps {
            let acting = narrowing.wider(desk).await?;
            let about = json!({
                "event": "secret.kept", "name": format!("{}.{field}", self.source), "host": self.host,
                "sources": [self.source],
            });
            record(desk, &acting, about).await?;
        }
        // A file elsewhere is the owner's, for other sources too: this one loses its name. One of its own would take its place.
        let loses_file = self.reference.is_some() && self.reference(keeps).is_none();
        let is_gone = |field: &&String| match self.declared.get(*field) {
            Some(SecretFate::Moves) => loses_file || !keeps.contains(*field),
            Some(SecretFate::Missing | SecretFate::Stays) => loses_file,
            None => true,
        };
        for field in self.own.iter().filter(is_gone) {
            let name = format!("{}.{field}", self.source);
            let acting = narrowing.wider(desk).await?;
            secrets::delete(desk, acting, &self.source, name).await?;
        }
        Ok(())
    }
}

/// What is stored for a source.
struct Stored {
    own: BTreeSet<String>,
    /// Whether the file elsewhere is there.
    referred: Option<bool>,
}

impl Stored {
    fn has(&self, name: &str) -> bool {
        self.referred.unwrap_or_else(|| self.own.contains(name))
    }
}

fn stored(desk: &Desk, source: &SourceId, reference: Option<&str>) -> io::Result<Stored> {
    let folder = desk.state_dir.join("secrets");
    let mut own = BTreeSet::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let field = name
            .split_once('.')
            .filter(|(of, _)| *of == source.as_str());
        own.extend(field.map(|(_, field)| field.to_owned()));
    }
    Ok(Stored {
        own,
        referred: reference.map(|name| folder.join(name).exists()),
    })
}

fn names(surface: &Value) -> impl Iterator<Item = &str> {
    let secrets = surface["secrets"].as_array().into_iter().flatten();
    secrets.filter_map(|secret| secret["name"].as_str())
}
