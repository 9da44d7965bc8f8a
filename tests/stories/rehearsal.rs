//! `cargo xtask rehearse-mac` as far as Linux goes: the report, its outcomes, and that nothing of it is left.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use plexus_tests::waiting::{ended, until_true};
use plexus_tests::{Folder, binaries, programs};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A folder for the report, and the temporary one of the rehearsal.
struct Desk {
    folder: Folder,
}

impl Desk {
    fn new() -> Self {
        let folder = Folder::empty();
        std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
        Self { folder }
    }
    fn command(&self, programs: &Path, only: &str) -> Command {
        let home = self.folder.path();
        let mut command = programs::command(&binaries::path("xtask"), &home);
        command.env("TMPDIR", home.join("tmp"));
        command.args(["rehearse-mac", "--json", "--report", "report.md"]);
        command.args(["--only", only, "--binaries"]).arg(programs);
        command
    }
    fn report(&self) -> Value {
        let text = std::fs::read(self.folder.path().join("report.json"));
        serde_json::from_slice(&text.unwrap_or_default()).unwrap_or_default()
    }
    fn outcome(&self, step: &str) -> Value {
        let report = self.report();
        let mut steps = report["steps"].as_array().into_iter().flatten();
        let found = steps.find(|one| one["name"] == step);
        found.map_or(Value::Null, |step| step["outcome"].clone())
    }
    /// Whether a step has a gateway that is ready.
    fn has_gateway(&self) -> bool {
        let homes = std::fs::read_dir(self.folder.path().join("tmp"));
        let mut homes = homes.expect("a folder").flatten();
        homes.any(|home| {
            let said = std::fs::read_to_string(home.path().join("output"));
            said.is_ok_and(|said| said.contains("PLEXUS_READY "))
        })
    }
    #[track_caller]
    fn nothing_is_left(&self) {
        let left = std::fs::read_dir(self.folder.path().join("tmp"));
        let left: Vec<_> = left.expect("a folder").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn rehearsal_runs_what_linux_can_and_names_the_rest() {
    let desk = Desk::new();
    let only = "machine,build,calendar,reminders,things,service,figures";
    let said = programs::run(desk.command(&binaries::folder(), only));
    said.expect_ok();
    for step in ["machine", "calendar", "reminders", "things", "figures"] {
        assert_eq!(desk.outcome(step), "passed", "{step}: {said}");
    }
    assert_eq!(desk.outcome("build"), "notHere", "{said}");
    let service = desk.outcome("service");
    assert!(service == "passed" || service == "notHere", "{said}");
    assert_eq!(desk.outcome("keeper"), "notRun", "{said}");
    let page = desk.folder.path().join("report.md");
    let page = std::fs::read_to_string(page).expect("a report");
    for line in [
        "| build | not here: the programs were built before |",
        "- apple-reminders.reminders.create: done, after an approval",
        "- undo: done",
        "- KiB of memory of plexusd: ",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    let home = desk.folder.path().display().to_string();
    assert!(!page.contains(&home) && !desk.report().to_string().contains(&home));
    desk.nothing_is_left();
}

#[test]
fn failed_step_fails_the_rehearsal_after_the_others() {
    let desk = Desk::new();
    let said = programs::run(desk.command(&desk.folder.path(), "calendar,machine"));
    said.expect_status(1);
    assert!(said.stderr.contains("failed: calendar"), "{said}");
    assert_eq!(desk.outcome("machine"), "passed");
    let steps = desk.report()["steps"].clone();
    let steps = steps.as_array().expect("steps");
    let failed = steps.iter().find(|step| step["outcome"] == "failed");
    let why = json!("plexusd is missing; run the step build first");
    assert_eq!(failed.expect("one")["why"], why, "{said}");
    let said = programs::run(desk.command(&desk.folder.path(), "calender"));
    assert!(said.status == 1 && said.stderr.contains("calender is no step"));
}

/// As a terminal's Ctrl-C: each program of the group hears it.
#[test]
fn interrupted_rehearsal_keeps_its_report_and_leaves_nothing() {
    let desk = Desk::new();
    let mut running = desk.command(&binaries::folder(), "machine,calendar,reminders,figures");
    let running = running.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = running.process_group(0).spawn().expect("it starts");
    let group = Pid::from_raw(running.id().cast_signed());
    until_true("a gateway", || desk.has_gateway());
    killpg(group, Signal::SIGINT).expect("it runs");
    assert_eq!(ended("the rehearsal", &mut running).code(), Some(1));
    for (step, outcome) in [
        ("machine", "passed"),
        ("calendar", "failed"),
        ("reminders", "notRun"),
        ("figures", "notRun"),
    ] {
        assert_eq!(desk.outcome(step), outcome, "{step}");
    }
    desk.nothing_is_left();
    until_true("the end of the group", || killpg(group, None).is_err());
}
