//! The proof of the cage: the one place that knows how the attack is called and what its report may hold.

use crate::manifest::{FolderField, Manifest};
use crate::message::{Role, Start};
use plexus_sandbox::probe::{self, CageReport, Check, CheckKind, ProbeTargets};
use serde::{Deserialize, Deserializer, de};
use std::io;

/// Most checks of a report.
const MAX_CHECKS: usize = 192;
/// Longest name or answer in a report, in bytes.
const MAX_WORDS: usize = 512;

/// Applies the limits that the launcher has applied already where it is ours.
#[cfg(target_os = "linux")]
pub(super) fn limit(_start: &Start) -> io::Result<()> {
    Ok(())
}

/// Applies the limits, and lets go of what was inherited: Apple's launcher does neither.
#[cfg(target_os = "macos")]
pub(super) fn limit(start: &Start) -> io::Result<()> {
    plexus_sandbox::give_up_inherited(&start.limits.of_process(), start.keeper)
}

/// Gives up exec and fork for good, and the making of a second runtime. Only before there is a second thread.
pub(super) fn give_up_exec_and_fork() -> Result<(), plexus_sandbox::GiveUpError> {
    plexus_sandbox::give_up_exec_and_fork()
}

/// Attacks the cage from inside. If the configuration lacks a path that the manifest requires, the report says so
/// and is not sound: a cage around the wrong folder proves nothing.
pub(super) fn attack(start: &Start, manifest: &Manifest) -> CageReport {
    let config: serde_json::Value = serde_json::from_slice(&start.config).unwrap_or_default();
    let places = manifest.places(&config);
    let missing = manifest
        .paths()
        .find(|(field, _)| field.required && !places.iter().any(|p| p.field == field.name));
    let mut report = probe::attack(&ProbeTargets {
        canary: start.probe.canary.clone(),
        state_dir: start.probe.state_dir.clone(),
        tcp_port: start.probe.tcp_port,
        unix_socket: start.probe.unix_socket.clone(),
        places: places.into_iter().map(probed).collect(),
        role: match start.role {
            Role::Reader => probe::Role::Reader,
            Role::Writer => probe::Role::Writer,
        },
        parent_pid: start.probe.parent_pid,
        launcher_pid: start.probe.launcher_pid,
    });
    if let Some((_, parameter)) = missing {
        report.checks.push(Check {
            name: format!("know the {}", spoken(&parameter)),
            kind: CheckKind::Control,
            held: false,
            detail: "the configuration does not name it".into(),
        });
    }
    report
}

fn probed(place: FolderField) -> probe::ProbedFolder {
    probe::ProbedFolder {
        name: spoken(&place.parameter),
        path: place.path,
        writable: place.writable,
    }
}

/// A folder as the report calls it.
fn spoken(parameter: &str) -> String {
    match parameter {
        "ROOT" => "root".to_owned(),
        other => format!("path {other}"),
    }
}

/// Decodes a report that is short enough to be recorded as it is.
pub(crate) fn bounded<'de, D: Deserializer<'de>>(d: D) -> Result<Box<CageReport>, D::Error> {
    let report = CageReport::deserialize(d)?;
    let short = |text: &str| text.len() <= MAX_WORDS && !text.chars().any(char::is_control);
    let fits = report.checks.len() <= MAX_CHECKS
        && report
            .checks
            .iter()
            .all(|check| short(&check.name) && short(&check.detail));
    if fits {
        Ok(Box::new(report))
    } else {
        Err(de::Error::custom("a report that is too long"))
    }
}
