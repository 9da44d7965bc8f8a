//! `plexusctl service`: the gateway as a service of the person's own: a systemd user unit, or a launchd agent;
//! and, where it was asked for, its icon in the tray.
//!
//! ```text
//! plan (files and commands, pure) ──shown──▶ go ahead? ──▶ files written (new, then renamed) ──▶ commands run in order
//! ```
//! Invariants: nothing is written or run that the plan did not show; a file of that name that is not ours is not
//! replaced; everything is the person's own (no root, no system-wide unit).
//!
//! Must not know: how a gateway decides anything. It talks to the service manager, not to the gateway.

mod job;
mod launchd;
mod plan;
mod runner;
mod systemd;

use crate::{owner::Desk, programs, prompt};
use clap::{Args, Subcommand, ValueEnum};
use job::{Job, Names};
use plan::Plan;
use plexus_client::{Exit, Stop, out, shell, text};
use runner::Runner;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The service.
#[derive(Args)]
pub(crate) struct Service {
    #[command(subcommand)]
    act: Act,
    /// Service manager [default: this system's]
    #[arg(long, global = true, hide_short_help = true)]
    manager: Option<ServiceManager>,
    /// Under other names, beside the service that a person has: for `cargo xtask rehearse-mac`
    #[arg(long, global = true, hide = true)]
    trial: bool,
}

#[derive(Subcommand)]
enum Act {
    /// Start the gateway with your login, and restart it when it fails
    Install(Install),
    /// Stop the service, and remove its files
    Uninstall(Ask),
    /// Show whether it is installed and runs
    Status,
    /// Start it now
    Start,
    /// Stop it until the next start or login
    Stop,
    /// Stop it, and start it again
    Restart,
}

#[derive(Args)]
struct Install {
    #[command(flatten)]
    ask: Ask,
    /// Program to run [default: plexusd beside this one]
    #[arg(long, value_name = "PROGRAM")]
    plexusd: Option<PathBuf>,
    /// Port on 127.0.0.1 and ::1
    #[arg(long)]
    port: Option<u16>,
    /// Without notifications of pending requests
    #[arg(long)]
    no_notify: bool,
    /// Also show it in your desktop's tray, from the next login on
    #[arg(long)]
    tray: bool,
    /// Write the files without starting the service
    #[arg(long)]
    write_only: bool,
}

/// Before something is written or run.
#[derive(Args, Clone, Copy)]
pub(crate) struct Ask {
    /// Show what would be written and run, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

impl Ask {
    /// Whether to go on, after `shown` was shown: by the flag, or by the person's answer.
    pub(crate) fn go_ahead(self, desk: &Desk, question: &str, line: &str) -> Result<bool, Stop> {
        if self.yes {
            return Ok(true);
        }
        if !desk.can_ask() {
            let why = match desk.json {
                true => "with --json nobody is asked, because the plan is not shown",
                false => "nobody can be asked: stdin is no terminal",
            };
            return Err(Stop::usage(why).next(format!("{line} --yes")));
        }
        Ok(prompt::is_yes(question, prompt::UNCHANGED))
    }
}

/// Who keeps services of a person.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ServiceManager {
    /// A user unit (Linux)
    Systemd,
    /// An agent (macOS)
    Launchd,
}

impl ServiceManager {
    fn here() -> Self {
        if cfg!(target_os = "macos") {
            Self::Launchd
        } else {
            Self::Systemd
        }
    }
    fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
        }
    }
}

/// The two kinds of service manager do the same things.
enum Manager {
    Systemd(systemd::Systemd),
    Launchd(launchd::Launchd),
}

