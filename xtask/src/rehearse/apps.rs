//! The steps that need a gateway: one with a home of its own in a temporary folder, and the real commands.

use super::transcript::Transcript;
use super::{Halt, ON_MAC, Rehearsal, Verdict};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A capability and its input.
type Call = (&'static str, fn() -> Value);

/// An app of macOS, and what is done to it. Elsewhere its fake has things in it from the start.
pub(super) struct App {
    /// Where it lies, if macOS does not have it in any case.
    folder: Option<&'static str>,
    /// The kind of its source, and the source.
    source: (&'static str, &'static str),
    /// What makes its test data and removes them, as AppleScript.
    makes: &'static str,
    removes: &'static str,
    /// A change, which waits for approval.
    change: Option<Call>,
    /// Whether the change can be taken back.
    is_undone: bool,
    /// A read, and a text in its answer.
    read: Call,
    finds: &'static str,
}

pub(super) const CALENDAR: App = App {
    folder: None,
    source: ("apple-calendar", "apple-calendar"),
    makes: r#"set d to current date
set day of d to 1
set year of d to 2030
set month of d to January
set day of d to 2
set time of d to 36000
tell application "Calendar"
make new calendar with properties {name:"Plexus rehearsal"}
tell calendar "Plexus rehearsal" to make new event with properties {summary:"Plexus rehearsal", start date:d, end date:d + 3600}
end tell"#,
    removes: r#"tell application "Calendar" to delete calendar "Plexus rehearsal""#,
    change: None,
    is_undone: false,
    read: ("apple-calendar.events.list", || match ON_MAC {
        true => json!({"start": "2030-01-02", "end": "2030-01-03"}),
        false => json!({"start": "2026-06-26", "end": "2026-06-27"}),
    }),
    finds: if ON_MAC { TITLE } else { "Team sync" },
};

pub(super) const REMINDERS: App = App {
    folder: None,
    source: ("apple-reminders", "apple-reminders"),
    makes: r#"tell application "Reminders" to make new list with properties {name:"Plexus rehearsal"}"#,
    removes: r#"tell application "Reminders" to delete list "Plexus rehearsal""#,
    change: Some((
        "apple-reminders.reminders.create",
        || json!({"list": LIST, "title": TITLE}),
    )),
    is_undone: true,
    read: ("apple-reminders.reminders.list", || json!({"list": LIST})),
    finds: TITLE,
};

pub(super) const THINGS: App = App {
    folder: Some("/Applications/Things3.app"),
    source: ("things-app", "things"),
    makes: r#"tell application "Things3" to launch"#,
    removes: r#"tell application "Things3" to delete (every to do of list id "TMInboxListSource" whose name is "Plexus rehearsal")"#,
    change: Some(("things.todos.add", || json!({"title": TITLE}))),
    // That takes the app's token.
    is_undone: false,
    read: ("things.todos.list", || json!({"list": "inbox"})),
    finds: TITLE,
};

/// The name of all that a rehearsal makes in an app.
const TITLE: &str = "Plexus rehearsal";
const LIST: &str = if ON_MAC { TITLE } else { "Reminders" };

/// How long a gateway, or a service, may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is asked whether it has.
const BETWEEN: Duration = Duration::from_millis(100);

/// Makes test data in an app, uses it through Plexus, and removes them.
pub(super) fn walk(it: &mut Rehearsal, app: &App) -> Verdict {
    if let Some(folder) = app
        .folder
        .filter(|folder| ON_MAC && !Path::new(folder).exists())
    {
        return Err(Halt::NotHere(format!("{folder} is not installed")));
    }
    if !ON_MAC {
        return Ok(through_plexus(it, app)?);
    }
    // What an earlier rehearsal left; mostly there is none.
    let leftovers = format!("try\n{}\nend try", app.removes);
    let made =
        script(&mut it.transcript, &leftovers).and_then(|()| script(&mut it.transcript, app.makes));
    let used = made.and_then(|()| through_plexus(it, app));
    it.transcript.clean_up();
    let removed = script(&mut it.transcript, app.removes);
    let removed = removed.with_context(|| format!("remove what is named {TITLE} yourself"));
    Ok(both(used, removed)?)
}

/// Fails by either, and says both.
fn both(used: Result<()>, removed: Result<()>) -> Result<()> {
    match (used, removed) {
        (Err(used), Err(removed)) => bail!("{used:#}; then {removed:#}"),
        (used, removed) => used.and(removed),
    }
}

fn script(transcript: &mut Transcript, text: &str) -> Result<()> {
    let mut osascript = Command::new("/usr/bin/osascript");
    osascript.args(["-e", text]);
    transcript.hear(osascript)
}

fn through_plexus(it: &mut Rehearsal, app: &App) -> Result<()> {
    let (kind, id) = app.source;
    let (read, input) = app.read;
    let input = input().to_string();
    let gateway = Gateway::start(it, &[])?;
    let home = &gateway.home;
    home.owner(it, &["sources", "add", kind, "--id", id])?;
    home.enroll(it, read)?;
    let mut undo = None;
    if let Some((change, with)) = app.change {
        let asked = home.agent(it, &[change, "--no-wait", "--input", &with().to_string()])?;
        let pending = &asked["error"]["pendingId"];
        let pending = pending
            .as_str()
            .with_context(|| format!("{change} did not wait: {asked}"))?;
        home.owner(it, &["approvals", "approve", pending, "--yes"])?;
        let done = home.agent(it, &["wait", pending])?;
        ensure!(done["ok"] == true, "{change}, approved: {done}");
        it.transcript.answer(change, "done, after an approval");
        undo = app
            .is_undone
            .then(|| done["auditId"].as_str().unwrap_or_default().to_owned());
    }
    let began = Instant::now();
    let answer = home.agent(it, &[read, "--input", &input])?;
    ensure!(answer["ok"] == true, "{read}: {}", answer["error"]);
    let took = milliseconds(began);
    // A person's own items are in no report.
    let finds = |answer: &Value| answer["output"].to_string().contains(app.finds);
    ensure!(finds(&answer), "{read} does not have {:?}", app.finds);
    it.transcript
        .answer(read, format!("has {:?}, {took}", app.finds));
    if let Some(effect) = undo {
        home.owner(it, &["undo", &effect, "--yes"])?;
        let answer = home.agent(it, &[read, "--input", &input])?;
        ensure!(answer["ok"] == true && !finds(&answer), "it was not undone");
        it.transcript.answer("undo", "done");
    }
    Ok(())
}

/// Installs the service under a name of its own, restarts and removes it.
pub(super) fn service(it: &mut Rehearsal) -> Verdict {
    let home = Home::new()?;
    let used = under_service_manager(it, &home);
    if let Err(error) = &used {
        let said = error.to_string();
        if said.contains("no_service_manager") {
            let why = said.split("; ").find_map(|line| line.strip_prefix("why: "));
            return Err(Halt::NotHere(why.unwrap_or(&said).to_owned()));
        }
    }
    it.transcript.clean_up();
    let removed = taken_away(it, &home);
    let removed = removed.context("type: plexusctl service uninstall --trial");
    Ok(both(used, removed)?)
}

fn under_service_manager(it: &mut Rehearsal, home: &Home) -> Result<()> {
    let install = "service install --trial --yes --no-notify --port 0";
    home.owner(it, &install.split(' ').collect::<Vec<_>>())?;
    let first = home.running(it, None)?;
    it.transcript.answer("installed and started", "yes");
    home.owner(it, &["service", "restart", "--trial"])?;
    home.running(it, Some(first))?;
    it.transcript.answer("restarted", "yes");
    Ok(())
}

/// One of an earlier rehearsal that was interrupted, too.
fn taken_away(it: &mut Rehearsal, home: &Home) -> Result<()> {
    home.owner(it, &["service", "uninstall", "--trial", "--yes"])?;
    let job = home.job(it)?;
    let is_gone = job["installed"] == false && !job["pid"].is_u64();
    ensure!(is_gone, "it is still there: {job}");
    it.transcript.answer("removed", "yes");
    Ok(())
}

/// What starts, a read and memory cost in a build of the profile dev. A read has the start of the agent's command in it.
pub(super) fn figures(it: &mut Rehearsal) -> Result<()> {
    let shared = tempfile::tempdir()?;
    fs::write(shared.path().join("a.md"), "text")?;
    let began = Instant::now();
    let line = ["--workspace", &shared.path().display().to_string()];
    let gateway = Gateway::start(it, &line)?;
    let home = &gateway.home;
    it.transcript
        .answer("start of a gateway", milliseconds(began));
    home.enroll(it, "workspace.read")?;
    for question in ["a first read, with the start of a sandbox", "a second read"] {
        let began = Instant::now();
        let answer = home.agent(it, &["workspace.read", "path=a.md"])?;
        ensure!(answer["ok"] == true, "{answer}");
        it.transcript.answer(question, milliseconds(began));
    }
    let listed = Command::new("ps")
        .args(["-axo", "pid=,ppid=,rss=,comm="])
        .output()?;
    let own = gateway.daemon.id().to_string();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [pid, parent, kib, program, ..] = words[..]
            && (pid == own || parent == own)
        {
            let program = program.rsplit('/').next().unwrap_or(program);
            it.transcript
                .answer(&format!("KiB of memory of {program}"), kib);
        }
    }
    Ok(())
}

