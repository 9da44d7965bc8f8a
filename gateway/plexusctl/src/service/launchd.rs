//! A launchd agent for each job, in the domain of the person's own login (`gui/UID`).
//!
//! ```text
//! enable ▸ bootout what is loaded ▸ (gone: `print` says 113) ▸ bootstrap ▸ kickstart
//! ```
//! Nothing here has run on a Mac: files are held by golden tests and the `plist` crate's reading, calls by a program that
//! answers with launchctl's exit statuses.

use super::{
    Change,
    job::{FILES, Job, MARK, Names, STOP_WITHIN, Start},
    plan::{self, Plan, Run, Step},
    runner::Runner,
};
use plexus_client::{Exit, Stop};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const DONE: &[i32] = &[0];
/// `bootout` worked, has begun to work (it does not wait), or had nothing to do: no such process, no such service.
const GOING: &[i32] = &[0, 3, 36, 113];
/// `print` of a service that is not loaded.
const GONE: &[i32] = &[113];
/// Another operation on the service is under way.
const UNDER_WAY: &[i32] = &[36, 37];

pub(super) struct Launchd {
    folder: PathBuf,
    names: Names,
    uid: u32,
    pub(super) runner: Runner,
}

impl Launchd {
    pub(super) fn new(person: &Path, names: Names, runner: Runner) -> Self {
        Self {
            folder: person.join("Library/LaunchAgents"),
            names,
            uid: plexus_client::private_file::uid(),
            runner,
        }
    }

    pub(super) fn file(&self, job: Job) -> PathBuf {
        self.folder.join(format!("{}.plist", self.names.label(job)))
    }

    fn domain(&self) -> String {
        format!("gui/{}", self.uid)
    }
    fn target(&self, job: Job) -> String {
        format!("{}/{}", self.domain(), self.names.label(job))
    }

    /// Whether this person is logged in at the machine itself.
    pub(super) fn reachable(&self) -> Result<(), Stop> {
        let asked = self.runner.run(&["print".to_owned(), self.domain()])?;
        if asked.status == 0 {
            return Ok(());
        }
        let why = format!("launchd keeps no services for you here: {}", asked.said());
        Err(
            Stop::new(Exit::Failed, "no_service_manager", why).next(format!(
                "log in at the machine's own screen, not over ssh; or start plexusd yourself; or write the files alone: {}",
                self.names.command("install --write-only")
            )),
        )
    }

    pub(super) fn install(&self, starts: &[Start]) -> Result<Plan, Stop> {
        let mut plan = Plan::default();
        for start in starts {
            let path = self.file(start.job);
            plan::ours(&path)?;
            // launchd opens the log before it starts anything, in a folder that has to be there.
            if start.job == Job::Gateway {
                plan.steps
                    .push(Step::Folder(Path::new(&start.home).join("logs")));
            }
            plan.steps.push(Step::Write {
                path,
                text: plist(start, &self.names.label(start.job)),
            });
        }
        for start in starts {
            plan.steps
                .push(self.run(&["enable", &self.target(start.job)], DONE, &[]));
            plan.steps.extend(self.unload(start.job));
            plan.steps.extend(self.load(start.job));
        }
        Ok(plan)
    }

    pub(super) fn uninstall(&self, jobs: &[Job]) -> Plan {
        let mut plan = Plan::default();
        for job in jobs.iter().rev() {
            plan.steps.extend(self.unload(*job));
            plan.steps.push(Step::Remove(self.file(*job)));
        }
        plan
    }

    pub(super) fn change(&self, change: Change, jobs: &[Job]) -> Plan {
        let steps = jobs.iter().flat_map(|job| match change {
            Change::Start => self.load(*job),
            Change::Stop => self.unload(*job),
            Change::Restart => {
                vec![self.run(&["kickstart", "-k", &self.target(*job)], DONE, UNDER_WAY)]
            }
        });
        Plan {
            steps: steps.collect(),
        }
    }

    /// Loads it, once what was loaded before is gone, and starts it.
    fn load(&self, job: Job) -> Vec<Step> {
        let file = self.file(job).display().to_string();
        vec![
            self.run(&["bootstrap", &self.domain(), &file], DONE, UNDER_WAY),
            self.run(&["kickstart", &self.target(job)], DONE, UNDER_WAY),
        ]
    }

