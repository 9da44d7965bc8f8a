//! `cargo xtask dist`: a release for this machine's kind: a tarball of the installed layout, its digest, a Homebrew formula.
//!
//! Invariant: the same binaries give the same bytes: entries are sorted, belong to nobody and have one time.

use crate::{cargo, layout};
use anyhow::{Context, Result, ensure};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Make a release for this machine's kind: a tarball, its digest, a Homebrew formula
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder to put it in [default: dist in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the tarball will be offered; the formula names it there
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://example.invalid/plexus"
    )]
    url: String,
    /// Build profile
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
}

/// The version that is released.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The time of every entry: the first second that the format can hold without looking like none, 1980-01-01.
const MTIME: u64 = 315_532_800;

/// Builds and packs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binaries = cargo::product(None, &arguments.profile)?;
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => binaries.parent().unwrap_or(&binaries).join("dist"),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let name = format!("plexus-{VERSION}-{}", host()?);
    let tarball = pack(&name, &binaries)?;
    let digest = layout::digest(&tarball);
    let file = format!("{name}.tar.gz");
    for (name, bytes) in [
        (file.clone(), tarball),
        (
            format!("{file}.sha256"),
            format!("{digest}  {file}\n").into_bytes(),
        ),
        (
            "plexus.rb".to_owned(),
            formula(&arguments.url, &file, &digest).into_bytes(),
        ),
    ] {
        println!("{}", layout::put(&out, &name, &bytes, 0o644)?.display());
    }
    Ok(())
}

/// The kind of machine that cargo builds for here.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("running rustc")?;
    ensure!(said.status.success(), "rustc -vV failed");
    let said = String::from_utf8(said.stdout).context("reading what rustc said")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// The tarball: one folder with the layout and the licences in it.
fn pack(name: &str, binaries: &Path) -> Result<Vec<u8>> {
    let mut parts = layout::parts(binaries)?;
    let folders = layout::folders(&parts);
    for text in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        parts.push(layout::Part {
            path: text.to_owned(),
            bytes: std::fs::read(cargo::root().join(text))
                .with_context(|| format!("reading {text}"))?,
            mode: 0o644,
        });
    }
    // Last, for whoever unpacks it somewhere can take all of it back by this list.
    parts.push(layout::Part {
        path: layout::LIST.to_owned(),
        bytes: layout::list(&parts, &folders),
        mode: 0o644,
    });
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    archive(name, &parts)
}

fn archive(name: &str, parts: &[layout::Part]) -> Result<Vec<u8>> {
    let gzip = flate2::GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), flate2::Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for part in parts {
        let mut header = tar::Header::new_ustar();
        header.set_size(part.bytes.len() as u64);
        header.set_mode(part.mode);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(
            &mut header,
            format!("{name}/{}", part.path),
            part.bytes.as_slice(),
        )
        .with_context(|| format!("packing {}", part.path))?;
    }
    let mut gzip = tar.into_inner().context("packing")?;
    gzip.flush().context("packing")?;
    gzip.finish().context("packing")
}

/// A formula that installs the tarball with its layout as it is.
fn formula(url: &str, file: &str, digest: &str) -> String {
    let url = url.trim_end_matches('/');
    format!(
        r##"class Plexus < Formula
  desc "Local gateway between AI agents and the apps of one person"
  homepage "{url}"
  url "{url}/{file}"
  version "{VERSION}"
  sha256 "{digest}"
  license any_of: ["MIT", "Apache-2.0"]

  # plexusd looks for its workers in ../libexec/plexus beside its own program: the layout stays as it is.
  def install
    rm "libexec/plexus/installed.json"
    prefix.install "bin", "libexec", "share"
  end

  service do
    run [opt_bin/"plexusd", "--under-launchd"]
    keep_alive successful_exit: false
    environment_variables PLEXUS_HOME: "#{{Dir.home}}/.plexus"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/plexusd --version")
    assert_predicate libexec/"plexus/plexus-sandbox-exec", :executable?
  end
end
"##
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parts_give_the_same_bytes_and_the_archive_holds_them() {
        let parts = || {
            ["bin/plexus", "share/man/man1/plexus.1"].map(|path| layout::Part {
                path: path.to_owned(),
                bytes: path.as_bytes().to_vec(),
                mode: 0o755,
            })
        };
        let packed = archive("plexus-0", &parts()).unwrap();
        assert_eq!(packed, archive("plexus-0", &parts()).unwrap());
        let mut read = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let entries = read.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let (mode, uid) = (header.mode().unwrap(), header.uid().unwrap());
            (path, mode, uid, header.mtime().unwrap())
        });
        let packed = |path: &str| (format!("plexus-0/{path}"), 0o755, 0, MTIME);
        let expected = ["bin/plexus", "share/man/man1/plexus.1"].map(packed);
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_formula_names_the_tarball_and_its_digest() {
        let text = formula("https://example.invalid/p/", "plexus-0.tar.gz", "ab12");
        assert!(
            text.contains(r#"url "https://example.invalid/p/plexus-0.tar.gz""#),
            "{text}"
        );
        assert!(text.contains(r#"sha256 "ab12""#));
        // Where there is a Ruby, it reads it.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plexus.rb");
        std::fs::write(&file, &text).unwrap();
        match Command::new("ruby").arg("-c").arg(&file).output() {
            Ok(read) => {
                let said = String::from_utf8_lossy(&read.stderr);
                assert!(read.status.success(), "{said}");
            }
            Err(error) => println!("NOT RUN: no Ruby reads the formula: {error}"),
        }
    }
}
