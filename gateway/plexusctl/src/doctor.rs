//! `plexusctl doctor`: looks for what is wrong, and says for each thing what to type. Works with the daemon down.
//!
//! Invariants: it changes nothing; it reads no credential (a file that is there says enough); every finding that is not
//! `ok` has a remedy that can be typed; what it waits for has a deadline.
//!
//! Must not know: the ledger and the cages. `plexusd examine` looks at those and says what it saw.

mod agents;
mod cages;
mod gateway;
mod home;
mod machine;
mod programs;
mod report;

use crate::{
    owner::{Desk, text_of},
    programs::{beside, install},
    sources::test::{health, sentence},
};
use clap::Args;
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::troubles::Trouble;
use plexus_protocol::error::system_words;
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How to look.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Write a bug report without private data, to stdout or FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    report: Option<PathBuf>,
    /// Have each worker open its source, so that macOS asks for consent now
    #[arg(long)]
    ask: bool,
    /// Port to check [default: the gateway's, else 7077]
    #[arg(long)]
    port: Option<u16>,
    /// Folder with the workers
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    workers: Option<PathBuf>,
    /// Profile to try instead of a connector's own, as CONNECTOR=FILE
    #[arg(long, value_name = "CONNECTOR=FILE", hide_short_help = true)]
    profile: Vec<String>,
}

/// The whole of what `plexusd examine` may take: two roles of each of many sources, each with its own deadlines.
const EXAMINE_WITHIN: Duration = Duration::from_secs(240);
/// After this, it is said what takes so long.
const SLOW: Duration = Duration::from_secs(2);
/// Any other program.
const SAY_WITHIN: Duration = Duration::from_secs(10);

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    name: String,
    level: Level,
    what: String,
    /// A command.
    remedy: Option<String>,
}

impl Finding {
    fn ok(name: &str, what: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            level: Level::Ok,
            what: system_words(&what.into()),
            remedy: None,
        }
    }
    fn warn(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            remedy: Some(remedy.into()),
            ..Self::ok(name, what)
        }
    }
    fn fail(name: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            ..Self::warn(name, what, remedy)
        }
    }
    /// A trouble in the words that the console has for it too.
    fn of(name: &str, trouble: Trouble) -> Self {
        let level = match trouble.fails {
            true => Level::Fail,
            false => Level::Warn,
        };
        Self {
            level,
            ..Self::warn(name, trouble.found, trouble.remedy)
        }
    }
    fn json(&self) -> Value {
        json!({"name": self.name, "level": self.level.word(), "what": self.what, "remedy": self.remedy})
    }
}

/// Runs the command.
pub(crate) async fn run(desk: &Desk, doctor: Doctor) -> Result<Exit, Stop> {
    let daemon = gateway::Daemon::look(desk).await;
    if doctor.ask && daemon.answers() {
        // Asked of the workers: macOS would take a read here for the terminal's.
        for row in health(&mut desk.open().await?).await? {
            out::say(&sentence(&row));
        }
    }
    let mut findings = home::look(desk.home.path());
    let examined = examine(desk, &doctor, &daemon);
    let seen = examined.as_ref().ok();
    findings.extend(machine::look(desk.home.path(), &doctor, &daemon, seen));
    findings.extend(gateway::look(desk, &daemon, examined.as_ref().ok()));
    findings.extend(programs::look(&daemon));
    findings.extend(agents::agent_settings(&desk.home));
    match &examined {
        Ok(seen) => {
            let is_read = matches!(text_of(&seen["ledger"], "state"), "sound" | "absent");
            let hidden = (!daemon.is_listed && !is_read).then(|| {
                let mut ledger = findings.iter().filter(|found| found.name == "ledger");
                let remedy = ledger.find_map(|found| found.remedy.clone());
                remedy.unwrap_or_else(|| "plexusctl status".to_owned())
            });
            findings.extend(cages::look(seen, hidden));
        }
        Err(why) => {
            let (what, remedy) = tried(why.clone());
            findings.push(Finding::fail("cages", what, remedy));
        }
    }
    // Its cage may hold all the same, and a worker that examines has no way to a host.
    for found in daemon.sources.iter().filter_map(gateway::ailing) {
        if findings.iter().all(|known| known.name != found.name) {
            findings.push(found);
        }
    }
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok);
    if let Some(file) = &doctor.report {
        let report = report::text(desk, &daemon, seen, &findings);
        report::write(file, &report)?;
    } else {
        let all: Vec<_> = findings.iter().map(Finding::json).collect();
        let whole = json!({"findings": all, "worst": worst.word()});
        desk.show(&whole, || as_text(&findings))?;
    }
    Ok(match worst {
        Level::Ok | Level::Warn => Exit::Ok,
        Level::Fail => Exit::Failed,
    })
}

