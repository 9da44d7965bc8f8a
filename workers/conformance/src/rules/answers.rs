//! Answers against the output schema of their entry.

use super::{Bench, shown};
use crate::{breach::Breach, served::output};
use plexus_ipc::{manifest::Capability, message::Role, worker::Source};
use serde_json::Value;

pub(super) async fn fit<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for entry in on
        .manifest
        .capabilities
        .iter()
        .filter(|entry| entry.callable())
    {
        if entry.output.is_none() {
            breaches.push(on.breach(&entry.name, "has no output schema"));
        }
    }
    let mut reader = on.serve::<S>(Role::Reader).await;
    for (entry, example) in on.subject.examples_of(on.manifest, true) {
        let outcome = reader.read(&entry.name, example.input.clone()).await;
        if outcome.0.is_ok() {
            for what in misfits(entry, &output(&outcome)) {
                breaches.push(on.breach(&entry.name, format!("{}: {what}", shown(&example.input))));
            }
        }
    }
    if on.manifest.roles.contains(&Role::Writer) {
        let mut writer = on.serve::<S>(Role::Writer).await;
        for (entry, example) in on.subject.examples_of(on.manifest, false) {
            let Ok(plan) = reader.plan(&entry.name, example.input.clone()).await else {
                continue;
            };
            let outcome = writer
                .commit_of(
                    &entry.name,
                    &example.input,
                    Some(plan.state_token),
                    None,
                    plan.rating,
                )
                .await;
            if outcome.0.is_ok() {
                for what in misfits(entry, &output(&outcome)) {
                    breaches
                        .push(on.breach(&entry.name, format!("{}: {what}", shown(&example.input))));
                }
            }
        }
    }
    breaches
}

/// What is wrong with an answer, by the schema of its entry.
pub(super) fn misfits(entry: &Capability, answer: &Value) -> Vec<String> {
    let Some(schema) = &entry.output else {
        return Vec::new();
    };
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![format!("the output schema is none: {error}")],
    };
    let mut found: Vec<String> = validator
        .iter_errors(answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    unnamed(schema, answer, "", &mut found);
    found
}

/// Members that the schema does not name. A schema that names none, or says what others are, allows them.
fn unnamed(schema: &Value, answer: &Value, at: &str, found: &mut Vec<String>) {
    match answer {
        Value::Object(members) => {
            let Some(named) = schema["properties"].as_object() else {
                return;
            };
            let open = schema
                .get("additionalProperties")
                .is_some_and(|more| *more != false);
            for (name, value) in members {
                match named.get(name) {
                    Some(schema) => unnamed(schema, value, &format!("{at}/{name}"), found),
                    None if open => {}
                    None => found.push(format!("{at}/{name} is not in the schema")),
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    unnamed(schema, item, &format!("{at}/{index}"), found);
                }
            }
        }
        _ => {}
    }
}