fn milliseconds(since: Instant) -> String {
    format!("{} ms", since.elapsed().as_millis())
}

/// A folder for the state of a gateway. It goes with this value.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("plexus-rehearsal-")
            .tempdir();
        let folder = folder.context("making a folder")?;
        Ok(Self { folder })
    }

    fn command(&self, it: &Rehearsal, name: &str) -> Result<Command> {
        let mut command = Command::new(it.program(name)?);
        command.env("PLEXUS_HOME", self.folder.path().join("state"));
        if !ON_MAC {
            command.env("PLEXUS_FAKE_APPLE", "offered");
        }
        Ok(command)
    }

    /// An owner's command.
    fn owner(&self, it: &mut Rehearsal, line: &[&str]) -> Result<Value> {
        let mut command = self.command(it, "plexusctl")?;
        command.args(["--i-am-the-owner", "--json"]).args(line);
        let (ended, lines) = self.ask(it, command);
        ended.with_context(|| format!("plexusctl {}: {}", line.join(" "), lines.join("; ")))?;
        answer(&lines)
    }

    /// An agent's command, whose answer says whether it was done.
    fn agent(&self, it: &mut Rehearsal, line: &[&str]) -> Result<Value> {
        let mut command = self.command(it, "plexus")?;
        command.args(line).arg("--json");
        let (_, lines) = self.ask(it, command);
        answer(&lines).with_context(|| lines.join("; "))
    }

    fn ask(&self, it: &mut Rehearsal, command: Command) -> (Result<()>, Vec<String>) {
        let mut lines = Vec::new();
        let ended = it
            .transcript
            .hear_each(command, |_, line| lines.push(line.to_owned()));
        (ended, lines)
    }

    /// Enrolls an agent that may read this.
    fn enroll(&self, it: &mut Rehearsal, capability: &str) -> Result<()> {
        let code = self.owner(it, &["connect", "rehearsal", "--allow", capability])?;
        let mut enroll = self.command(it, "plexus")?;
        enroll.arg("enroll").env(
            "PLEXUS_ENROLL_CODE",
            code["code"].as_str().unwrap_or_default(),
        );
        let (enrolled, lines) = self.ask(it, enroll);
        enrolled.with_context(|| lines.join("; "))
    }

    /// The gateway's job, as the service manager has it.
    fn job(&self, it: &mut Rehearsal) -> Result<Value> {
        let status = self.owner(it, &["service", "status", "--trial"])?;
        Ok(status["jobs"][0].clone())
    }

    /// Waits until the job runs, in another process than `before`, and its gateway answers.
    fn running(&self, it: &mut Rehearsal, before: Option<u64>) -> Result<u64> {
        let since = Instant::now();
        loop {
            let job = self.job(it)?;
            let pid = job["pid"].as_u64().filter(|pid| Some(*pid) != before);
            let answers = pid.is_some() && self.owner(it, &["status"]).is_ok();
            if let Some(pid) = pid.filter(|_| answers) {
                return Ok(pid);
            }
            ensure!(since.elapsed() < PATIENCE, "it does not run: {job}");
            // Neither service manager tells of a start.
            thread::sleep(BETWEEN);
        }
    }
}

