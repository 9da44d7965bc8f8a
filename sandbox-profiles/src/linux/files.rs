//! Landlock: trees, executables, TCP ports, signals, abstract sockets.
//!
//! Everything that Landlock of the version in use can deny is denied unless a grant allows it. A rule binds what a path
//! leads to when the worker starts, so a folder moved away keeps its rights and one put in its place has none.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset as Domain, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};

use super::CageError;
use super::base::{self, Use};
use crate::floor::{Hold, LOWEST, WHOLE};
use crate::ruleset::{Extent, PathGrant, Ruleset};

/// The rights of the version that the cage is built for. What it lacks seccomp refuses: see [`crate::floor`].
fn rights(hold: Hold) -> ABI {
    match hold.version {
        ..=4 => ABI::V4,
        5 => ABI::V5,
        _ => ABI::V6,
    }
}
const _: () = assert!(ABI::V4 as u32 == LOWEST && ABI::V6 as u32 == WHOLE);

/// Puts this thread, and what will descend from it, under `ruleset`'s grants. Rules on what this process has in `/proc`
/// hold for as long as somebody holds what this returns: the kernel forgets such a file, and with it the rule.
pub(super) fn restrict(ruleset: &Ruleset, hold: Hold) -> Result<Vec<OwnedFd>, CageError> {
    let mut held = Vec::new();
    let rights = rights(hold);
    let domain = Domain::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(rights))
        .and_then(|domain| domain.handle_access(AccessNet::from_all(rights)));
    // A version without scopes knows no empty set of them either.
    let domain = if hold.stands_in() {
        domain
    } else {
        domain.and_then(|domain| domain.scope(Scope::from_all(rights)))
    };
    let mut domain = domain.and_then(Domain::create).map_err(landlock)?;
    if ruleset.base.is_some() {
        domain = add_base(domain)?;
    }
    for grant in &ruleset.reads {
        domain = add(
            domain,
            grant,
            AccessFs::ReadFile.into(),
            AccessFs::ReadDir.into(),
        )?;
        if own_proc(&grant.path).is_some() {
            held.extend(open_grant(grant)?);
        }
    }
    // Before there was a right for it, seccomp left a leaf no such call, and there is no other worker.
    let ioctls = ruleset.ioctls.iter().filter(|_| !hold.stands_in());
    for grant in ioctls {
        domain = add(domain, grant, AccessFs::IoctlDev.into(), BitFlags::EMPTY)?;
    }
    for grant in &ruleset.executes {
        domain = add(domain, grant, AccessFs::Execute.into(), BitFlags::EMPTY)?;
    }
    let below_writable = below_writable(ruleset.creates_links);
    for grant in &ruleset.writes {
        domain = add(
            domain,
            grant,
            AccessFs::WriteFile | AccessFs::Truncate,
            below_writable,
        )?;
    }
    for grant in &ruleset.connects {
        domain = domain
            .add_rule(NetPort::new(grant.port, AccessNet::ConnectTcp))
            .map_err(landlock)?;
    }
    let status = domain.restrict_self().map_err(landlock)?;
    if status.ruleset == RulesetStatus::FullyEnforced && status.no_new_privs {
        Ok(held)
    } else {
        Err(CageError::Landlock(format!(
            "enforced only in part: {status:?}"
        )))
    }
}

/// What `file-write*` means below a folder. No devices, sockets or FIFOs: no connector's business.
fn below_writable(creates_links: bool) -> BitFlags<AccessFs> {
    let files = AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::MakeDir
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    if creates_links {
        files | AccessFs::MakeSym
    } else {
        files
    }
}

/// `on_files` holds for the file or all files below; `on_folders` is added where the grant is a tree.
fn add(
    domain: RulesetCreated,
    grant: &PathGrant,
    on_files: BitFlags<AccessFs>,
    on_folders: BitFlags<AccessFs>,
) -> Result<RulesetCreated, CageError> {
    let Some(target) = open_grant(grant)? else {
        return Ok(domain);
    };
    let refuse = |source| refused(grant, source);
    match (is_folder(&target).map_err(refuse)?, grant.extent) {
        // A Landlock rule on a folder reaches all below it: for the folder alone there is none.
        (true, Extent::Literal) => Ok(domain),
        (true, Extent::Subtree) => domain
            .add_rule(PathBeneath::new(target, on_files | on_folders))
            .map_err(landlock),
        (false, _) => domain
            .add_rule(PathBeneath::new(target, on_files))
            .map_err(landlock),
    }
}

/// What a grant is about. `None` where the profile itself names a place that this machine does not have, or that is a link
/// here (a program of macOS, say): what appears there later, or lies behind the link, is not granted. A place that the
/// profile was given must be there.
pub(super) fn open_grant(grant: &PathGrant) -> Result<Option<OwnedFd>, CageError> {
    let own = own_proc(&grant.path);
    // A rule speaks of what a path leads to; one that leads through a link names something else than it says.
    match open(
        own.as_deref().unwrap_or(&grant.path),
        ResolveFlag::RESOLVE_NO_SYMLINKS,
    ) {
        Ok(target) => Ok(Some(target)),
        Err(error) if grant.is_spelled_out && is_no_place(&error) => Ok(None),
        Err(error) => Err(refused(grant, error)),
    }
}

fn is_no_place(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP)
}

fn refused(grant: &PathGrant, source: io::Error) -> CageError {
    CageError::Path {
        origin: grant.origin.clone(),
        path: grant.path.clone(),
        source,
    }
}

/// What a program may be granted of its own process: no more than these files say, and they say it of this process alone,
/// by the number that it keeps when it becomes the program. (Others of them hold its environment and its memory.)
const OWN: [&str; 2] = ["/proc/self/maps", "/proc/self/stat"];

fn own_proc(path: &Path) -> Option<PathBuf> {
    let name = OWN
        .iter()
        .any(|own| path == Path::new(own))
        .then(|| path.file_name())??;
    Some(
        Path::new("/proc")
            .join(std::process::id().to_string())
            .join(name),
    )
}

fn add_base(mut domain: RulesetCreated) -> Result<RulesetCreated, CageError> {
    for (path, usage) in base::entries() {
        let Ok(target) = open(Path::new(&path), ResolveFlag::empty()) else {
            continue;
        };
        let Ok(is_folder) = is_folder(&target) else {
            continue;
        };
        let access: BitFlags<AccessFs> = match usage {
            Use::Interpreter => AccessFs::ReadFile | AccessFs::Execute,
            Use::Read if is_folder => AccessFs::ReadFile | AccessFs::ReadDir,
            Use::Read => AccessFs::ReadFile.into(),
            Use::ReadWrite => AccessFs::ReadFile | AccessFs::WriteFile,
        };
        domain = domain
            .add_rule(PathBeneath::new(target, access))
            .map_err(landlock)?;
    }
    Ok(domain)
}

fn open(path: &Path, resolve: ResolveFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(resolve);
    Ok(openat2(AT_FDCWD, path, how)?)
}

fn is_folder(target: &OwnedFd) -> io::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(target)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

fn landlock(error: impl std::fmt::Display) -> CageError {
    CageError::Landlock(error.to_string())
}
