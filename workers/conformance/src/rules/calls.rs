//! Rules about single calls: examples, changes, time, promptness, what was touched.

use super::{Bench, less, shown, told};
use crate::{breach::Breach, served::output};
use plexus_ipc::{
    manifest::Audience,
    message::{Failure, Role},
    worker::Source,
};
use plexus_protocol::Verb;
use std::time::{Duration, Instant};

/// Deadlines that are tried, in milliseconds: none at all, and too little for most work.
const DEADLINES: [u64; 4] = [0, 1, 3, 9];
/// As the gateway's supervisor has it: a probe that takes longer counts as missed.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// Calls that are begun and cancelled: twice as many as there are threads for files.
const CANCELLED: usize = 16;

pub(super) async fn examples<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for entry in on
        .manifest
        .capabilities
        .iter()
        .filter(|entry| entry.callable() && !on.subject.elsewhere.contains(&entry.name))
    {
        let subject = on.subject;
        let has = subject.examples.iter().any(|e| e.capability == entry.name);
        // What only the gateway asks for has its own tests.
        if !has && !subject.elsewhere.contains(&entry.name) && entry.audience == Audience::Agents {
            breaches.push(on.breach(&entry.name, "has no example"));
        }
    }
    for example in &on.subject.examples {
        if on.manifest.capability(&example.capability).is_none() {
            breaches.push(on.breach(&example.capability, "is not in the manifest"));
        }
    }
    let mut worker = on.serve::<S>(Role::Reader).await;
    for (entry, example) in on.subject.examples_of(on.manifest, true) {
        if let Err(error) = worker.read(&entry.name, example.input.clone()).await.0 {
            breaches.push(on.breach(
                &entry.name,
                format!("{} fails: {}", shown(&example.input), told(&error)),
            ));
        }
    }
    for (entry, example) in on.subject.examples_of(on.manifest, false) {
        if let Err(error) = worker.plan(&entry.name, example.input.clone()).await {
            breaches.push(on.breach(
                &entry.name,
                format!(
                    "{} cannot be planned: {}",
                    shown(&example.input),
                    told(&error)
                ),
            ));
        }
    }
    breaches
}

pub(super) async fn change_nothing<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut worker = on.serve::<S>(Role::Reader).await;
    let mut before = on.world.look();
    for reads in [true, false] {
        for (entry, example) in on.subject.examples_of(on.manifest, reads) {
            let input = example.input.clone();
            // Whether it succeeds is another rule's matter.
            if reads {
                let _ = worker.read(&entry.name, input).await;
            } else {
                let _ = worker.plan(&entry.name, input).await;
            }
            let after = on.world.look();
            let changed = before.changed(&after);
            if !changed.is_empty() {
                let word = if reads { "the read" } else { "the plan" };
                breaches.push(on.breach(
                    &entry.name,
                    format!("{word} {} changed {changed:?}", shown(&example.input)),
                ));
            }
            before = after;
        }
    }
    breaches
}

pub(super) async fn deadlines<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut worker = on.serve::<S>(Role::Reader).await;
    for (entry, example) in on.subject.examples_of(on.manifest, true) {
        let whole = worker.read(&entry.name, example.input.clone()).await;
        if whole.0.is_err() {
            continue;
        }
        let whole = output(&whole);
        for deadline in DEADLINES {
            let late = worker
                .read_within(&entry.name, &example.input, deadline)
                .await;
            let is_late = |code: &Failure| *code == Failure::DeadlineExceeded;
            let Some(what) = less(&late, &whole, is_late) else {
                continue;
            };
            breaches.push(on.breach(
                &entry.name,
                format!("{} within {deadline} ms is {what}", shown(&example.input)),
            ));
        }
    }
    for (entry, example) in on.subject.examples_of(on.manifest, false) {
        let Ok(whole) = worker.plan(&entry.name, example.input.clone()).await else {
            continue;
        };
        for deadline in DEADLINES {
            let what = match worker
                .plan_within(&entry.name, &example.input, deadline)
                .await
            {
                Ok(plan) if plan.state_token == whole.state_token => continue,
                Ok(_) => "another plan".to_owned(),
                Err(error) if error.code == Failure::DeadlineExceeded => continue,
                Err(error) => told(&error),
            };
            breaches.push(on.breach(
                &entry.name,
                format!(
                    "the plan of {} within {deadline} ms is {what}",
                    shown(&example.input)
                ),
            ));
        }
    }
    breaches
}