    /// Ends it and waits until it is gone; one that is not loaded is gone.
    fn unload(&self, job: Job) -> Vec<Step> {
        vec![
            self.run(&["bootout", &self.target(job)], GOING, &[37]),
            self.run(&["print", &self.target(job)], GONE, DONE),
        ]
    }

    pub(super) fn status(&self, job: Job) -> Value {
        let file = self.file(job);
        let mut status =
            json!({"name": self.names.label(job), "file": file, "installed": file.is_file()});
        match self.runner.run(&["print".to_owned(), self.target(job)]) {
            Ok(ran) if ran.status == 0 => {
                // Its text is not a promise of Apple's: what is not found is not said.
                let line = |name: &str| {
                    let lines = ran.stdout.lines().map(str::trim);
                    lines
                        .filter_map(|line| line.split_once(" = "))
                        .find(|(key, _)| *key == name)
                        .map(|(_, value)| value.to_owned())
                };
                status["state"] = line("state").unwrap_or_else(|| "loaded".to_owned()).into();
                if let Some(pid) = line("pid").and_then(|pid| pid.parse::<u64>().ok()) {
                    status["pid"] = pid.into();
                }
                if let Some(last) = line("last exit code").and_then(|code| code.parse::<i64>().ok())
                {
                    status["lastExit"] = last.into();
                }
            }
            Ok(ran) if ran.status == 113 => status["state"] = "not loaded".into(),
            _ => status["state"] = "not known: launchd does not answer".into(),
        }
        status
    }

    fn run(&self, arguments: &[&str], fine: &'static [i32], again: &'static [i32]) -> Step {
        Step::Run(Run {
            program: self.runner.name(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            fine,
            again,
            explain,
            names: self.names,
        })
    }
}

/// launchctl's exit statuses, as far as they are known (`facts` of the launchd releases since macOS 11).
fn explain(names: Names, status: i32) -> Option<(&'static str, String)> {
    let (meaning, next) = match status {
        5 => (
            "it is still loaded, switched off, or its file or program cannot be used",
            "look at System Settings > General > Login Items, then run the command again",
        ),
        36 | 37 => (
            "another operation on it is under way",
            "wait a moment, then run the command again",
        ),
        113 => return Some(("it is not loaded", names.command("install"))),
        119 => (
            "it is switched off",
            "switch it on in System Settings > General > Login Items, then run the command again",
        ),
        125 => (
            "you are not logged in at the machine's own screen",
            "log in there, then run the command again",
        ),
        _ => return None,
    };
    Some((meaning, next.to_owned()))
}

/// The agent's property list.
pub(super) fn plist(start: &Start, label: &str) -> String {
    let line: String = start
        .line
        .iter()
        .map(|word| format!("\t\t<string>{}</string>\n", xml(word)))
        .collect();
    let home = xml(&start.home);
    let (log, files, throttle) = match start.job {
        Job::Gateway => (format!("{home}/logs/service.log"), FILES, 10),
        Job::Notify | Job::Tray => ("/dev/null".to_owned(), 256, 30),
    };
    format!(
        "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<!-- {MARK} -->
<plist version=\"1.0\">
<dict>
\t<key>Label</key>
\t<string>{label}</string>
\t<key>ProgramArguments</key>
\t<array>
{line}\t</array>
\t<key>RunAtLoad</key>
\t<true/>
\t<key>KeepAlive</key>
\t<dict>
\t\t<key>SuccessfulExit</key>
\t\t<false/>
\t</dict>
\t<key>ThrottleInterval</key>
\t<integer>{throttle}</integer>
\t<key>ExitTimeOut</key>
\t<integer>{STOP_WITHIN}</integer>
\t<key>ProcessType</key>
\t<string>Adaptive</string>
\t<key>EnvironmentVariables</key>
\t<dict>
\t\t<key>PLEXUS_HOME</key>
\t\t<string>{home}</string>
\t</dict>
\t<key>Umask</key>
\t<integer>63</integer>
\t<key>SoftResourceLimits</key>
\t<dict>
\t\t<key>Core</key>
\t\t<integer>0</integer>
\t\t<key>NumberOfFiles</key>
\t\t<integer>{files}</integer>
\t</dict>
\t<key>StandardOutPath</key>
\t<string>/dev/null</string>
\t<key>StandardErrorPath</key>
\t<string>{log}</string>
</dict>
</plist>
"
    )
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
#[path = "launchd_tests.rs"]
mod tests;
