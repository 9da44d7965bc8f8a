//! A systemd user unit for each job that needs no desktop; an entry of the desktop's autostart for the tray, which gets the
//! session's environment by it and ends with the session.
//!
//! Its hardening is light on purpose: everything in it is inherited by the workers, whose cages (Landlock and seccomp)
//! are tighter. Left out, because they would break a cage or a worker: anything that makes a namespace (`ProtectSystem`,
//! `PrivateTmp`: they fail without user namespaces), `RestrictNamespaces` and `MemoryDenyWriteExecute` (interpreters),
//! `SystemCallFilter` (the launcher sets each worker's own).

use super::{
    Change,
    job::{FILES, Job, MARK, Names, STOP_WITHIN, Start},
    plan::{self, Plan, Run, Step},
    runner::Runner,
};
use plexus_client::{Exit, Stop};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(super) struct Systemd {
    /// The person's configuration: `~/.config`.
    config: PathBuf,
    names: Names,
    pub(super) runner: Runner,
}

impl Systemd {
    pub(super) fn new(person: &Path, names: Names, runner: Runner) -> Self {
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| person.join(".config"));
        Self {
            config,
            names,
            runner,
        }
    }

    pub(super) fn file(&self, job: Job) -> PathBuf {
        match job {
            Job::Tray => self
                .config
                .join(format!("autostart/{}.desktop", self.names.unit(job))),
            Job::Gateway | Job::Notify => self
                .config
                .join(format!("systemd/user/{}.service", self.names.unit(job))),
        }
    }

    fn unit_name(&self, job: Job) -> String {
        format!("{}.service", self.names.unit(job))
    }

    /// The units of jobs that have one.
    fn units<'j>(&self, jobs: impl IntoIterator<Item = &'j Job>) -> Vec<String> {
        let jobs = jobs.into_iter().filter(|job| **job != Job::Tray);
        jobs.map(|job| self.unit_name(*job)).collect()
    }

    /// Whether a manager of this person's services runs.
    pub(super) fn reachable(&self) -> Result<(), Stop> {
        let asked = self
            .runner
            .run(&words(&["--user", "show", "--property=Version"]))?;
        if asked.status == 0 {
            return Ok(());
        }
        let why = format!("systemd keeps no services for you here: {}", asked.said());
        Err(
            Stop::new(Exit::Failed, "no_service_manager", why).next(format!(
                "log in as yourself (not by su or sudo), or let it run without a login: loginctl enable-linger; or start \
                 plexusd yourself; or write the files alone: {}",
                self.names.command("install --write-only")
            )),
        )
    }

    pub(super) fn install(&self, starts: &[Start]) -> Result<Plan, Stop> {
        let mut plan = Plan::default();
        for start in starts {
            let path = self.file(start.job);
            plan::ours(&path)?;
            plan.steps.push(Step::Write {
                path,
                text: match start.job {
                    Job::Tray => desktop_entry(start),
                    Job::Gateway | Job::Notify => unit(start),
                },
            });
        }
        let names = self.units(starts.iter().map(|start| &start.job));
        plan.steps.push(self.run(&["daemon-reload"], &[]));
        plan.steps.push(self.run(&["enable"], &names));
        plan.steps.push(self.run(&["restart"], &names));
        Ok(plan)
    }

    pub(super) fn uninstall(&self, jobs: &[Job]) -> Plan {
        let mut plan = Plan::default();
        if jobs.is_empty() {
            return plan;
        }
        let names = self.units(jobs.iter().rev());
        if !names.is_empty() {
            plan.steps.push(self.run(&["disable", "--now"], &names));
        }
        let files = jobs.iter().map(|job| Step::Remove(self.file(*job)));
        plan.steps.extend(files);
        plan.steps.push(self.run(&["daemon-reload"], &[]));
        plan
    }

    pub(super) fn change(&self, change: Change, jobs: &[Job]) -> Plan {
        let names = self.units(jobs);
        if names.is_empty() {
            return Plan::default();
        }
        let word = match change {
            Change::Start => "start",
            Change::Stop => "stop",
            Change::Restart => "restart",
        };
        Plan {
            steps: vec![self.run(&[word], &names)],
        }
    }

    pub(super) fn status(&self, job: Job) -> Value {
        if job == Job::Tray {
            let file = self.file(job);
            let state = match file.is_file() {
                true => "your desktop starts it at login",
                false => "inactive (dead)",
            };
            let name = format!("{}.desktop", self.names.unit(job));
            return json!({"name": name, "installed": file.is_file(), "file": file, "state": state});
        }
        let asked = self.runner.run(&words(&[
            "--user",
            "show",
            &self.unit_name(job),
            "--property=ActiveState,SubState,MainPID,ExecMainStatus,UnitFileState",
        ]));
        let file = self.file(job);
        let mut status =
            json!({"name": self.unit_name(job), "file": file, "installed": file.is_file()});
        let said = match &asked {
            Ok(ran) if ran.status == 0 => ran.stdout.as_str(),
            _ => {
                status["state"] = "not known: no service manager answers".into();
                return status;
            }
        };
        let property = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix('=')).unwrap_or("")
        };
        status["state"] = match (property("ActiveState"), property("SubState")) {
            (active, "") => active.to_owned(),
            (active, sub) => format!("{active} ({sub})"),
        }
        .into();
        status["withLogin"] = (property("UnitFileState") == "enabled").into();
        if let Some(pid) = property("MainPID")
            .parse::<u64>()
            .ok()
            .filter(|pid| *pid > 0)
        {
            status["pid"] = pid.into();
        }
        if let Ok(last) = property("ExecMainStatus").parse::<i64>() {
            status["lastExit"] = last.into();
        }
        status
    }

    fn run(&self, act: &[&str], names: &[String]) -> Step {
        let mut arguments = words(&["--user"]);
        arguments.extend(words(act));
        arguments.extend(names.iter().cloned());
        Step::Run(Run {
            program: self.runner.name(),
            arguments,
            fine: &[0],
            again: &[],
            explain: |names, _| Some(("", format!("{} -n 20", log(names)))),
            names: self.names,
        })
    }
}

