//! An offer: manifest, profile and program of one source.
//!
//! What ships is embedded in the gateway; nothing here depends on that. An offer that [fits](Offer::check) has a
//! profile that can be evaluated for every role and every way to fill in its fields, and that grants no write below a
//! path that the manifest calls read-only.
//!
//! Must not know: which source it is of, or how a worker is started.

use crate::{
    manifest::{Manifest, ManifestError},
    message::Role,
};
use plexus_sandbox::{
    profile::{Profile, ProfileError, SystemCalls},
    ruleset::{Parameters, Ruleset},
};
use std::{path::PathBuf, sync::Arc};

/// What a source is served with.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What it can do.
    pub manifest: Arc<Manifest>,
    /// What its workers may reach, as text.
    pub profile: Arc<str>,
    /// The profile of each program that the manifest lets its workers have started, as text, by its name.
    pub children: Vec<(String, Arc<str>)>,
    /// The manifest's text, where the workers' program is built without it and is given it when it starts.
    pub given: Option<Arc<str>>,
    /// The workers' program; a relative path begins in the gateway's folder of workers.
    pub program: PathBuf,
}

/// Why an offer is none.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Its manifest.
    #[error("the manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// Its profile, or a parameter of it that no field fills in.
    #[error("the profile: {0}")]
    Profile(#[from] ProfileError),
    /// A program of its manifest.
    #[error("the child {name}: {why}")]
    Child {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The profile lets a worker write what the manifest says it only reads.
    #[error("line {line} of the profile lets the {role} write in {field}, which is not writable")]
    Writes {
        /// The line.
        line: u32,
        /// The worker.
        role: Role,
        /// The path field.
        field: String,
    },
}

impl Offer {
    /// The offer of a connector: its worker is `plexus-worker-<connector>`.
    ///
    /// # Errors
    /// The manifest does not parse, or the profile does not fit it.
    pub fn of_connector(manifest: &str, profile: &str) -> Result<Self, OfferError> {
        let manifest = Manifest::parse(manifest)?;
        let offer = Self {
            program: format!("plexus-worker-{}", manifest.connector).into(),
            manifest: Arc::new(manifest),
            profile: profile.into(),
            children: Vec::new(),
            given: None,
        };
        offer.check()?;
        Ok(offer)
    }

    /// With the profiles of the manifest's programs.
    ///
    /// # Errors
    /// One is missing or left over, does not parse, or is of another flavour than the manifest says.
    pub fn with_children(mut self, profiles: &[(&str, &str)]) -> Result<Self, OfferError> {
        for child in &self.manifest.children {
            let of = |why| OfferError::Child {
                name: child.name.clone(),
                why,
            };
            let mut named = profiles.iter().filter(|(name, _)| *name == child.name);
            let (_, text) = named.next().ok_or_else(|| of("it has no profile"))?;
            let flavour = Profile::parse(text)?.system_calls();
            if (flavour == SystemCalls::Agent) != child.tools {
                return Err(of("its profile and `tools` differ"));
            }
            self.children.push((child.name.clone(), (*text).into()));
        }
        if profiles.len() == self.children.len() {
            return Ok(self);
        }
        Err(OfferError::Child {
            name: self.manifest.connector.clone(),
            why: "there is a profile of no child",
        })
    }

    /// Whether the profile fits the manifest.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check(&self) -> Result<(), OfferError> {
        let profile = Profile::parse(&self.profile)?;
        let place = |parameter: &str| format!("/plexus/{}", parameter.to_ascii_lowercase());
        for role in self.manifest.roles.iter().copied() {
            // With every path, and with those alone that no source can do without.
            for with_optional in [true, false] {
                let given = |required: bool| required || with_optional;
                let fields = self.manifest.paths();
                let fields: Vec<_> = fields.filter(|(field, _)| given(field.required)).collect();
                let always = ["WORKER", "SCRATCH"].map(|name| (name.to_owned(), place(name)));
                let mut parameters = Parameters::from(always);
                parameters.insert("ROLE".to_owned(), role.to_string());
                parameters.extend(fields.iter().map(|(_, name)| (name.clone(), place(name))));
                let ruleset = Ruleset::evaluate(&profile, &parameters)?;
                for (field, name) in &fields {
                    if field.writable && role == Role::Writer {
                        continue;
                    }
                    let here = PathBuf::from(place(name));
                    let reaches = |write: &&plexus_sandbox::ruleset::PathGrant| {
                        write.path.starts_with(&here) || here.starts_with(&write.path)
                    };
                    if let Some(write) = ruleset.writes.iter().find(reaches) {
                        return Err(OfferError::Writes {
                            line: write.origin.line,
                            role,
                            field: field.name.clone(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}
