//! One function for each rule; each in a runtime and a world of its own, so that no breach hides another.

mod answers;
mod cage;
mod calls;
mod constraints;
mod effects;
mod hosts;
mod malformed;
mod secrets;

use crate::{
    breach::{Breach, Rule},
    served::{Outcome, Setting, Worker, output},
    subject::Subject,
    world::World,
};
use plexus_ipc::{
    manifest::Manifest,
    message::{Failure, Role, WorkerError},
    worker::Source,
};
use serde_json::Value;
use std::time::Duration;

/// Threads for files, as a worker's process has them.
const FILE_THREADS: usize = 8;
/// How long a cut-off file thread may go on in the background of a test.
const LEAVE: Duration = Duration::from_millis(100);

/// Examines one rule.
pub(crate) fn examine<S: Source>(
    rule: Rule,
    subject: &Subject,
    manifest: &Manifest,
) -> Vec<Breach> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .build()
        .expect("a runtime");
    let on = Bench {
        rule,
        subject,
        manifest,
        world: subject.fresh_world(manifest),
    };
    let breaches = runtime.block_on(async {
        match rule {
            Rule::Examples => calls::examples::<S>(&on).await,
            Rule::Answers => answers::fit::<S>(&on).await,
            Rule::ChangesNothing => calls::change_nothing::<S>(&on).await,
            Rule::Deadlines => calls::deadlines::<S>(&on).await,
            Rule::Promptness => calls::promptness::<S>(&on).await,
            Rule::Malformed => malformed::is_an_error::<S>(&on).await,
            Rule::Touched => calls::touched::<S>(&on).await,
            Rule::Constraints => constraints::hold::<S>(&on).await,
            Rule::StateToken => effects::state_token::<S>(&on).await,
            Rule::Cancelled => effects::cancelled::<S>(&on).await,
            Rule::Hosts => hosts::are_missed::<S>(&on).await,
            Rule::Secrets => secrets::stay_inside::<S>(&on).await,
            Rule::Cage => cage::holds(&on).await,
        }
    });
    runtime.shutdown_timeout(LEAVE);
    breaches
}

/// What a rule has in front of it.
pub(crate) struct Bench<'a> {
    rule: Rule,
    pub(crate) subject: &'a Subject,
    pub(crate) manifest: &'a Manifest,
    pub(crate) world: World,
}

impl Bench<'_> {
    pub(crate) fn breach(&self, at: &str, what: impl Into<String>) -> Breach {
        Breach {
            rule: self.rule,
            at: at.to_owned(),
            what: what.into(),
        }
    }

    pub(crate) async fn serve<S: Source>(&self, role: Role) -> Worker {
        let setting = self.setting(self.subject.egress.clone());
        Worker::set_up::<S>(self.subject.manifest, &setting, role).await
    }

    pub(crate) fn setting(&self, egress: Option<(u16, String)>) -> Setting {
        Setting {
            config: self.subject.configuration(self.manifest, &self.world),
            secrets: self.subject.secrets(self.manifest),
            scratch: None,
            egress,
        }
    }
}

/// An input as it stands in a report: long ones are cut.
pub(crate) fn shown(input: &Value) -> String {
    let text = input.to_string();
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

/// What is wrong with an answer in trouble: it may be the whole one, or an error of these.
fn less(outcome: &Outcome, whole: &Value, may_be: impl Fn(&Failure) -> bool) -> Option<String> {
    match &outcome.0 {
        Ok(_) if output(outcome) == *whole => None,
        Ok(_) => Some("a smaller answer".to_owned()),
        Err(error) if may_be(&error.code) => None,
        Err(error) => Some(told(error)),
    }
}

/// An error as it stands in a report.
pub(crate) fn told(error: &WorkerError) -> String {
    format!("{:?}: {}", error.code, error.message)
}