impl Manager {
    fn of(which: ServiceManager, names: Names) -> Result<Self, Stop> {
        let person = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let person =
            PathBuf::from(person.ok_or_else(|| {
                Stop::usage("HOME is not set").next("set it to your home folder")
            })?);
        Ok(match which {
            ServiceManager::Systemd => Self::Systemd(systemd::Systemd::new(
                &person,
                names,
                Runner::new("systemctl"),
            )),
            ServiceManager::Launchd => Self::Launchd(launchd::Launchd::new(
                &person,
                names,
                Runner::new("launchctl"),
            )),
        })
    }
    fn file(&self, job: Job) -> PathBuf {
        match self {
            Self::Systemd(it) => it.file(job),
            Self::Launchd(it) => it.file(job),
        }
    }
    fn reachable(&self) -> Result<(), Stop> {
        match self {
            Self::Systemd(it) => it.reachable(),
            Self::Launchd(it) => it.reachable(),
        }
    }
    fn install(&self, start: &[job::Start]) -> Result<Plan, Stop> {
        match self {
            Self::Systemd(it) => it.install(start),
            Self::Launchd(it) => it.install(start),
        }
    }
    fn uninstall(&self, jobs: &[Job]) -> Plan {
        match self {
            Self::Systemd(it) => it.uninstall(jobs),
            Self::Launchd(it) => it.uninstall(jobs),
        }
    }
    /// What takes the installed jobs back. Where no manager answers there is none to tell: the files alone go.
    fn removal(&self) -> Plan {
        let mut plan = self.uninstall(&self.installed());
        if self.reachable().is_err() {
            plan.steps
                .retain(|step| !matches!(step, plan::Step::Run(_)));
        }
        plan
    }
    fn change(&self, change: Change, jobs: &[Job]) -> Plan {
        match self {
            Self::Systemd(it) => it.change(change, jobs),
            Self::Launchd(it) => it.change(change, jobs),
        }
    }
    fn carry_out(&self, plan: &Plan) -> Result<(), Stop> {
        let runner = match self {
            Self::Systemd(it) => &it.runner,
            Self::Launchd(it) => &it.runner,
        };
        plan.carry_out(runner)
    }
    fn status(&self, job: Job) -> Value {
        match self {
            Self::Systemd(it) => it.status(job),
            Self::Launchd(it) => it.status(job),
        }
    }
    /// The jobs whose files are there.
    fn installed(&self) -> Vec<Job> {
        let mut jobs = Job::ALL.to_vec();
        jobs.retain(|job| self.file(*job).symlink_metadata().is_ok());
        jobs
    }
    /// Restarts a job that is installed and runs. Whether it did: one that does not run stays so.
    fn restart_running(&self, job: Job) -> Result<bool, Stop> {
        if !self.installed().contains(&job) || !self.status(job)["pid"].is_u64() {
            return Ok(false);
        }
        self.carry_out(&self.change(Change::Restart, &[job]))?;
        Ok(true)
    }
}

/// What can be done to an installed service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Start,
    Stop,
    Restart,
}

/// Whether the gateway starts with the person's login.
pub(crate) fn is_installed() -> bool {
    Manager::of(ServiceManager::here(), Names::Usual)
        .is_ok_and(|manager| !manager.installed().is_empty())
}

/// Restarts the notification service, if it is installed and runs: an upgrade replaces the gateway within its process, and
/// the service manager notices nothing. Whether it was restarted.
pub(crate) fn restart_notifications() -> Result<bool, Stop> {
    restart(Job::Notify)
}

/// Restarts the gateway's service, if it is installed and runs. Whether it was restarted.
pub(crate) fn restart_gateway() -> Result<bool, Stop> {
    restart(Job::Gateway)
}

fn restart(job: Job) -> Result<bool, Stop> {
    match Manager::of(ServiceManager::here(), Names::Usual) {
        Ok(manager) => manager.restart_running(job),
        Err(_) => Ok(false),
    }
}

