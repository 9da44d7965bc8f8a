//! The release as a package of Debian and its relatives: the same layout below `/usr`, without the list of an install,
//! because dpkg has one of its own.
//!
//! Invariant: the same parts give the same bytes.

use super::{Release, archive};
use crate::layout::{self, Part};
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// What begins an `ar` archive.
const MAGIC: &[u8] = b"!<arch>\n";

/// The name of the package's file, and its bytes; none for a kind of machine that Debian has no name for.
pub(super) fn package(release: &Release, parts: &[Part]) -> Result<Option<(String, Vec<u8>)>> {
    let architecture = match release.kind.as_str() {
        "x86_64-unknown-linux-gnu" => "amd64",
        "aarch64-unknown-linux-gnu" => "arm64",
        _ => return Ok(None),
    };
    // In Debian's order a version with `~` is before the one without.
    let version = release.version.replacen('-', "~", 1);
    let of_package = parts.iter().filter(|part| {
        // Its upgrades come by dpkg, and not by a key.
        part.path != layout::LIST && part.path != layout::PUBLIC_KEY
    });
    let files: Vec<Part> = of_package
        .map(|part| Part {
            path: format!("usr/{}", part.path),
            bytes: part.bytes.clone(),
            mode: part.mode,
        })
        .collect();
    let bytes: usize = files.iter().map(|part| part.bytes.len()).sum();
    let mut control = format!(
        "Package: plexus\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Plexus\n"
    );
    let _ = writeln!(
        control,
        "Installed-Size: {}\nDepends: libc6 (>= {}), libgcc-s1\nSection: net\nPriority: optional\nHomepage: {}\n\
         Description: local gateway between AI agents and the apps of one person\n \
         Grants, approvals and an audit log for what agents do on this machine.",
        bytes.div_ceil(1024),
        release.glibc.as_deref().unwrap_or("2.17"),
        release.url
    );
    let control = Part {
        path: "control".to_owned(),
        bytes: control.into_bytes(),
        mode: 0o644,
    };
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", archive(&[control])?),
        ("data.tar.gz", archive(&with_folders(files))?),
    ];
    let file = format!("plexus_{version}_{architecture}.deb");
    Ok(Some((file, ar(&members).context("packing")?)))
}

/// The same with each folder before what is in it: dpkg makes none by itself.
fn with_folders(files: Vec<Part>) -> Vec<Part> {
    let mut all: Vec<Part> = layout::folders(&files)
        .into_iter()
        .map(|path| Part {
            path: format!("{path}/"),
            bytes: Vec::new(),
            mode: 0o755,
        })
        .collect();
    all.extend(files);
    all
}

fn ar(members: &[(&str, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    use std::io::Write as _;
    let mut all = MAGIC.to_vec();
    for (name, bytes) in members {
        let (time, size) = (super::MTIME, bytes.len());
        writeln!(all, "{name:<16}{time:<12}0     0     100644  {size:<10}`")?;
        all.extend_from_slice(bytes);
        if size % 2 == 1 {
            all.push(b'\n');
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn package_is_read_by_dpkg_and_the_same_twice() {
        let parts = ["bin/plexus", layout::LIST, layout::PUBLIC_KEY].map(|path| Part {
            path: path.to_owned(),
            bytes: path.as_bytes().to_vec(),
            mode: 0o755,
        });
        let release = Release {
            version: "0.1.0-rc.1".to_owned(),
            kind: "x86_64-unknown-linux-gnu".to_owned(),
            glibc: Some("2.34".to_owned()),
            url: "https://example.invalid".to_owned(),
        };
        let (name, bytes) = package(&release, &parts).unwrap().unwrap();
        assert_eq!(name, "plexus_0.1.0~rc.1_amd64.deb");
        assert_eq!(bytes, package(&release, &parts).unwrap().unwrap().1);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(&name);
        std::fs::write(&file, &bytes).unwrap();
        let said = |flag: &str| match Command::new("dpkg-deb").arg(flag).arg(&file).output() {
            Ok(output) => {
                let words = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{words}");
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Err(error) => {
                println!("NOT RUN: no dpkg-deb reads the package: {error}");
                String::new()
            }
        };
        let (about, holds) = (said("--info"), said("--contents"));
        if !about.is_empty() {
            assert!(about.contains("Depends: libc6 (>= 2.34)"), "{about}");
            assert!(holds.contains("usr/bin/plexus\n"), "{holds}");
            assert_eq!(holds.matches("libexec").count(), 0, "{holds}");
        }
    }
}
