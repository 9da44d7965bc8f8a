//! `plexusctl uninstall`: takes everything back that `cargo xtask install`, `plexusctl service` and `plexusctl connect`
//! put somewhere, and says what stays.
//!
//! ```text
//! look (what is there) ▸ show ▸ go ahead? ▸ services ▸ agents' settings ▸ programs ▸ state, if asked
//! ```
//! Invariants: a file goes only if the install's own list names it and it is still what was installed; the state goes only
//! where that was said; folders that were shared with agents are never touched.

mod integrations;

use crate::{
    installed::{Installed, failed},
    owner::{Desk, list_of},
    programs, prompt,
    service::{Ask, Removal},
};
use clap::{Args, ValueEnum};
use integrations::{Integration, integrations};
use plexus_client::{Done, Exit, Stop, out, text};
use plexus_owner::sources::List;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Removing Plexus.
#[derive(Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    ask: Ask,
    /// State (decisions, audit log, credentials): keep or delete [default: ask; without a terminal, keep]
    #[arg(long)]
    state: Option<State>,
    /// Prefix that the programs are installed under [default: this program's]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

/// What becomes of the state directory.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// It stays as it is
    Keep,
    /// It is removed with everything in it
    Delete,
}

/// How long a gateway may take to be gone after its service was stopped.
const GONE_WITHIN: Duration = Duration::from_secs(25);
/// How long is waited between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Stands for the shared folders where nobody can list them.
const UNLISTED: &str =
    "folders that you shared, if any: they are not listed, because the gateway does not run";

/// Files of one folder that are named one by one.
const NAMED: usize = 6;

/// What is there to remove, and what stays.
struct Installation {
    services: Removal,
    integrations: Vec<Integration>,
    programs: Option<Installed>,
    /// The prefix of programs that this account may not remove.
    of_another: Option<PathBuf>,
    /// The application that this program lies in.
    app: Option<PathBuf>,
    home: PathBuf,
    /// Whether there is a state directory before anything is removed.
    has_state: bool,
    /// Folders that agents were let into; none where no gateway runs that could list them.
    shared: Option<BTreeSet<String>>,
    /// The folder of the servers that `plexusctl mcp install` installed.
    servers: PathBuf,
}

/// Removes.
pub(crate) async fn run(desk: &Desk, uninstall: Uninstall) -> Result<Exit, Stop> {
    let prefix = match &uninstall.prefix {
        Some(prefix) => std::path::absolute(prefix).map_err(|error| Stop::path(prefix, &error))?,
        None => programs::prefix()?,
    };
    let (programs, of_another) = match Installed::read(&prefix)? {
        Some(programs) if !programs.is_removable() => (None, Some(prefix)),
        programs => (programs, None),
    };
    let found = Installation {
        services: Removal::plan()?,
        integrations: integrations(&desk.home)?,
        programs,
        of_another,
        app: programs::app()?,
        home: desk.home.path().to_owned(),
        has_state: desk.home.path().exists(),
        shared: shared(desk).await,
        servers: crate::mcp::servers(desk),
    };
    let runs_by_hand = found.services.is_empty() && desk.accepts().await;
    let (removes, in_short) = (found.removes(), found.removes_in_short());
    let mut report = json!({"ok": true, "dryRun": uninstall.ask.dry_run, "removes": removes});
    if uninstall.ask.dry_run {
        report["leaves"] = json!(found.leaves(uninstall.state.unwrap_or(State::Keep), &[]));
        if runs_by_hand {
            report["before"] = still_runs(desk).next.into();
        }
        return desk.show(&report, || {
            as_text(&report, ("would do", &in_short), "would leave")
        });
    }
    if runs_by_hand {
        return Err(still_runs(desk));
    }
    if !desk.json {
        out::say(&format!("to do:\n{}", indented(&in_short)));
    }
    if !uninstall
        .ask
        .go_ahead(desk, "go ahead?", "plexusctl uninstall")?
    {
        return Err(Stop::new(
            Exit::Refused,
            "not_confirmed",
            "you did not confirm",
        ));
    }
    let state = uninstall.state(desk, &found.home)?;
    if state == State::Delete {
        desk.widen("removing the state")?;
        check_state(&found.home)?;
    }

    if !found.services.is_empty() && !desk.json {
        let most = GONE_WITHIN.as_secs();
        out::say(&format!("stopping the services; that may take {most} s…"));
    }
    // All that goes before the step that fails is gone.
    let taken = found.take_back(desk, state).await;
    let stayed = taken.map_err(|stop| stop.done(Done::Unknown))?;
    if state == State::Delete && found.has_state {
        report["stateRemoved"] = true.into();
    }
    report["leaves"] = json!(found.leaves(state, &stayed));
    desk.show(&report, || as_text(&report, ("done", &in_short), "left"))
}