/// Runs the sub-command.
pub(crate) fn run(desk: &Desk, service: Service) -> Result<Exit, Stop> {
    let which = service.manager.unwrap_or_else(ServiceManager::here);
    let names = match service.trial {
        true => Names::Trial,
        false => Names::Usual,
    };
    let manager = Manager::of(which, names)?;
    match service.act {
        Act::Install(install) => {
            if install.plexusd.is_some() {
                desk.widen("running another program as the gateway")?;
            }
            install.run(desk, which, names, &manager)
        }
        Act::Uninstall(ask) => {
            let plan = manager.removal();
            if plan.is_empty() {
                return desk.show(&json!({"ok": true, "changed": false}), || {
                    "no service is installed".to_owned()
                });
            }
            carried(
                desk,
                ask,
                &manager,
                &plan,
                &names.command("uninstall"),
                |done| {
                    done["installed"] = false.into();
                    "the gateway no longer starts with your login; its state is as it was"
                        .to_owned()
                },
            )
        }
        Act::Status => {
            let jobs: Vec<Value> = Job::ALL.iter().map(|job| manager.status(*job)).collect();
            let shown = json!({"manager": which.word(), "jobs": jobs});
            desk.show(&shown, || as_text(&jobs))
        }
        Act::Start => change(desk, &manager, names, Change::Start),
        Act::Stop => change(desk, &manager, names, Change::Stop),
        Act::Restart => change(desk, &manager, names, Change::Restart),
    }
}

fn change(desk: &Desk, manager: &Manager, names: Names, change: Change) -> Result<Exit, Stop> {
    let jobs = manager.installed();
    if jobs.is_empty() {
        let (why, next) = match change {
            Change::Start => ("no service is installed", names.command("install")),
            Change::Stop | Change::Restart => (
                "no service is installed; end the plexusd that you started yourself, whose process status names",
                "plexusctl status".to_owned(),
            ),
        };
        return Err(Stop::new(Exit::Failed, "not_installed", why).next(next));
    }
    let said = match change {
        Change::Start => "started",
        Change::Stop => "stopped",
        Change::Restart => "restarted",
    };
    manager.reachable()?;
    manager.carry_out(&manager.change(change, &jobs))?;
    desk.show(&json!({"ok": true, "did": said}), || said.to_owned())
}

impl Install {
    fn run(
        self,
        desk: &Desk,
        which: ServiceManager,
        names: Names,
        manager: &Manager,
    ) -> Result<Exit, Stop> {
        let starts = self.starts(desk, which)?;
        let mut plan = manager.install(&starts)?;
        if self.write_only {
            plan.steps
                .retain(|step| matches!(step, plan::Step::Write { .. }));
        } else if !self.ask.dry_run {
            let reached = manager.reachable();
            reached.map_err(|stop| self.with_choices(stop, names))?;
        }
        let log = match which {
            ServiceManager::Systemd => systemd::log(names),
            ServiceManager::Launchd => format!(
                "tail {}",
                desk.home.path().join("logs/service.log").display()
            ),
        };
        let write_only = self.write_only;
        carried(desk, self.ask, manager, &plan, &self.line(names), |done| {
            done["installed"] = true.into();
            if write_only {
                "written; nothing was started".to_owned()
            } else {
                format!("the gateway runs, and starts with your login\nits log: {log}")
            }
        })
    }

    /// A stop that names the command which writes the files alone, with what was chosen.
    fn with_choices(&self, stop: Stop, names: Names) -> Stop {
        let chosen = format!("{} --write-only", self.line(names));
        let plain = names.command("install --write-only");
        let next = stop.next.replace(&plain, &chosen);
        stop.next(next)
    }

    /// The command again, with what was chosen.
    fn line(&self, names: Names) -> String {
        let mut line = names.command("install");
        if let Some(program) = &self.plexusd {
            let program = shell::quote(&program.to_string_lossy());
            line.push_str(&format!(" --plexusd {program}"));
        }
        if let Some(port) = self.port {
            line.push_str(&format!(" --port {port}"));
        }
        for (chosen, option) in [
            (self.no_notify, " --no-notify"),
            (self.tray, " --tray"),
            (self.write_only, " --write-only"),
        ] {
            if chosen {
                line.push_str(option);
            }
        }
        line
    }

