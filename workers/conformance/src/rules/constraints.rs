//! Constraints, judged on what an input came to: spelled otherwise, behind a link, or not named at all.

use super::{Bench, shown};
use crate::{
    breach::Breach,
    served::{Outcome, Worker, output},
    subject::Example,
    world::{CANARY, CANARY_FILE},
};
use plexus_ipc::{
    manifest::Capability,
    message::{Failure, PlanMade, Role, Touched, WorkerError},
    worker::Source,
};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

/// A folder that the suite makes in the root, with links that lead out of it.
const ALIASES: &str = "conformance-aliases";

/// What a read or a plan came to.
struct CallResult {
    result: Result<Value, WorkerError>,
    touched: Vec<Touched>,
}

pub(super) async fn hold<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let folder = on.world.root.join(ALIASES);
    std::fs::create_dir(&folder).expect("a folder");
    symlink(on.world.outside.join(CANARY_FILE), folder.join("out.md")).expect("a link");
    symlink(&on.world.outside, folder.join("out")).expect("a link");
    let mut worker = on.serve::<S>(Role::Reader).await;
    for reads in [true, false] {
        for (entry, example) in on.subject.examples_of(on.manifest, reads) {
            for constrainable in &entry.constrainable {
                if let Some(kind) = constrainable.touched.as_deref() {
                    let field = constrainable.field.as_str();
                    one(
                        on,
                        &mut worker,
                        entry,
                        example,
                        (field, kind),
                        &mut breaches,
                    )
                    .await;
                }
            }
        }
    }
    for outside in &on.subject.outside {
        let Some(entry) = on.manifest.capability(&outside.capability) else {
            continue;
        };
        for constrainable in entry.constrainable.iter().filter(|c| c.touched.is_some()) {
            worker.narrow(Some(prefix(&constrainable.field, &[&outside.allow])));
            if call(&mut worker, entry, &outside.input)
                .await
                .result
                .is_ok()
            {
                breaches.push(on.breach(
                    &entry.name,
                    format!(
                        "{} passes a constraint to {:?}",
                        shown(&outside.input),
                        outside.allow
                    ),
                ));
            }
        }
    }
    breaches
}

async fn one(
    on: &Bench<'_>,
    worker: &mut Worker,
    entry: &Capability,
    example: &Example,
    (field, kind): (&str, &str),
    breaches: &mut Vec<Breach>,
) {
    worker.narrow(None);
    let free = call(worker, entry, &example.input).await;
    let Ok(whole) = &free.result else {
        return;
    };
    let ids: Vec<&str> = free
        .touched
        .iter()
        .filter(|t| *t.kind == *kind)
        .map(|t| &*t.id)
        .collect();
    let mut say = |what: String| {
        breaches.push(on.breach(&entry.name, format!("{}: {what}", shown(&example.input))));
    };

    // What it came to is allowed, and the folder that it asked to stay in: it goes on.
    let asked = example.input.get(field).and_then(Value::as_str);
    let allowed: Vec<&str> = ids.iter().copied().chain(asked).collect();
    worker.narrow(Some(prefix(field, &allowed)));
    if let Err(error) = call(worker, entry, &example.input).await.result {
        say(format!(
            "refused under a constraint to what it touches: {}",
            super::told(&error)
        ));
    }
    // Nothing of it is allowed: an error, or less than before.
    worker.narrow(Some(prefix(field, &["conformance-elsewhere"])));
    let elsewhere = call(worker, entry, &example.input).await;
    match &elsewhere.result {
        Ok(answer) if answer == whole && !ids.is_empty() => {
            say("the same answer under a constraint to something else".to_owned());
        }
        Err(error) if error.code == Failure::Internal => say(super::told(error)),
        _ => {}
    }

    // Spelled through another folder, and through links that lead out.
    if example.input.get(field).is_some_and(Value::is_string) {
        let mut aliases = vec![
            format!("{ALIASES}/out.md"),
            format!("{ALIASES}/out/{CANARY_FILE}"),
        ];
        for (at, id) in ids.iter().enumerate() {
            // A link inside of the root, from what is allowed to what is not.
            let link = format!("{ALIASES}/in-{at}");
            let place = on.world.root.join(&link);
            let _ = std::fs::remove_file(&place);
            if on.world.root.join(id).exists() && symlink(on.world.root.join(id), place).is_ok() {
                aliases.push(link);
            }
            aliases.push(format!("{ALIASES}/../{id}"));
            aliases.push(format!("{ALIASES}/./../{id}"));
            aliases.push(format!("{ALIASES}//../{id}"));
            aliases.push(format!("/{id}"));
        }
        aliases.push(
            on.world
                .outside
                .join(CANARY_FILE)
                .to_string_lossy()
                .into_owned(),
        );
        worker.narrow(Some(prefix(field, &[ALIASES])));
        for alias in aliases {
            let mut input = example.input.clone();
            input[field] = json!(alias);
            let came = call(worker, entry, &input).await;
            let Ok(answer) = came.result else { continue };
            if answer == *whole || answer.to_string().contains(CANARY) {
                say(format!(
                    "{field}={alias:?} passes a constraint to {ALIASES:?}"
                ));
            }
        }
    }
    // Without any constraint too, nothing outside of the root is reached.
    worker.narrow(None);
    if example.input.get(field).is_some_and(Value::is_string) {
        for alias in ["out.md", "out/canary.md"] {
            let mut input = example.input.clone();
            input[field] = json!(format!("{ALIASES}/{alias}"));
            if let Ok(answer) = call(worker, entry, &input).await.result
                && answer.to_string().contains(CANARY)
            {
                say(format!("{}: a link leads out of the root", input[field]));
            }
        }
    }
}

fn prefix(field: &str, allow: &[&str]) -> Value {
    json!({"pathPrefix": {"field": field, "allow": allow}})
}

async fn call(worker: &mut Worker, entry: &Capability, input: &Value) -> CallResult {
    if entry.is_read() {
        let outcome: Outcome = worker.read(&entry.name, input.clone()).await;
        let answer = outcome.0.is_ok().then(|| output(&outcome));
        CallResult {
            result: outcome.0.map(|_| answer.unwrap_or_default()),
            touched: outcome.1,
        }
    } else {
        let plan: Result<PlanMade, WorkerError> = worker.plan(&entry.name, input.clone()).await;
        let touched = plan
            .as_ref()
            .map_or_else(|_| Vec::new(), |plan| plan.touched.clone());
        CallResult {
            result: plan.map(|plan| json!([plan.state_token.to_string(), plan.preview])),
            touched,
        }
    }
}
