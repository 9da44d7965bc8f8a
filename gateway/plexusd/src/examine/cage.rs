//! One source's cage, in steps: the least that a worker needs to come to its `main`, the parameters, the whole profile,
//! a start that proves itself. Where a step fails, the first rule that makes the difference is named.
//!
//! ```text
//! programs ─▶ base ─▶ parameters ─▶ whole ─▶ proof ─▶ lint
//!                          (each role)
//! ```
//! A worker without a gateway ends by itself as soon as it looks for its stream. That it says so shows that the launcher,
//! the profile and the loader let it come that far.
//!
//! Must not know: what a rule is for; the profile says that itself.

use super::Subject;
use crate::launch::Programs;
use plexus_ipc::{manifest::Place, message::Role, offer::Offer};
use plexus_sandbox::{
    Limits, launcher_command,
    profile::{Form, Profile, What},
    ruleset::Ruleset,
};
use plexus_sources::secrets;
use plexus_supervisor::{Folder, Pace, Setup, Spec, Supervisor};
use serde_json::{Value, json};
use std::{
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// What a worker says when it has come to its `main` and finds no gateway (`ipc/src/worker/process.rs`).
const CAME_UP: &str = "descriptor 3 is not the gateway's stream";
/// How long it may take to come that far.
const WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The least that lets a worker come to its `main`, in the words of our profiles.
const BASE: &str = r#"(version 1)
(deny default)
(import "bsd.sb")
(allow process-exec* (literal (param "WORKER")))
(allow file-read* (literal (param "WORKER")))
(allow file-read-data (literal "/"))
(allow signal (target self))
"#;

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

    let scratch = tempfile::tempdir().map_err(|e| failed("programs", None, &e.to_string()))?;
    let place = scratch.path().canonicalize();
    let place = place.map_err(|e| failed("programs", None, &e.to_string()))?;
    let stage = Stage {
        programs,
        worker: &worker,
        place: &place,
        places: &subject.places,
    };
    let base = Profile::parse(BASE).map_err(|e| failed("base", None, &e.to_string()))?;
    stage
        .comes_up(&base, Role::Reader)
        .map_err(|why| failed("base", None, &why))?;
    steps.push(passed("base", None));

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
        Ok::<_, Value>(profile)
    };
    let profile = parsed(None)?;
    for role in &subject.connector.offer.manifest.roles {
        let role = *role;
        parsed(Some(role))?;
        steps.push(passed("parameters", Some(role)));
        if let Err(why) = stage.comes_up(&profile, role) {
            return Err(stage.culprit(&base, &profile, role, &why));
        }
        steps.push(passed("whole", Some(role)));
        prove(subject, &stage, text, role).await?;
        steps.push(passed("proof", Some(role)));
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
    Ok(())
}

/// Where a worker is tried.
struct Stage<'s> {
    programs: &'s Programs,
    worker: &'s Path,
    place: &'s Path,
    places: &'s [Place],
}

impl Stage<'_> {
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

    /// Whether the worker comes to its `main` under `profile`; else how it ended.
    fn comes_up(&self, profile: &Profile, role: Role) -> Result<(), String> {
        let (program, arguments) = launcher_command(
            &profile.to_string(),
            &self.parameters(role),
            &Limits::default(),
            &self.programs.launcher,
            self.worker,
        );
        let mut child = Command::new(&program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let began = Instant::now();
        let ended = loop {
            match child.try_wait().map_err(|e| e.to_string())? {
                Some(status) => break status.to_string(),
                None if began.elapsed() > WITHIN => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break format!("it did not end within {} s", WITHIN.as_secs());
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            // It is gone, so this ends; what it said is short.
            let _ = stderr.take(64 << 10).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        if said.contains(CAME_UP) {
            return Ok(());
        }
        match said.lines().rfind(|line| !line.trim().is_empty()) {
            Some(last) => Err(format!("{ended}: {last}")),
            None => Err(ended),
        }
    }

    /// The first rule that keeps the worker from coming up: one that takes away, or a missing one that it needs.
    fn culprit(&self, base: &Profile, profile: &Profile, role: Role, why: &str) -> Value {
        let mut out = failed("whole", Some(role), why);
        for end in 1..=profile.forms.len() {
            let mut so_far = base.clone();
            so_far.forms.extend_from_slice(&profile.forms[..end]);
            if self.comes_up(&so_far, role).is_err() {
                let form = &profile.forms[end - 1];
                out["line"] = json!(form.line);
                out["rule"] = json!(shown(form));
                return out;
            }
        }
        for needed in &base.forms {
            let mut with = profile.clone();
            with.forms.push(needed.clone());
            if self.comes_up(&with, role).is_ok() {
                out["missing"] = json!(shown(needed));
                return out;
            }
        }
        if profile.import.is_none() {
            out["missing"] = json!("(import \"bsd.sb\")");
        }
        out
    }
}

/// A form as text.
fn shown(form: &Form) -> String {
    let alone = Profile {
        import: None,
        forms: vec![form.clone()],
    };
    let text = alone.to_string();
    let header = |line: &&str| !matches!(line.trim(), "" | "(version 1)" | "(deny default)");
    let shown: Vec<_> = text.lines().filter(header).map(str::trim).collect();
    match &form.what {
        What::Rule(_) | What::If { .. } | What::SystemCalls(_) => shown.join(" "),
    }
}

/// A real start in a state directory of its own, with the attack on its cage.
async fn prove(subject: &Subject, stage: &Stage<'_>, text: &str, role: Role) -> Result<(), Value> {
    let fault = |why: String| failed("proof", Some(role), &why);
    let port = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| fault(e.to_string()))?;
    let (notices, _heard) = tokio::sync::mpsc::unbounded_channel();
    let supervisor = Supervisor::new(Setup {
        launcher: stage.programs.launcher.clone(),
        workers: stage.programs.workers.clone(),
        state_dir: stage.place.to_owned(),
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
        revision: 0,
        is_program: Arc::new(|_, _| Ok(true)),
        uncaged: false,
    };
    supervisor
        .try_start(Arc::new(spec), role)
        .await
        .map_err(fault)
}

fn folder(place: &Place) -> Folder {
    Folder {
        parameter: place.parameter.clone(),
        path: place.path.clone(),
        is_target: None,
    }
}
