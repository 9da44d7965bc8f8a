//! The program in its cage.

use super::{Bench, shown, told};
use crate::{
    breach::Breach,
    caged::{Cage, find_launcher},
    world::{CANARY, CANARY_FILE},
};
use plexus_ipc::{
    message::{Call, FromWorker, Role, ToWorker},
    offer::Offer,
};
use plexus_protocol::Digest;
use plexus_sandbox::{
    profile::Profile,
    ruleset::{Parameters, Ruleset},
};
use serde_json::json;

pub(super) async fn holds(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if let Some(what) = reader_writes(on) {
        breaches.push(on.breach("reader", what));
    }
    let launcher = find_launcher(&on.subject.worker);
    if let Err(error) = Offer::of_connector(on.subject.manifest, on.subject.profile) {
        breaches.push(on.breach("profile", error.to_string()));
    }
    let paths: Vec<String> = on
        .manifest
        .paths()
        .map(|(_, parameter)| parameter)
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    for finding in plexus_sandbox::lint::lint(on.subject.profile, &paths) {
        breaches.push(on.breach("profile", finding.to_string()));
    }
    let config = on.subject.configuration(on.manifest, &on.world);
    let secrets = on.subject.secrets(on.manifest);
    for role in on.manifest.roles.iter().copied() {
        let cage = Cage {
            launcher: &launcher,
            worker: &on.subject.worker,
            profile: on.subject.profile,
            manifest: on.subject.manifest,
            config: &config,
            secrets: &secrets,
            egress: on.subject.egress.as_ref(),
            role,
            before: Vec::new(),
        };
        let mut caged = match cage.start().await {
            Ok(caged) => caged,
            Err(error) => {
                breaches.push(on.breach(&role.to_string(), error.to_string()));
                continue;
            }
        };
        if role == Role::Writer {
            continue;
        }
        for (entry, example) in on.subject.examples_of(on.manifest, true) {
            let input = example.input.to_string().into_bytes();
            let call = Call {
                id: 1,
                audit: None,
                owner: false,
                capability: entry.name.as_str().into(),
                input_digest: Digest::of(&input),
                input: input.into(),
                constraint: None,
                deadline_ms: 30_000,
            };
            if caged.to.send(ToWorker::Read(call)).await.is_err() {
                breaches.push(on.breach(&entry.name, "the worker is gone"));
                break;
            }
            let what = loop {
                match caged.from.next().await {
                    Ok(Some(FromWorker::Done(done))) => match done.result {
                        Ok(answer) => {
                            let leaked = String::from_utf8_lossy(&answer.output).contains(CANARY);
                            break leaked.then(|| format!("reached {CANARY_FILE} outside"));
                        }
                        Err(error) => break Some(told(&error)),
                    },
                    Ok(Some(_)) => {}
                    Ok(None) => break Some("the worker ended".to_owned()),
                    Err(error) => break Some(error.to_string()),
                }
            };
            if let Some(what) = what {
                breaches.push(on.breach(
                    &entry.name,
                    format!("in its cage {}: {what}", shown(&example.input)),
                ));
            }
        }
    }
    breaches
}

/// What the profile lets a reader write.
fn reader_writes(on: &Bench<'_>) -> Option<String> {
    let profile = match Profile::parse(on.subject.profile) {
        Ok(profile) => profile,
        Err(error) => return Some(format!("the profile: {error}")),
    };
    let always = [("WORKER", "/w"), ("ROLE", "reader"), ("SCRATCH", "/s")];
    let mut parameters: Parameters = always
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let paths = on.manifest.paths();
    parameters.extend(paths.map(|(field, parameter)| (parameter, format!("/p/{}", field.name))));
    match Ruleset::evaluate(&profile, &parameters) {
        Ok(ruleset) if ruleset.writes.is_empty() => None,
        Ok(ruleset) => Some(format!(
            "the profile lets it write: {}",
            json!(ruleset.writes[0].origin.rule)
        )),
        Err(error) => Some(format!("the profile: {error}")),
    }
}