/// Why a program of ours failed, and the remedy: one that was late is tried again, any other is installed anew.
fn tried(why: String) -> (String, String) {
    let late = ["did not end within", "did not answer within", " in time"];
    if !late.iter().any(|words| why.contains(words)) {
        return (why, install());
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = match (load.split_once(' '), std::thread::available_parallelism()) {
        (Some((load, _)), Ok(many)) => format!(" (its load is {load}, with {many} processors)"),
        _ => String::new(),
    };
    let what = format!("{why}; a machine under load may be the cause{load}: try again");
    (what, "plexusctl doctor".to_owned())
}

/// What is wrong first, each with its remedy; then what is well.
fn as_text(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let mut lines = Vec::new();
    for finding in sorted {
        // A reason may end with the command that is its remedy.
        let remedy = finding.remedy.as_deref().unwrap_or_default();
        let what = finding.what.strip_suffix(remedy).unwrap_or(&finding.what);
        let command = &finding.what[what.len()..];
        lines.push(format!(
            "{:<4}  {}: {}{}",
            finding.level.word(),
            text::line(&finding.name),
            text::line(what),
            text::line(command)
        ));
        if let Some(remedy) = &finding.remedy {
            lines.push(format!("      run: {}", text::line(remedy)));
        }
    }
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    lines.push(format!(
        "{} failed, {} to check, {} ok",
        count(Level::Fail),
        count(Level::Warn),
        count(Level::Ok)
    ));
    lines.join("\n")
}

/// Has the daemon's own program look at what only it knows.
fn examine(desk: &Desk, doctor: &Doctor, daemon: &gateway::Daemon) -> Result<Value, String> {
    let program = beside("plexusd").map_err(|stop| stop.why)?;
    let mut arguments = vec![
        "examine".to_owned(),
        "--home".to_owned(),
        desk.home.path().to_string_lossy().into_owned(),
    ];
    if let Some(workers) = &doctor.workers {
        arguments.extend(["--workers".to_owned(), workers.to_string_lossy().into()]);
    }
    for profile in &doctor.profile {
        arguments.extend(["--profile".to_owned(), profile.clone()]);
    }
    if daemon.is_listed {
        let sources = json!(daemon.sources).to_string();
        arguments.extend(["--sources".to_owned(), sources]);
    }
    let slow = || out::say("each source is tried in its sandbox; that may take 30 s…");
    let said = said_slowly(&program, &arguments, EXAMINE_WITHIN, slow)?;
    serde_json::from_str(&said).map_err(|e| format!("plexusd examine: {e}"))
}

/// What a program says on standard output, if it ends well and in time.
pub(crate) fn said<A: AsRef<OsStr>>(
    program: &std::path::Path,
    arguments: &[A],
    within: Duration,
) -> Result<String, String> {
    said_slowly(program, arguments, within, || {})
}

/// The same; `slow` is called once, where it takes longer than 2 s.
fn said_slowly<A: AsRef<OsStr>>(
    program: &std::path::Path,
    arguments: &[A],
    within: Duration,
    slow: impl FnOnce(),
) -> Result<String, String> {
    let named = program.display();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{named}: {e}"))?;
    // Both outputs are read on threads: a program that fills one must not hang on it.
    let reader = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(pipe) = pipe {
                let _ = pipe.take(16 << 20).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = reader(child.stdout.take().map(|p| Box::new(p) as _));
    let err = reader(child.stderr.take().map(|p| Box::new(p) as _));
    let began = Instant::now();
    let mut slow = Some(slow);
    let status = loop {
        if began.elapsed() > SLOW
            && let Some(slow) = slow.take()
        {
            slow();
        }
        match child.try_wait().map_err(|e| format!("{named}: {e}"))? {
            Some(status) => break status,
            None if began.elapsed() > within => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{named} did not end within {} s", within.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let (out, err) = (
        out.join().unwrap_or_default(),
        err.join().unwrap_or_default(),
    );
    if status.success() {
        Ok(out)
    } else {
        let last = err.lines().rfind(|line| !line.trim().is_empty());
        Err(format!(
            "{named} ended with {status}: {}",
            last.unwrap_or("no output")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_first_and_says_what_to_run() {
        let findings = [
            Finding::ok("disk", "40 GB free"),
            Finding::warn("clock", "behind\u{1b}", "timedatectl set-ntp true"),
            Finding::fail("modes", "open to others", "chmod 700 ~/.plexus"),
        ];
        assert_eq!(
            as_text(&findings),
            "fail  modes: open to others\n      run: chmod 700 ~/.plexus\n\
             warn  clock: behind\\u{1b}\n      run: timedatectl set-ntp true\n\
             ok    disk: 40 GB free\n1 failed, 1 to check, 1 ok"
        );
    }

    #[test]
    fn program_that_was_late_is_tried_again() {
        let (what, remedy) = tried("proof of the reader: it did not say Hello in time".to_owned());
        assert!(what.contains("in time; a machine under load"), "{what}");
        assert_eq!(remedy, "plexusctl doctor");
        let broken = "its cage is not sound";
        assert_eq!(tried(broken.to_owned()), (broken.to_owned(), install()));
    }

    #[test]
    fn a_program_is_not_waited_for_for_ever() {
        let sh = std::path::Path::new("/bin/sh");
        let run = |script: &str, within| said(sh, &["-c", script], within);
        assert_eq!(run("echo hello", SAY_WITHIN).unwrap(), "hello\n");
        assert!(
            run("echo no >&2; exit 3", SAY_WITHIN)
                .unwrap_err()
                .contains("no")
        );
        let late = run("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert!(late.contains("did not end"), "{late}");
    }
}
