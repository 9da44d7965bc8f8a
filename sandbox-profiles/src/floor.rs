//! Which kernel can hold which cage: the one place that decides it, from what a kernel says of itself and what a
//! profile needs. Pure, so that every kernel can be asked about on any.
//!
//! | needs | Landlock | why |
//! |---|---|---|
//! | a leaf in one process | 4 | files, and a wall before TCP ports beside seccomp's |
//! | several processes, or a coding agent's system calls | 6 | signals and abstract sockets are bounded by Landlock alone |
//!
//! Below 6 seccomp stands in for what Landlock lacks, where it can: a leaf has no ioctl that a device would act on
//! (5), no socket with an abstract address (6), and may signal the number of its own process and group alone (6).
//! Who forks has children with numbers that no filter knows beforehand: for those there is no stand-in.
//!
//! Invariant: a profile runs with all that it needs or not at all.

use crate::profile::SystemCalls;
use crate::ruleset::Ruleset;
use crate::{Support, Unsupported};

/// What a kernel says of Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// It knows no such call, or may not be asked.
    Missing,
    /// Built in and switched off at boot.
    Off,
    /// The version of its interface (ABI).
    Version(u32),
}

/// What a kernel says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Of Landlock.
    pub landlock: Landlock,
    /// Whether seccomp filters can refuse a call with an error.
    pub seccomp: bool,
}

/// The lowest version under which any worker runs. Landlock 4 knows TCP ports.
pub const LOWEST: u32 = 4;
/// The version that leaves nothing to stand in for: ioctl on devices (5), signals and abstract sockets (6).
pub const WHOLE: u32 = 6;

/// First releases with each version of Landlock. Source: the kernel's `Documentation/userspace-api/landlock.rst`.
const RELEASES: [(u32, &str); 9] = [
    (1, "5.13"),
    (2, "5.19"),
    (3, "6.2"),
    (4, "6.7"),
    (5, "6.10"),
    (6, "6.12"),
    (7, "6.15"),
    (8, "7.0"),
    (9, "7.1"),
];

/// The first Linux release with a version of Landlock; `newer` for one that is not known here.
#[must_use]
pub fn release(version: u32) -> &'static str {
    let found = RELEASES.iter().find(|(known, _)| *known == version);
    found.map_or("newer", |(_, release)| release)
}

/// What a ruleset needs of Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The version.
    pub version: u32,
    /// What needs more than [`LOWEST`], in words.
    pub because: Option<&'static str>,
}

impl Needs {
    /// The needs of `ruleset`.
    #[must_use]
    pub fn of(ruleset: &Ruleset) -> Self {
        let whole = |because| Self {
            version: WHOLE,
            because: Some(because),
        };
        match ruleset.system_calls {
            SystemCalls::Agent => whole("a coding agent signals its own processes"),
            SystemCalls::Leaf if ruleset.forks => whole("it starts processes"),
            SystemCalls::Leaf => Self {
                version: LOWEST,
                because: None,
            },
        }
    }
}

/// How a kernel holds a cage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The Landlock version to build the domain for: the kernel's, and never more than [`WHOLE`].
    pub version: u32,
}

impl Hold {
    /// Whether seccomp stands in for Landlock's scopes.
    #[must_use]
    pub fn stands_in(self) -> bool {
        self.version < WHOLE
    }
}

/// Whether `kernel` holds what needs `needs`, and how.
/// # Errors
/// What is missing and what would mend it, in words for the owner.
pub fn decide(kernel: Kernel, needs: Needs) -> Result<Hold, Unsupported> {
    let found = match kernel.landlock {
        Landlock::Missing => return Err(Unsupported::NoLandlock),
        Landlock::Off => return Err(Unsupported::LandlockOff),
        Landlock::Version(found) => found,
    };
    if found < LOWEST {
        return Err(Unsupported::BelowFloor {
            found,
            floor: LOWEST,
        });
    }
    if found < needs.version {
        return Err(Unsupported::ProfileNeedsMore {
            found,
            floor: needs.version,
            because: needs.because.unwrap_or("of what it reaches"),
        });
    }
    if !kernel.seccomp {
        return Err(Unsupported::NoSeccomp);
    }
    Ok(Hold {
        version: found.min(WHOLE),
    })
}

/// What [`decide`] says of the least that any worker needs, for `status` and `doctor`.
/// # Errors
/// As [`decide`].
pub fn support(kernel: Kernel) -> Result<Support, Unsupported> {
    let least = Needs::of(&Ruleset::default());
    decide(kernel, least)?;
    let Landlock::Version(version) = kernel.landlock else {
        return Err(Unsupported::NoLandlock);
    };
    Ok(Support {
        mechanism: "Landlock and seccomp",
        version,
    })
}
