//! One source's cage, in steps: the programs, the parameters, a start that proves itself, what the rules say of themselves.
//!
//! ```text
//! programs ─▶ parameters ─▶ proof ─▶ lint ─▶ source
//!                  (each role)
//! ```
//! A profile that cannot be read or met is named by its line; a start that fails by what the launcher or the worker said.
//!
//! Must not know: what a rule is for; the profile says that itself.

use super::Subject;
use crate::launch::Programs;
use plexus_ipc::{manifest::FolderField, message::Role, offer::Offer};
use plexus_sandbox::{profile::Profile, ruleset::Ruleset};
use plexus_sources::{code::Piece, secrets};
use plexus_supervisor::{Code, Compared, Folder, Pace, Setup, Spec, Supervisor, TrialFailure};
use serde_json::{Value, json};
use std::{net::TcpListener, path::Path, sync::Arc};

/// A step that failed.
pub(super) fn failed(step: &str, role: Option<Role>, why: &str) -> Value {
    let mut out = json!({"step": step, "ok": false, "why": why});
    if let Some(role) = role {
        out["role"] = json!(role);
    }
    out
}

fn passed(step: &str, role: Option<Role>) -> Value {
    let mut out = json!({"step": step, "ok": true});
    if let Some(role) = role {
        out["role"] = json!(role);
    }
    out
}

/// Takes all steps, up to the first that fails.
pub(super) async fn examine(
    subject: &Subject,
    programs: &Programs,
    profile: Option<&str>,
) -> Value {
    let mut steps = Vec::new();
    let text = profile.unwrap_or(&subject.connector.offer.profile);
    let connector = &subject.connector.offer.manifest.connector;
    if let Err(broken) = take(subject, programs, text, &mut steps).await {
        steps.push(broken);
    }
    json!({
        "source": subject.id,
        "connector": connector,
        "profile": format!("sandbox-profiles/{connector}.sb"),
        "steps": steps,
    })
}

async fn take(
    subject: &Subject,
    programs: &Programs,
    text: &str,
    steps: &mut Vec<Value>,
) -> Result<(), Value> {
    let worker = programs.workers.join(&subject.connector.offer.program);
    let found = worker.canonicalize();
    let worker =
        found.map_err(|e| failed("programs", None, &format!("{}: {e}", worker.display())))?;
    if let Some(place) = subject.places.iter().find(|place| !place.path.is_dir()) {
        return Err(failed(
            "programs",
            None,
            &format!("{} is not there", place.path.display()),
        ));
    }
    steps.push(passed("programs", None));

    let no_room = |e: std::io::Error| failed("TMPDIR", None, &e.to_string());
    let scratch = tempfile::tempdir().map_err(no_room)?;
    let place = scratch.path().canonicalize().map_err(no_room)?;
    let stage = Trial {
        programs,
        worker: &worker,
        place: &place,
        places: &subject.places,
    };
    let parsed = |role| {
        let refused = |e: plexus_sandbox::profile::ProfileError| {
            let mut out = failed("parameters", role, &e.to_string());
            out["line"] = json!(e.line);
            if !e.rule.is_empty() {
                out["rule"] = json!(e.rule);
            }
            out
        };
        let profile = Profile::parse(text).map_err(refused)?;
        if let Some(role) = role {
            let parameters = stage.parameters(role).into_iter().collect();
            Ruleset::evaluate(&profile, &parameters).map_err(refused)?;
        }
        Ok::<_, Value>(())
    };
    parsed(None)?;
    let mut away = None;
    for role in &subject.connector.offer.manifest.roles {
        let role = *role;
        parsed(Some(role))?;
        steps.push(passed("parameters", Some(role)));
        let tried = prove(subject, &stage, text, role).await;
        let is_proven = !matches!(tried, Err(TrialFailure::Folder(_)));
        match tried {
            Ok(()) => {}
            Err(TrialFailure::Worker(why)) => return Err(failed("proof", Some(role), &why)),
            Err(TrialFailure::Source(why) | TrialFailure::Folder(why)) => {
                away.get_or_insert(failed("source", Some(role), &why));
            }
        }
        if is_proven {
            steps.push(passed("proof", Some(role)));
        }
    }
    // Last: what breaks a cage comes before what makes one hard to judge.
    let paths: Vec<String> = subject
        .connector
        .offer
        .manifest
        .paths()
        .map(|(_, p)| p)
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    if let Some(finding) = plexus_sandbox::lint::lint(text, &paths).into_iter().next() {
        let mut out = failed("lint", None, &finding.fault.to_string());
        out["line"] = json!(finding.line);
        if !finding.rule.is_empty() {
            out["rule"] = json!(finding.rule);
        }
        return Err(out);
    }
    steps.push(passed("lint", None));
    away.map_or(Ok(()), Err)
}

/// Where a worker is tried.
struct Trial<'s> {
    programs: &'s Programs,
    worker: &'s Path,
    place: &'s Path,
    places: &'s [FolderField],
}

impl Trial<'_> {
    fn parameters(&self, role: Role) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut parameters = vec![
            ("WORKER".to_owned(), text(self.worker)),
            ("ROLE".to_owned(), role.to_string()),
            ("SCRATCH".to_owned(), text(self.place)),
        ];
        let places = self.places.iter();
        parameters.extend(places.map(|place| (place.parameter.clone(), text(&place.path))));
        parameters
    }
}

/// A real start in a state directory of its own, with the attack on its cage.
async fn prove(
    subject: &Subject,
    stage: &Trial<'_>,
    text: &str,
    role: Role,
) -> Result<(), TrialFailure> {
    let fault = TrialFailure::Worker;
    let port = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| fault(e.to_string()))?;
    let (notices, _heard) = tokio::sync::mpsc::unbounded_channel();
    let supervisor = Supervisor::new(Setup {
        launcher: stage.programs.launcher.clone(),
        workers: stage.programs.workers.clone(),
        // The supervisor of the role before may still be taking its worker off the record.
        state_dir: stage.place.join(role.to_string()),
        launch: 0,
        tcp_port: port.local_addr().map_err(|e| fault(e.to_string()))?.port(),
        notices,
        pace: Pace::default(),
    })
    .map_err(|e| fault(e.to_string()))?;
    let (home, id, files) = (
        subject.home.clone(),
        subject.id.clone(),
        subject.secrets.clone(),
    );
    let spec = Spec {
        source: subject.id.clone(),
        offer: Arc::new(Offer {
            profile: text.into(),
            ..(*subject.connector.offer).clone()
        }),
        folders: subject.places.iter().map(folder).collect(),
        config: subject.config.clone(),
        secrets: Box::new(move || secrets::read(&home, &id, &files)),
        keep: Box::new(|_, _, _| Err(std::io::Error::other("nothing is kept here"))),
        revision: 0,
        elsewhere: Vec::new(),
        // What is only proven runs none of it.
        code: subject.code.iter().map(unasked).collect(),
        uncaged: false,
    };
    supervisor.try_start(Arc::new(spec), role).await
}

fn unasked(piece: &Piece) -> Code {
    let looked = piece.clone();
    Code {
        child: piece.program().map(str::to_owned),
        role: piece.role,
        path: piece.path.clone(),
        compare: Arc::new(move || {
            let found = looked.look()?;
            Ok(found.map_or(Compared::Nothing, |(path, _)| Compared::Agreed(path)))
        }),
    }
}

fn folder(place: &FolderField) -> Folder {
    Folder {
        parameter: place.parameter.clone(),
        path: place.path.clone(),
        is_target: None,
    }
}
