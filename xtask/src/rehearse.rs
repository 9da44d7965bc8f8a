//! `cargo xtask rehearse-mac`: what only a Mac can show, asked of it by one command, with one file to send back.
//!
//! ```text
//! for each step: announce ▸ run, each line shown as it comes ▸ passed, failed, or not here ▸ the report is written anew
//! ```
//! Invariants: a step begins with the report of all earlier ones on the disk; a step that this machine cannot run says why, and
//! is no failure; no step outlives its bound; whatever a step makes it removes, also when it fails or Ctrl-C ends it.
//!
//! A thin runner: steps are the tests, commands and connectors that there are. On Linux the same steps run as far as Linux can.

mod apps;
mod report;
mod transcript;

use crate::{agents, cargo, isolate, step};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use report::{Outcome, Report};
use signal_hook::{consts::SIGINT, flag};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};
use transcript::Transcript;

/// Rehearse on a Mac what was written without one, and write one report to send back
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The report
    #[arg(long, value_name = "FILE", default_value = "mac-report.md")]
    report: PathBuf,
    /// Also write it as JSON, beside the report
    #[arg(long)]
    json: bool,
    /// Only these steps, separated by commas
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// Run the programs in this folder, built before; `build` is then not here, and tests go on using target/debug
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// Name; minutes on a Mac with eight processors; what it does; what of it runs on Linux.
const STEPS: &str = "
machine   | 1 | system, processor, tools                                       | the same
build     | 7 | all programs, in the profile dev                               | the same
units     | 4 | unit tests of all crates                                       | the same
cage      | 2 | starts each sandbox and attacks it                             | the same, and more attacks
keeper    | 2 | questions of decision 0138, runs of commands and MCP programs  | Linux's keeper
seatbelt  | 2 | asks the kernel for each answer that is assumed                | Linux's kernel is asked
calendar  | 2 | a test calendar: made, read through Plexus, removed            | with the fake
reminders | 2 | a test list: a reminder added, read, undone; removed           | with the fake
things    | 2 | a to-do: added, read, removed                                  | with the fake
codex     | 2 | Codex with a scripted model, as a source and as an agent       | the same
claude    | 2 | Claude Code with a scripted model, as a source and as an agent | the same
service   | 1 | a service with a name of its own: installed, restarted, removed | where systemd has services of a user
figures   | 1 | start of a gateway and of a sandbox, a read, memory            | the same
";

fn work(it: &mut Rehearsal, step: &str) -> Verdict {
    match step {
        "machine" => machine(it),
        "build" => build(it),
        "units" => it.tests(&["--lib --bins"]),
        "cage" => it.tests(&["--test cage"]),
        "keeper" if ON_MAC => it.agent(KEEPER),
        "keeper" => it.tests(KEEPER),
        "seatbelt" => it.tests(SEATBELT),
        "calendar" => apps::walk(it, &apps::CALENDAR),
        "reminders" => apps::walk(it, &apps::REMINDERS),
        "things" => apps::walk(it, &apps::THINGS),
        "codex" => it.agent(CODEX),
        "claude" => it.agent(CLAUDE),
        "service" => apps::service(it),
        "figures" => Ok(apps::figures(it)?),
        other => Err(anyhow!("{other} is in the table alone").into()),
    }
}

/// Targets as cargo names them, and how the names of their tests begin; without names all tests.
type Tests<'a> = &'a [&'a str];
const KEEPER: Tests<'_> = if ON_MAC {
    &[
        "--package plexus-sandbox --lib -- macos::questions:: packets::",
        "--test stories -- extensions::value_stays extensions::run_is_held mcp_servers::real mcp_servers::servers_have",
    ]
} else {
    &["--test cage -- keeper::", "--test stories -- children::"]
};
const SEATBELT: Tests<'_> = if ON_MAC {
    &["--package plexus-sandbox --test tests -- mac:: answers::"]
} else {
    &[
        "--test cage -- answers::",
        "--package plexus-sandbox --test tests -- answers::",
    ]
};
const CODEX: Tests<'_> = &[
    "--test stories -- coding_agents::codex coding_agents::commands coding_agents::cancelled real_agents::codex_has",
];
const CLAUDE: Tests<'_> =
    &["--test stories -- coding_agents::claude real_agents::claude_code_lists"];

struct RehearsalStep {
    name: &'static str,
    minutes: u32,
    does: &'static str,
    on_linux: &'static str,
}

fn steps() -> Result<Vec<RehearsalStep>> {
    let step = |line: &'static str| {
        let words: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, minutes, does, on_linux] = words[..] else {
            bail!("no step: {line}");
        };
        let minutes = minutes.parse()?;
        Ok(RehearsalStep {
            name,
            minutes,
            does,
            on_linux,
        })
    };
    STEPS.trim().lines().map(step).collect()
}

/// Why a step did not pass.
enum Halt {
    Failed(anyhow::Error),
    NotHere(String),
}

type Verdict = Result<(), Halt>;

impl<E: Into<anyhow::Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a step has at hand.
struct Rehearsal {
    /// The programs: a build of the profile `dev`, which the stories need and which is made in half the time.
    binaries: PathBuf,
    are_given: bool,
    transcript: Transcript,
}

const ON_MAC: bool = cfg!(target_os = "macos");
/// How many times as long as said a step may take.
const BOUND: u32 = 5;