/// The JSON among the lines of a command: talk is beside it.
fn answer(lines: &[String]) -> Result<Value> {
    let found = lines.iter().rfind(|line| line.starts_with('{'));
    serde_json::from_str(found.context("no answer")?).context("reading the answer")
}

/// A running gateway.
struct Gateway {
    daemon: Child,
    home: Home,
}

impl Gateway {
    fn start(it: &mut Rehearsal, line: &[&str]) -> Result<Self> {
        let home = Home::new()?;
        let mut daemon = home.command(it, "plexusd")?;
        let output = home.folder.path().join("output");
        daemon.args(["--port", "0"]).args(line).stdin(Stdio::null());
        daemon
            .stdout(File::create(&output)?)
            .stderr(File::create(home.folder.path().join("errors"))?);
        let daemon = daemon.spawn().context("starting plexusd")?;
        let mut gateway = Self { daemon, home };
        let since = Instant::now();
        while !fs::read_to_string(&output)?.contains("PLEXUS_READY ") {
            let ended = gateway.daemon.try_wait()?;
            if ended.is_some() || since.elapsed() > PATIENCE {
                let errors = fs::read_to_string(gateway.home.folder.path().join("errors"))?;
                errors.lines().for_each(|line| it.transcript.line(line));
                bail!("plexusd is not ready ({ended:?})");
            }
            thread::sleep(BETWEEN / 10);
        }
        Ok(gateway)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        let since = Instant::now();
        while asked.is_ok() && since.elapsed() < PATIENCE {
            if let Ok(Some(_)) | Err(_) = self.daemon.try_wait() {
                return;
            }
            thread::sleep(BETWEEN / 10);
        }
        _ = self.daemon.kill();
        _ = self.daemon.wait();
    }
}
