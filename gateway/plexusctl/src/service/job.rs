//! What is run as a service, of any service manager.

use super::plain;
use plexus_client::Stop;
use std::path::Path;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// `plexusd`.
    Gateway,
    /// `plexusctl notify --follow`.
    Notify,
    /// `plexus-tray`.
    Tray,
}

impl Job {
    pub(super) const ALL: [Self; 3] = [Self::Gateway, Self::Notify, Self::Tray];

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Gateway => "Plexus, the gateway between agents and your apps",
            Self::Notify => "Plexus, notifications of what waits for you",
            Self::Tray => "Plexus, the gateway in your desktop's tray",
        }
    }
}

/// The names of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// The names of a person's own service.
    Usual,
    /// Others, so that a rehearsal leaves that service alone.
    Trial,
}

impl Names {
    /// A job's name as a unit of systemd, or as an entry of the desktop's autostart, without the ending.
    pub(super) fn unit(self, job: Job) -> String {
        let name = match job {
            Job::Gateway => "plexusd",
            Job::Notify => "plexus-notify",
            Job::Tray => "plexus-tray",
        };
        self.marked(name, "-trial")
    }
    /// Its label as an agent of launchd.
    pub(super) fn label(self, job: Job) -> String {
        let label = match job {
            Job::Gateway => "local.plexus.plexusd",
            Job::Notify => "local.plexus.notify",
            Job::Tray => "local.plexus.tray",
        };
        self.marked(label, ".trial")
    }
    /// The command that does this to the service.
    pub(super) fn command(self, act: &str) -> String {
        self.marked(&format!("plexusctl service {act}"), " --trial")
    }
    fn marked(self, name: &str, mark: &str) -> String {
        let mark = if self == Self::Trial { mark } else { "" };
        format!("{name}{mark}")
    }
}

/// How it is started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) job: Job,
    /// Program and arguments.
    pub(super) line: Vec<String>,
    /// The state directory.
    pub(super) home: String,
}

impl Start {
    pub(super) fn new(
        job: Job,
        program: &Path,
        arguments: Vec<String>,
        home: &Path,
    ) -> Result<Self, Stop> {
        let mut line = vec![plain(program)?];
        line.extend(arguments);
        Ok(Self {
            job,
            line,
            home: plain(home)?,
        })
    }
}

/// How many files the gateway may have open: its connections and what else it needs (1,024 + 768).
pub(super) const FILES: u32 = 1792;
/// How long it may take to stop, in seconds: 5 s for running effects, 3 s for their records, and workers to end.
pub(super) const STOP_WITHIN: u32 = 20;
/// By this line a file of ours is known.
pub(super) const MARK: &str =
    "Written by plexusctl service install; plexusctl service uninstall removes it.";