/// Runs the steps; fails when one that could be run did not pass.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments {
        report: path,
        json,
        only,
        binaries,
    } = arguments;
    let steps = steps()?;
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    let unknown = only.iter().find(|name| !names.contains(&name.as_str()));
    if let Some(name) = unknown {
        bail!("{name} is no step; there is {}", names.join(", "));
    }
    let mut it = Rehearsal {
        binaries: match binaries {
            Some(given) => std::path::absolute(given)?,
            None => cargo::binaries("debug")?,
        },
        are_given: binaries.is_some(),
        transcript: Transcript::default(),
    };
    let mut report = Report::new(
        steps
            .iter()
            .map(|step| (step.name, step.does, step.on_linux)),
    );
    report.write(path, *json)?;
    // The second Ctrl-C ends this process; the first is noted.
    flag::register_conditional_shutdown(SIGINT, 130, INTERRUPTED.clone())?;
    flag::register(SIGINT, INTERRUPTED.clone())?;
    println!("Ctrl-C ends the step, which cleans up; a second one ends it at once.");
    if ON_MAC {
        println!("macOS asks for consent on the way (Calendar, Reminders, Automation). Allow it.");
    }
    for RehearsalStep {
        name,
        minutes,
        does,
        ..
    } in steps
    {
        let is_chosen = only.is_empty() || only.iter().any(|one| one == name);
        if !is_chosen || is_interrupted() {
            continue;
        }
        println!("\n==> {name}: {does} (about {minutes} min)");
        let began = Instant::now();
        it.transcript = Transcript::within(Duration::from_secs(60) * minutes * BOUND);
        let outcome = match work(&mut it, name) {
            Ok(()) => Outcome::Passed,
            Err(Halt::NotHere(why)) => Outcome::NotHere(why),
            Err(Halt::Failed(error)) => Outcome::Failed(format!("{error:#}")),
        };
        println!("    {outcome}, {:.1} s", began.elapsed().as_secs_f64());
        report.note(
            name,
            outcome,
            began.elapsed(),
            std::mem::take(&mut it.transcript),
        );
        report.write(path, *json)?;
    }
    print!(
        "\n{}Send this file back: {}\n",
        report.summary(),
        path.display()
    );
    ensure!(!is_interrupted(), "it was interrupted");
    let failed = report.failed();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Whether Ctrl-C was pressed. A handler, not a mask, which programs would inherit: they hear a terminal's Ctrl-C themselves.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// What the machine is, without the name of anybody.
fn machine(it: &mut Rehearsal) -> Verdict {
    const OF_MAC: &str = "sw_vers; sysctl -n machdep.cpu.brand_string; sysctl -n hw.memsize; csrutil status; xcode-select -p";
    const OF_ALL: &str =
        "uname -srm; rustc --version; node --version; npm --version; git rev-parse HEAD";
    let of_mac = if ON_MAC { OF_MAC } else { "" };
    let lines = of_mac.split("; ").chain(OF_ALL.split("; "));
    for line in lines.filter(|line| !line.is_empty()) {
        let mut shell = Command::new("sh");
        let answer = shell
            .args(["-c", line])
            .current_dir(cargo::root())
            .output()?;
        let said = String::from_utf8_lossy(&answer.stdout);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        it.transcript.answer(
            line,
            if answer.status.success() {
                &said
            } else {
                "not here"
            },
        );
    }
    let processors = thread::available_parallelism().context("counting processors")?;
    it.transcript.answer("processors", processors.to_string());
    Ok(())
}

fn build(it: &mut Rehearsal) -> Verdict {
    if it.are_given {
        return Err(Halt::NotHere("the programs were built before".to_owned()));
    }
    let mut build = cargo::command();
    build.args(["build", "--locked", "--workspace"]);
    // Tests start examples too.
    build.args(["--bins", "--examples"]);
    Ok(it.transcript.hear(build)?)
}

impl Rehearsal {
    /// Runs tests, each in a process of its own; the names of those that failed end the step.
    fn tests(&mut self, tests: Tests<'_>) -> Verdict {
        // Not this process's own: the step build may have replaced it.
        let xtask = self.program("xtask")?;
        let mut failed = Vec::new();
        for line in tests {
            if is_interrupted() {
                failed.push("it was interrupted".to_owned());
                break;
            }
            let mut command = cargo::command();
            command.args(["test", "--locked", "--no-fail-fast"]);
            if !line.contains("--package") {
                command.arg("--workspace");
            }
            isolate::run_by(&mut command, &isolate::runner(&xtask, false));
            command.args(line.split(' '));
            let before = self.transcript.failures().len();
            if let Err(error) = self.transcript.hear(command) {
                let names = self.transcript.failures().split_off(before);
                match names.is_empty() {
                    true => failed.push(format!("{line}: {error:#}")),
                    false => failed.extend(names),
                }
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(anyhow!(failed.join(", ")).into()),
        }
    }

    /// The same with the real programs, which npm installs below `target`.
    fn agent(&mut self, tests: Tests<'_>) -> Verdict {
        match agents::ensure() {
            Ok(()) => self.tests(tests),
            Err(error) if step::present("npm", &["--version"]) => Err(Halt::Failed(error)),
            Err(error) => Err(Halt::NotHere(format!("{error:#}"))),
        }
    }

    /// A program that ships.
    fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.binaries.join(name);
        ensure!(
            path.is_file(),
            "{name} is missing; run the step build first"
        );
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_rows_and_take_half_an_hour() {
        let steps = steps().unwrap();
        let minutes: u32 = steps.iter().map(|step| step.minutes).sum();
        assert!(minutes <= 30, "{minutes}");
        let source = include_str!("rehearse.rs");
        for RehearsalStep { name, .. } in steps {
            assert!(
                source.contains(&format!("        \"{name}\" => ")),
                "{name}"
            );
        }
    }
}