pub(super) async fn promptness<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut worker = on.serve::<S>(Role::Reader).await;
    for reads in [true, false] {
        for (entry, example) in on.subject.examples_of(on.manifest, reads) {
            let name = &entry.name;
            for _ in 0..CANCELLED {
                worker.begin_and_cancel(name, &example.input, reads).await;
            }
            let begun = Instant::now();
            worker.answered(CANCELLED).await;
            let answered = begun.elapsed();
            let _ = worker.health().await;
            let probed = begun.elapsed();
            // A thread that goes on with what nobody waits for holds up this call.
            if reads {
                let _ = worker.read(name, example.input.clone()).await;
            } else {
                let _ = worker.plan(name, example.input.clone()).await;
            }
            let next = begun.elapsed() - probed;
            for (took, what) in [
                (answered, "cancelled calls are answered after"),
                (probed, "a probe beside them is answered after"),
                (next, "after they were cancelled the next call takes"),
            ] {
                if took > PROBE_WITHIN {
                    breaches.push(on.breach(
                        name,
                        format!(
                            "{}: {what} {:.1} s",
                            shown(&example.input),
                            took.as_secs_f64()
                        ),
                    ));
                    break;
                }
            }
        }
    }
    breaches
}

pub(super) async fn touched<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut worker = on.serve::<S>(Role::Reader).await;
    for (entry, example) in on.subject.examples_of(on.manifest, true) {
        let (answer, touched) = worker.read(&entry.name, example.input.clone()).await;
        if answer.is_err() {
            continue;
        }
        let mut say = |what: String| {
            breaches.push(on.breach(&entry.name, format!("{} {what}", shown(&example.input))));
        };
        if touched.is_empty() {
            say("names nothing".to_owned());
        }
        for id in &example.touches {
            if !touched.iter().any(|t| *t.id == **id) {
                say(format!("read {id:?} and does not name it"));
            }
        }
        if let Some(t) = touched.iter().find(|t| t.access != Verb::Read) {
            say(format!("is a read and names {:?} as changed", &*t.id));
        }
        for kind in entry
            .constrainable
            .iter()
            .filter_map(|c| c.touched.as_deref())
        {
            if !touched.is_empty() && !touched.iter().any(|t| *t.kind == *kind) {
                say(format!(
                    "names nothing of the kind {kind:?} that a constraint is judged on"
                ));
            }
        }
    }
    if !on.manifest.roles.contains(&Role::Writer) {
        return breaches;
    }
    let mut writer = on.serve::<S>(Role::Writer).await;
    for (entry, example) in on.subject.examples_of(on.manifest, false) {
        let Ok(plan) = worker.plan(&entry.name, example.input.clone()).await else {
            continue;
        };
        let before = on.world.look();
        let (answer, touched) = writer
            .commit_of(
                &entry.name,
                &example.input,
                Some(plan.state_token),
                None,
                plan.rating,
            )
            .await;
        let mut say = |what: String| {
            breaches.push(on.breach(&entry.name, format!("{} {what}", shown(&example.input))));
        };
        if let Err(error) = answer {
            say(format!(
                "was planned and cannot be committed: {}",
                told(&error)
            ));
            continue;
        }
        let named = |id: &str| {
            touched
                .iter()
                .any(|t| *t.id == *id && t.access != Verb::Read)
        };
        for path in before.changed_files(&on.world.look()) {
            if !named(&path) {
                say(format!("changed {path:?} and does not name it"));
            }
        }
        for id in &example.touches {
            if !named(id) {
                say(format!("does not name {id:?} as changed"));
            }
        }
        for planned in &plan.touched {
            if !named(&planned.id) && planned.access != Verb::Read {
                say(format!(
                    "was to change {:?} and does not name it",
                    &*planned.id
                ));
            }
        }
    }
    breaches
}