impl Uninstall {
    fn state(&self, desk: &Desk, home: &Path) -> Result<State, Stop> {
        if let Some(state) = self.state {
            return Ok(state);
        }
        if !desk.can_ask() || self.ask.yes || !home.exists() {
            return Ok(State::Keep);
        }
        let question = format!(
            "remove the state as well, with all decisions, the audit log and credentials, in {}?",
            text::line(&home.display().to_string())
        );
        Ok(match prompt::is_yes(&question, "nothing was removed") {
            true => State::Delete,
            false => State::Keep,
        })
    }
}

impl Installation {
    /// Removes it, the state as well where that is said; gives what stays.
    async fn take_back(&self, desk: &Desk, state: State) -> Result<Vec<String>, Stop> {
        self.services.carry_out()?;
        let began = Instant::now();
        while desk.accepts().await {
            if began.elapsed() > GONE_WITHIN {
                return Err(still_runs(desk));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut stayed = Vec::new();
        for integration in &self.integrations {
            stayed.extend(integration.undo(&desk.home)?);
        }
        if let Some(programs) = &self.programs {
            let others = programs.remove()?.into_iter();
            stayed.extend(
                others.map(|path| format!("{}: it is not what was installed", path.display())),
            );
        }
        if state == State::Delete && self.home.exists() {
            fs::remove_dir_all(&self.home).map_err(|e| failed(&self.home, &e))?;
        }
        Ok(stayed)
    }

    fn removes(&self) -> Vec<String> {
        let mut lines = self.before_programs();
        let paths = self.programs.iter().flat_map(Installed::paths);
        lines.extend(paths.map(|path| format!("remove {}", path.display())));
        lines
    }

    /// The same for a person, who wants to know of folders: a release has a manual page for each command.
    fn removes_in_short(&self) -> Vec<String> {
        let mut lines = self.before_programs();
        let mut folders: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for path in self.programs.iter().flat_map(Installed::paths) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let folder = path.parent().unwrap_or(&path).to_owned();
            folders.entry(folder).or_default().push(name.into_owned());
        }
        lines.extend(folders.into_iter().map(|(folder, names)| {
            let what = match names.len() {
                1..=NAMED => text::listed(&names, ", "),
                many => format!("{many} files"),
            };
            format!("remove {what} in {}", folder.display())
        }));
        lines
    }

    fn before_programs(&self) -> Vec<String> {
        let mut lines = self.services.lines();
        for integration in &self.integrations {
            let lines_of = integration.lines.iter();
            lines.extend(lines_of.map(|line| format!("{}: {line}", integration.agent)));
        }
        lines
    }

    fn leaves(&self, state: State, stayed: &[String]) -> Vec<String> {
        let mut lines = Vec::new();
        if state == State::Keep && self.home.exists() {
            lines.push(format!("the state: {}", self.home.display()));
        }
        let kept = put_aside(&self.home).into_iter();
        lines.extend(kept.map(|state| {
            format!(
                "a state that a restore put aside, yours to remove: {}",
                state.display()
            )
        }));
        match &self.shared {
            Some(shared) => lines.extend(shared.iter().map(|folder| {
                match Path::new(folder).starts_with(&self.servers) {
                    true => format!("an MCP server that you installed: {folder}"),
                    false => format!("a folder that you shared: {folder}"),
                }
            })),
            None if self.has_state => lines.push(UNLISTED.to_owned()),
            None => {}
        }
        match (&self.programs, &self.of_another, &self.app) {
            (Some(_), ..) => {}
            (None, Some(prefix), _) => lines.push(format!("programs that this account may not remove: {}", prefix.display())),
            (None, None, Some(app)) => lines.push(format!("the application, yours to move to the Trash: {}", app.display())),
            (None, None, None) => lines.push("programs: there is no list of what was installed; remove them as you put them there".to_owned()),
        }
        lines.extend(stayed.iter().cloned());
        lines
    }
}

/// The states that a restore has put aside beside this one; they hold its credentials.
fn put_aside(home: &Path) -> BTreeSet<PathBuf> {
    let (Some(parent), Some(name)) = (home.parent(), home.file_name()) else {
        return BTreeSet::new();
    };
    let begin = format!("{}.before-", name.to_string_lossy());
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin))
        .map(|entry| entry.path())
        .collect()
}