/// The command that shows what the gateway's unit says.
pub(super) fn log(names: Names) -> String {
    format!("journalctl --user -u {}.service", names.unit(Job::Gateway))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The entry of the desktop's autostart (desktop entry specification 1.5, autostart specification 0.5).
pub(super) fn desktop_entry(start: &Start) -> String {
    let line: Vec<String> = start.line.iter().map(|word| entry_word(word)).collect();
    format!(
        "\
# {MARK}
[Desktop Entry]
Type=Application
Name=Plexus
Comment={}
Exec={}
Terminal=false
NoDisplay=true
X-GNOME-Autostart-enabled=true
",
        start.job.description(),
        line.join(" "),
    )
}

/// A word of `Exec`, quoted: of what is special within quotes each has a backslash, which the file itself doubles; a
/// percent sign is doubled.
fn entry_word(word: &str) -> String {
    let mut quoted = String::new();
    for c in word.chars() {
        match c {
            '"' | '`' | '$' => quoted.extend(['\\', '\\', c]),
            '\\' => quoted.push_str("\\\\\\\\"),
            '%' => quoted.push_str("%%"),
            c => quoted.push(c),
        }
    }
    format!("\"{quoted}\"")
}

/// The unit's text.
pub(super) fn unit(start: &Start) -> String {
    let line: Vec<String> = start.line.iter().map(|word| command_word(word)).collect();
    let line = line.join(" ");
    let environment = assignment("PLEXUS_HOME", &start.home);
    let description = start.job.description();
    match start.job {
        Job::Gateway => format!(
            "\
# {MARK}
[Unit]
Description={description}
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={line}
Environment={environment}
Restart=on-failure
RestartSec=2
# Failures that another try would not fix.
RestartPreventExitStatus=78
TimeoutStartSec=90
TimeoutStopSec={STOP_WITHIN}
KillMode=mixed
UMask=0077
LimitNOFILE={FILES}
LimitCORE=1
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"
        ),
        Job::Notify | Job::Tray => format!(
            "\
# {MARK}
[Unit]
Description={description}
After=plexusd.service graphical-session.target
PartOf=plexusd.service

[Service]
Type=exec
ExecStart={line}
Environment={environment}
Restart=on-failure
RestartSec=10
# A command that this version does not know, or a desktop without notifications.
RestartPreventExitStatus=64 77
UMask=0077
LimitCORE=1
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"
        ),
    }
}

/// A word of `ExecStart`: quoted, with nothing in it that systemd would replace.
fn command_word(word: &str) -> String {
    quoted(&word.replace('$', "$$"))
}

/// An assignment of `Environment`.
fn assignment(name: &str, value: &str) -> String {
    quoted(&format!("{name}={value}"))
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    format!("\"{escaped}\"")
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
