//! Effects: the state token, what a stale one does, and what a cancelled one says.

use super::{Bench, shown, told};
use crate::breach::Breach;
use plexus_ipc::{
    message::{Failure, Role},
    worker::Source,
};
use plexus_protocol::Effect;
use std::time::Duration;

/// When an effect is cancelled: before it began, most of them, and while it works.
const CANCELLED_AFTER: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(5),
];

pub(super) async fn state_token<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut examples = on.subject.examples_of(on.manifest, false).peekable();
    if examples.peek().is_none() {
        return breaches;
    }
    let Some(moves) = &on.subject.moves else {
        return vec![on.breach("effects", "nobody says how the world moves under them")];
    };
    let mut reader = on.serve::<S>(Role::Reader).await;
    let mut writer = on.serve::<S>(Role::Writer).await;
    let mut tokens = Vec::new();
    for (entry, example) in examples {
        let first = reader.plan(&entry.name, example.input.clone()).await;
        let second = reader.plan(&entry.name, example.input.clone()).await;
        let (Ok(first), Ok(second)) = (first, second) else {
            continue;
        };
        if first.state_token == second.state_token {
            tokens.push((entry, example, first));
        } else {
            breaches.push(on.breach(
                &entry.name,
                format!(
                    "{}: the token moves while nothing does",
                    shown(&example.input)
                ),
            ));
        }
    }
    moves(&on.world.root);
    let before = on.world.look();
    for (entry, example, plan) in tokens {
        let mut say = |what: String| {
            breaches.push(on.breach(&entry.name, format!("{}: {what}", shown(&example.input))));
        };
        if let Ok(now) = reader.plan(&entry.name, example.input.clone()).await
            && now.state_token == plan.state_token
        {
            say("the token stays when the world moves".to_owned());
        }
        let stale = writer
            .commit_of(
                &entry.name,
                &example.input,
                Some(plan.state_token),
                None,
                plan.rating,
            )
            .await;
        match stale.0 {
            Ok(_) => say("a stale token commits".to_owned()),
            Err(error) if matches!(error.code, Failure::PreconditionChanged { .. }) => {}
            // The world moved so far that there is no plan any more: as good a refusal.
            Err(error) if error.code != Failure::Internal => {}
            Err(error) => say(format!("with a stale token: {}", told(&error))),
        }
        let changed = before.changed(&on.world.look());
        if !changed.is_empty() {
            say(format!("a stale token changed {changed:?}"));
        }
    }
    breaches
}

pub(super) async fn cancelled<S: Source>(on: &Bench<'_>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut examples = on.subject.examples_of(on.manifest, false).peekable();
    if examples.peek().is_none() {
        return breaches;
    }
    let mut reader = on.serve::<S>(Role::Reader).await;
    let mut writer = on.serve::<S>(Role::Writer).await;
    for (entry, example) in examples {
        for after in CANCELLED_AFTER {
            // An effect that was done may be none any more.
            let Ok(plan) = reader.plan(&entry.name, example.input.clone()).await else {
                continue;
            };
            let before = on.world.look();
            let (answer, _) = writer
                .commit_and_cancel(&entry.name, &example.input, &plan, after)
                .await;
            let Err(error) = answer else { continue };
            let changed = before.changed(&on.world.look());
            let what = if error.code == Failure::Internal {
                told(&error)
            } else if error.effect == Effect::None && !changed.is_empty() {
                format!("it says that nothing was done, and changed {changed:?}")
            } else {
                continue;
            };
            let input = shown(&example.input);
            breaches.push(on.breach(
                &entry.name,
                format!("{input} cancelled after {after:?}: {what}"),
            ));
        }
    }
    breaches
}