/// Folders that agents were let into, each once; none where no gateway answers. A program that a source runs is none.
async fn shared(desk: &Desk) -> Option<BTreeSet<String>> {
    let mut owner = desk.open().await.ok()?;
    let sources = owner.call(&List {}).await.ok()?;
    let rows = sources.sources.iter();
    let folders = rows
        .flat_map(|row| row.source.texts())
        .filter(|value| Path::new(value).is_absolute() && !Path::new(value).is_file());
    Some(folders.map(str::to_owned).collect())
}

fn still_runs(desk: &Desk) -> Stop {
    let pid = fs::read(desk.home.runtime())
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .and_then(|runtime| runtime["pid"].as_u64());
    let next = match pid {
        Some(pid) => format!("kill {pid}; then run this again"),
        None => "end it, then run this again".to_owned(),
    };
    Stop::new(
        Exit::Refused,
        "gateway_runs",
        "a gateway runs that no service started",
    )
    .next(next)
}

/// Holds that a folder is a state directory of this person, before it is removed.
fn check_state(home: &Path) -> Result<(), Stop> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(about) = fs::symlink_metadata(home) else {
        return Ok(());
    };
    let known = ["connection-key", "ledger.redb"]
        .iter()
        .any(|name| home.join(name).is_file());
    let person = std::env::var_os("HOME").map(PathBuf::from);
    let ours = about.is_dir()
        && about.uid() == plexus_client::private_file::uid()
        && known
        && person.as_deref() != Some(home);
    if ours {
        return Ok(());
    }
    let why = format!(
        "{} does not look like a state directory of yours",
        home.display()
    );
    Err(Stop::new(Exit::Refused, "not_ours", why).next("plexusctl uninstall --state keep"))
}

fn indented<T: AsRef<str>>(lines: &[T]) -> String {
    if lines.is_empty() {
        return "  nothing".to_owned();
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("  {}", text::line(line.as_ref())))
        .collect();
    lines.join("\n")
}

fn as_text(report: &Value, (done, steps): (&str, &[String]), left: &str) -> String {
    let lines = |member: &str| -> Vec<&str> {
        list_of(report, member)
            .iter()
            .filter_map(Value::as_str)
            .collect()
    };
    let mut said = format!("{done}:\n{}", indented(steps));
    if report["stateRemoved"] == true {
        said.push_str("\n  remove the state");
    }
    said.push_str(&format!("\n{left}:\n{}", indented(&lines("leaves"))));
    if let Some(before) = report["before"].as_str() {
        said.push_str(&format!("\nfirst: {before}"));
    }
    said
}
