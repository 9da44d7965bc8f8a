//! What will be written, removed and run, in order: shown first, then done.

use super::{
    job::{MARK, Names},
    runner::{ProgramOutput, Runner},
};
use crate::installed::{failed, replace};
use plexus_client::{Done, Exit, Stop, shell};
use plexus_protocol::state_dir::{make_folder, sync_name};
use serde_json::{Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Steps in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

/// One step.
#[derive(Debug)]
pub(super) enum Step {
    /// Writes a file of ours.
    Write { path: PathBuf, text: String },
    /// Makes a folder of ours.
    Folder(PathBuf),
    /// Removes a file of ours.
    Remove(PathBuf),
    /// Runs the service manager's command.
    Run(Run),
}

/// One run of the service manager's command.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    /// Exit statuses that mean: it is as wished.
    pub(super) fine: &'static [i32],
    /// Exit statuses after which it is tried again for a while: another operation is under way.
    pub(super) again: &'static [i32],
    /// What an exit status means, and what to do about it.
    pub(super) explain: fn(Names, i32) -> Option<(&'static str, String)>,
    pub(super) names: Names,
}

/// How long a step is tried again: longer than a gateway takes to stop.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long is waited between two tries.
const PAUSE: Duration = Duration::from_millis(200);

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn as_text(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            text.push_str(&step.line());
            text.push('\n');
            if let Step::Write { text: content, .. } = step {
                for line in content.lines() {
                    text.push_str(&format!("    {line}\n"));
                }
            }
        }
        text.trim_end().to_owned()
    }

    pub(super) fn as_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| match step {
            Step::Write { path, text } => json!({"write": path, "content": text}),
            Step::Folder(path) => json!({"folder": path}),
            Step::Remove(path) => json!({"remove": path}),
            Step::Run(run) => json!({"run": run.words()}),
        });
        steps.collect()
    }

    /// Does it. What was done before a step that fails stays done; doing it all again is safe.
    pub(super) fn carry_out(&self, runner: &Runner) -> Result<(), Stop> {
        for step in &self.steps {
            match step {
                // launchd refuses what others can write; systemd warns.
                Step::Write { path, text } => {
                    replace(path, text, 0o644, |e| failed(path, &e), || Ok(()))?;
                }
                Step::Folder(path) => make_folder(path, 0o755)
                    // A file of that name is no folder.
                    .and_then(|()| fs::read_dir(path).map(drop))
                    .map_err(|e| failed(path, &e))?,
                Step::Remove(path) => match fs::remove_file(path).and_then(|()| sync_name(path)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(path, &e)),
                    _ => {}
                },
                Step::Run(run) => run.carry_out(runner)?,
            }
        }
        Ok(())
    }
}

impl Step {
    pub(super) fn line(&self) -> String {
        match self {
            Self::Write { path, .. } => format!("write {}", path.display()),
            Self::Folder(path) => format!("make the folder {}", path.display()),
            Self::Remove(path) => format!("remove {}", path.display()),
            Self::Run(run) => {
                let words: Vec<String> =
                    run.words().iter().map(|word| shell::quote(word)).collect();
                format!("run {}", words.join(" "))
            }
        }
    }
}

impl Run {
    fn words(&self) -> Vec<String> {
        let mut words = vec![self.program.clone()];
        words.extend(self.arguments.iter().cloned());
        words
    }

    fn carry_out(&self, runner: &Runner) -> Result<(), Stop> {
        let began = Instant::now();
        loop {
            let ran = runner.run(&self.arguments)?;
            if self.fine.contains(&ran.status) {
                return Ok(());
            }
            if !self.again.contains(&ran.status) || began.elapsed() > PATIENCE {
                return Err(self.stop(&ran));
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn stop(&self, ran: &ProgramOutput) -> Stop {
        let (meaning, next) = (self.explain)(self.names, ran.status)
            .unwrap_or_else(|| ("", self.names.command("status")));
        let mut why = format!(
            "`{}` ended with {}: {}",
            self.words().join(" "),
            ran.status,
            ran.said()
        );
        if !meaning.is_empty() {
            why.push_str(&format!(" ({meaning})"));
        }
        Stop::new(Exit::Failed, "service_manager", why)
            .done(Done::Unknown)
            .next(next)
    }
}

/// Refuses a file that somebody else wrote.
pub(super) fn ours(path: &Path) -> Result<(), Stop> {
    match fs::read_to_string(path) {
        Ok(text) if !text.contains(MARK) => Err(Stop::new(
            Exit::Refused,
            "not_ours",
            format!("{} was not written by this command", path.display()),
        )
        .next(format!(
            "look at it, and move it away: mv {0} {0}.old",
            path.display()
        ))),
        _ => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use plexus_power_cut::{Disk, holds};

    #[test]
    fn what_is_written_or_removed_survives_a_power_cut() {
        let unit = |top: &Path| top.join("systemd/user/plexus.service");
        let carried_out = |steps| {
            let runner = Runner::new("systemctl");
            Plan { steps }.carry_out(&runner).unwrap();
        };
        let written = |top: &Path, text: &str| {
            let (path, text) = (unit(top), text.to_owned());
            carried_out(vec![Step::Write { path, text }]);
        };
        let is_new = |top: &Path| fs::read(unit(top)).is_ok_and(|text| text == b"new");
        let write = |disk: &Disk, ()| written(&disk.path(), "new");
        holds(|_| (), write, is_new, &[]);
        holds(|top| written(top, "old"), write, is_new, &[]);

        let remove = |disk: &Disk, ()| carried_out(vec![Step::Remove(unit(&disk.path()))]);
        let is_gone = |top: &Path| !unit(top).exists();
        holds(|top| written(top, "old"), remove, is_gone, &[]);

        let folder = |top: &Path| top.join("LaunchAgents/logs");
        let make = |disk: &Disk, ()| carried_out(vec![Step::Folder(folder(&disk.path()))]);
        holds(|_| (), make, |top| folder(top).is_dir(), &[]);
    }
}