    fn starts(&self, desk: &Desk, which: ServiceManager) -> Result<Vec<job::Start>, Stop> {
        let plexusd = match &self.plexusd {
            Some(program) => {
                std::path::absolute(program).map_err(|error| Stop::path(program, &error))?
            }
            None => programs::beside("plexusd")?,
        };
        let home = std::path::absolute(desk.home.path())
            .map_err(|error| Stop::path(desk.home.path(), &error))?;
        let mut arguments = Vec::new();
        if let Some(port) = self.port {
            arguments.extend(["--port".to_owned(), port.to_string()]);
        }
        if which == ServiceManager::Launchd {
            arguments.push("--under-launchd".to_owned());
        }
        let mut starts = vec![job::Start::new(Job::Gateway, &plexusd, arguments, &home)?];
        if !self.no_notify {
            let this = plexusd.with_file_name("plexusctl");
            let arguments = vec!["notify".to_owned(), "--follow".to_owned()];
            starts.push(job::Start::new(Job::Notify, &this, arguments, &home)?);
        }
        if self.tray {
            let tray = programs::beside("plexus-tray")?;
            let arguments = vec!["--home".to_owned(), plain(&home)?];
            starts.push(job::Start::new(Job::Tray, &tray, arguments, &home)?);
        }
        Ok(starts)
    }
}

/// Shows a plan, asks, carries it out.
fn carried(
    desk: &Desk,
    ask: Ask,
    manager: &Manager,
    plan: &Plan,
    line: &str,
    said: impl FnOnce(&mut Value) -> String,
) -> Result<Exit, Stop> {
    let mut shown = json!({"ok": true, "dryRun": ask.dry_run, "plan": plan.as_json()});
    if ask.dry_run {
        return desk.show(&shown, || plan.as_text());
    }
    if !desk.json {
        out::say(&plan.as_text());
    }
    if !ask.go_ahead(desk, "go ahead?", line)? {
        return Err(Stop::new(
            Exit::Refused,
            "not_confirmed",
            "you did not confirm",
        ));
    }
    manager.carry_out(plan)?;
    let said = said(&mut shown);
    desk.show(&shown, || said)
}

/// What `plexusctl uninstall` does to services: its plan, to show and then to carry out.
pub(crate) struct Removal {
    manager: Manager,
    plan: Plan,
}

impl Removal {
    /// The plan; empty where no service is installed.
    pub(crate) fn plan() -> Result<Self, Stop> {
        let manager = Manager::of(ServiceManager::here(), Names::Usual)?;
        let plan = manager.removal();
        Ok(Self { manager, plan })
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.plan.is_empty()
    }
    /// One line a step.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.plan.steps.iter().map(plan::Step::line).collect()
    }
    pub(crate) fn carry_out(&self) -> Result<(), Stop> {
        self.manager.carry_out(&self.plan)
    }
}

fn as_text(jobs: &[Value]) -> String {
    let rows = jobs.iter().map(|job| {
        let text = |member: &str| job[member].as_str().unwrap_or("").to_owned();
        let pid = job["pid"]
            .as_u64()
            .map_or(String::new(), |pid| pid.to_string());
        let state = match job["installed"] == false && pid.is_empty() {
            true => "not installed".to_owned(),
            false => text("state"),
        };
        [text("name"), state, pid, text("file")]
    });
    crate::table::table(["service", "state", "process", "file"], rows.collect(), "")
}

/// A path as a service file can hold it.
fn plain(path: &Path) -> Result<String, Stop> {
    let shown = || text::line(&path.display().to_string());
    match path.to_str() {
        Some(text) if path.is_absolute() && !text.chars().any(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => Err(Stop::usage(format!(
            "{} cannot stand in a service's file",
            shown()
        ))),
    }
}
