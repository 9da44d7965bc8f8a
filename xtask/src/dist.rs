//! `cargo xtask dist`: a release for this machine's kind, all of it in one folder that can be offered as it is.
//!
//! ```text
//! plexus-VERSION-KIND.tar.gz      the installed layout in one folder; .sha256, and with --key .minisig
//! plexus-VERSION-KIND.app.tar.gz  the same as an application, Plexus.app (macOS)
//! plexus_VERSION_ARCH.deb         the same for dpkg (Linux)
//! install.sh                      downloads, checks and installs the tarball, on macOS the application
//! plexus.rb                       a Homebrew formula
//! SHA256SUMS                      of all of these
//! ```
//! Invariant: the same binaries give the same bytes, but for the signature and what names it: entries are sorted, belong to
//! nobody and have one time.

mod bundle;
mod package;
mod signature;

use crate::{cargo, layout};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use signature::Signer;
use std::io::Write as _;
use std::path::PathBuf;

/// Make a release for this machine's kind: a tarball, its signature, a package, install.sh
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder to put it in [default: dist in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where that folder will be offered; install.sh and the formula take the tarball from there
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://example.invalid/plexus"
    )]
    url: String,
    /// Secret key of minisign to sign with; its password, if it has one, is in PLEXUS_RELEASE_PASSWORD
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Identity that `codesign` signs the application with (macOS), from the keychain; `-` signs ad hoc
    #[arg(long, value_name = "NAME", default_value = "-")]
    identity: String,
    /// Build profile
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// Take the programs in this folder, built before, instead of building them
    #[arg(long, value_name = "DIR", conflicts_with = "profile")]
    binaries: Option<PathBuf>,
}

/// What is the same in all of a release's files.
struct Release {
    version: String,
    /// The kind of machine, as rustc names it.
    kind: String,
    /// The version of glibc that the programs need; none where they need no glibc.
    glibc: Option<String>,
    /// Where the folder will be offered.
    url: String,
}

impl Release {
    fn is_of_macos(&self) -> bool {
        self.kind.ends_with("-apple-darwin")
    }
}

/// A tarball as it is offered.
struct Tarball {
    file: String,
    bytes: Vec<u8>,
    digest: String,
    signature: Option<Vec<u8>>,
}

impl Tarball {
    /// Of these parts in one folder; signed, if somebody signs.
    fn made(
        release: &Release,
        ending: &str,
        parts: &[layout::Part],
        signer: Option<&Signer>,
    ) -> Result<Self> {
        let name = format!("plexus-{}-{}", release.version, release.kind);
        let file = format!("{name}.{ending}");
        let in_one_folder = parts.iter().map(|part| layout::Part {
            path: format!("{name}/{}", part.path),
            bytes: part.bytes.clone(),
            mode: part.mode,
        });
        let bytes = archive(&in_one_folder.collect::<Vec<_>>())?;
        let signature = signer.map(|signer| signer.sign(&file, &bytes));
        Ok(Self {
            digest: layout::digest(&bytes),
            signature: signature.transpose()?,
            file,
            bytes,
        })
    }

    /// Itself, its digest, and its signature.
    fn files(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let digest = format!("{}  {}\n", self.digest, self.file).into_bytes();
        let signature = (self.signature).map(|bytes| (format!("{}.minisig", self.file), bytes));
        let sum = (format!("{}.sha256", self.file), digest);
        signature.into_iter().chain([sum, (self.file, self.bytes)])
    }
}

/// What a program of the release says of itself.
#[derive(Deserialize)]
struct Edition {
    version: String,
}

/// The script that installs a release, before the release is written into it.
const INSTALLER: &str = include_str!("dist/install.sh");
/// The part of it that each system has for itself.
const ON_LINUX: &str = include_str!("dist/install-linux.sh");
const ON_MACOS: &str = include_str!("dist/install-macos.sh");
/// What begins the name of a version of glibc in a program.
const GLIBC: &[u8] = b"GLIBC_2.";
/// The time of every entry: the first second that the format can hold without looking like none, 1980-01-01.
const MTIME: u64 = 315_532_800;

/// Builds and packs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Before the build, which takes longer.
    let signer = arguments.key.as_deref().map(Signer::read).transpose()?;
    let binaries = match &arguments.binaries {
        Some(built) => std::path::absolute(built)?,
        None => cargo::product_to_offer(&arguments.profile)?,
    };
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => binaries.parent().unwrap_or(&binaries).join("dist"),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let edition = layout::said(&binaries, "plexusd", &["edition"])?;
    let edition: Edition = serde_json::from_slice(&edition).context("reading its edition")?;
    let mut parts = layout::parts(&binaries)?;
    if let Some(signer) = &signer {
        parts.push(layout::Part {
            path: layout::PUBLIC_KEY.to_owned(),
            bytes: signer.public_key_file()?,
            mode: 0o644,
        });
    }
    let release = Release {
        version: edition.version,
        kind: cargo::host()?,
        glibc: needed_glibc(&parts),
        url: arguments.url.trim_end_matches('/').to_owned(),
    };
    let folders = layout::folders(&parts);
    let list = layout::list(&release.version, &layout::digests(&parts), &folders);
    // Last, so that a person who unpacks it somewhere can take all of it back by this list.
    parts.push(layout::Part {
        path: layout::LIST.to_owned(),
        bytes: list,
        mode: 0o644,
    });
    parts.sort_by(|a, b| a.path.cmp(&b.path));

    let signer = signer.as_ref();
    let mut tarballs = vec![Tarball::made(&release, "tar.gz", &parts, signer)?];
    if release.is_of_macos() {
        let app = bundle::files(&release.version, &parts);
        let app = bundle::signed(&app, &arguments.identity)?;
        tarballs.push(Tarball::made(&release, "app.tar.gz", &app, signer)?);
    }
    let mut files = Vec::new();
    // What install.sh and the formula bring: on macOS the application.
    if let Some(brought) = tarballs.last() {
        let formula = formula(&release, brought);
        files.push(("plexus.rb".to_owned(), formula.into_bytes()));
        if release.glibc.is_some() || release.is_of_macos() {
            let key = signer.map(Signer::public_key).unwrap_or_default();
            let script = installer(&release, brought, &key)?;
            files.push(("install.sh".to_owned(), script.into_bytes()));
        }
    }
    files.extend(package::package(&release, &parts)?);
    files.extend(tarballs.into_iter().flat_map(Tarball::files));
    files.sort();
    let sums: String = files
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", layout::digest(bytes)))
        .collect();
    files.push(("SHA256SUMS".to_owned(), sums.into_bytes()));
    for (name, bytes) in files {
        let mode = if name == "install.sh" { 0o755 } else { 0o644 };
        println!("{}", layout::put(&out, &name, &bytes, mode)?.display());
    }
    if signer.is_none() {
        println!(
            "This release is not signed: install.sh says so, and `plexusctl upgrade --from` refuses it. --key FILE signs."
        );
    }
    Ok(())
}

/// The latest version of glibc that a program asks the loader for.
fn needed_glibc(parts: &[layout::Part]) -> Option<String> {
    let programs = parts.iter().filter(|part| part.mode == 0o755);
    let minors = programs.flat_map(|part| {
        let names = part.bytes.split(|byte| *byte == 0);
        names.filter_map(|name| {
            let minor = name
                .strip_prefix(GLIBC)?
                .split(|byte| *byte == b'.')
                .next()?;
            std::str::from_utf8(minor).ok()?.parse::<u32>().ok()
        })
    });
    minors.max().map(|minor| format!("2.{minor}"))
}

/// install.sh of this release.
fn installer(release: &Release, brought: &Tarball, key: &str) -> Result<String> {
    let signature = brought.signature.as_deref().map(layout::digest);
    let own = if release.is_of_macos() {
        ON_MACOS
    } else {
        ON_LINUX
    };
    let mut script = INSTALLER.replace("@SYSTEM@\n", own);
    for (mark, value) in [
        ("@VERSION@", release.version.as_str()),
        ("@KIND@", &release.kind),
        ("@GLIBC@", release.glibc.as_deref().unwrap_or_default()),
        ("@URL@", &release.url),
        ("@SHA256@", &brought.digest),
        ("@SIGNATURE_SHA256@", &signature.unwrap_or_default()),
        ("@PUBLIC_KEY@", key),
    ] {
        // They stand between single quotes.
        let plain = value.chars().all(|c| c.is_ascii_graphic() && c != '\'');
        ensure!(plain, "{value:?} cannot be written into install.sh");
        script = script.replace(mark, value);
    }
    Ok(script)
}

/// A tarball of `parts`, in this order; a path that ends with `/` is a folder.
fn archive(parts: &[layout::Part]) -> Result<Vec<u8>> {
    let gzip = flate2::GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), flate2::Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for part in parts {
        let mut header = tar::Header::new_ustar();
        if part.path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(part.bytes.len() as u64);
        header.set_mode(part.mode);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, &part.path, part.bytes.as_slice())
            .with_context(|| format!("packing {}", part.path))?;
    }
    let mut gzip = tar.into_inner().context("packing")?;
    gzip.flush().context("packing")?;
    gzip.finish().context("packing")
}

/// A formula that installs the tarball with its layout as it is.
fn formula(release: &Release, brought: &Tarball) -> String {
    let Release { url, version, .. } = release;
    let Tarball { file, digest, .. } = brought;
    let (install, plexusd, launcher, consent) = if release.is_of_macos() {
        (
            r#"  # The application stays whole, for its signature is over all of it; what is typed starts the programs inside.
  def install
    prefix.install "Plexus.app"
    %w[plexus plexusctl plexusd].each do |name|
      bin.write_exec_script prefix/"Plexus.app/Contents/MacOS"/name
    end
  end"#,
            r#"opt_prefix/"Plexus.app/Contents/MacOS/plexusd""#,
            r#"prefix/"Plexus.app/Contents/MacOS/plexus-sandbox-exec""#,
            "\n      macOS asks for Calendar, Reminders and Automation when a source needs them, and may ask again after an upgrade.",
        )
    } else {
        (
            r#"  # plexusd looks for its workers in ../libexec/plexus beside its own program: the layout stays as it is.
  def install
    rm "libexec/plexus/installed.json"
    prefix.install "bin", "libexec", "share"
  end"#,
            r#"opt_bin/"plexusd""#,
            r#"libexec/"plexus/plexus-sandbox-exec""#,
            "",
        )
    };
    format!(
        r##"class Plexus < Formula
  desc "Local gateway between AI agents and the apps of one person"
  homepage "{url}"
  url "{url}/{file}"
  version "{version}"
  sha256 "{digest}"
  license any_of: ["MIT", "Apache-2.0"]

{install}

  service do
    run [{plexusd}, "--under-launchd"]
    keep_alive successful_exit: false
    environment_variables PLEXUS_HOME: "#{{Dir.home}}/.plexus"
  end

  def caveats
    <<~EOS
      Start the gateway with: brew services start plexus
      `plexusctl service install` would name the folder of this version, which the next upgrade removes.{consent}
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/plexusd --version")
    assert_predicate {launcher}, :executable?
  end
end
"##
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn release(kind: &str) -> Release {
        let is_of_linux = kind.ends_with("-linux-gnu");
        Release {
            version: "0".to_owned(),
            kind: kind.to_owned(),
            glibc: is_of_linux.then(|| "2.34".to_owned()),
            url: "https://example.invalid/p".to_owned(),
        }
    }

    fn of_linux() -> Release {
        release("x86_64-unknown-linux-gnu")
    }

    fn of_macos() -> Release {
        release("aarch64-apple-darwin")
    }

    fn brought(release: &Release, ending: &str) -> Tarball {
        let part = layout::Part {
            path: "Plexus.app/Contents/MacOS/plexusctl".to_owned(),
            bytes: b"#!/bin/sh\n".to_vec(),
            mode: 0o755,
        };
        Tarball::made(release, ending, &[part], None).unwrap()
    }

    #[test]
    fn installer_is_whole_and_takes_no_value_that_ends_its_quotes() {
        let mut tarball = brought(&of_linux(), "tar.gz");
        let script = installer(&of_linux(), &tarball, "RWQ+/=").unwrap();
        let marks = script
            .split('@')
            .skip(1)
            .filter(|rest| rest.starts_with(char::is_uppercase));
        assert_eq!(marks.count(), 0, "{script}");
        // A person reads it.
        let of_macos = installer(&of_macos(), &tarball, "").unwrap();
        let lines = [script, of_macos].map(|script| script.lines().count());
        assert!(lines[0] <= 120 && lines[1] <= 130, "{lines:?}");
        tarball.digest = "'; rm".to_owned();
        let refused = installer(&of_linux(), &tarball, "").unwrap_err();
        let why = "\"'; rm\" cannot be written into install.sh";
        assert_eq!(refused.to_string(), why);
    }

    /// `uname` stands in for a Mac; everything else of the script is run as it is.
    #[test]
    fn installer_of_macos_replaces_the_application_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let write = |path: &str, text: &[u8]| {
            layout::put(folder.path(), path, text, 0o755).unwrap();
        };
        let uname = b"#!/bin/sh\ncase $1 in -m) echo arm64 ;; *) echo Darwin ;; esac\n";
        write("system/uname", uname);
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", at("system").display());
        let install = |text: &str, changed: bool| {
            let plexusctl = layout::Part {
                path: "libexec/plexus/plexusctl".to_owned(),
                bytes: text.as_bytes().to_vec(),
                mode: 0o755,
            };
            let app = bundle::files("0", &[plexusctl]);
            let tarball = Tarball::made(&of_macos(), "app.tar.gz", &app, None).unwrap();
            let script = installer(&of_macos(), &tarball, "").unwrap();
            write("install.sh", script.as_bytes());
            for (name, mut bytes) in tarball.files() {
                bytes[0] ^= u8::from(changed);
                write(&format!("offer/{name}"), &bytes);
            }
            let mut run = Command::new("sh");
            run.arg(at("install.sh"))
                .args(["--yes", "--root", "--from"]);
            run.arg(at("offer"))
                .env("HOME", at("me"))
                .env("PATH", &path);
            let said = run.output().unwrap();
            let words = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
            (said.status.code(), words)
        };
        let program = |app: &str| {
            let program = at("me/Applications")
                .join(app)
                .join("Contents/MacOS/plexusctl");
            std::fs::read_to_string(program).ok()
        };
        std::fs::create_dir(at("me")).unwrap();
        let (status, said) = install("one", true);
        assert_eq!((status, program("Plexus.app")), (Some(1), None), "{said}");
        assert!(said.contains("SHA-256 is another"), "{said}");
        for (now, before) in [("one", None), ("two", Some("one")), ("three", Some("two"))] {
            let (status, said) = install(now, false);
            assert_eq!(status, Some(0), "{said}");
            let next = "Applications/Plexus.app/Contents/MacOS/plexusctl' service install";
            assert!(said.contains(next), "{said}");
            assert_eq!(program("Plexus.app").as_deref(), Some(now));
            assert_eq!(program("Plexus.previous").as_deref(), before);
        }
        // Somebody else's of that name stays, and so does the version before.
        write("me/Applications/Plexus.app/Contents/Info.plist", b"another");
        let (status, said) = install("four", false);
        assert_eq!(
            (status, program("Plexus.app").as_deref()),
            (Some(1), Some("three"))
        );
        assert!(said.contains("was not put there by Plexus"), "{said}");
        assert_eq!(program("Plexus.previous").as_deref(), Some("two"));
        let left = std::fs::read_dir(at("me/Applications")).unwrap();
        assert_eq!(left.count(), 2, "nothing of the download is left");
    }

    #[test]
    fn latest_glibc_that_a_program_names_is_needed() {
        let part = |bytes: &[u8], mode| layout::Part {
            path: "bin/x".to_owned(),
            bytes: bytes.to_vec(),
            mode,
        };
        let parts = [
            part(
                b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.3.4\0GLIBC_PRIVATE\0",
                0o755,
            ),
            part(b"\0GLIBC_2.99\0", 0o644),
        ];
        assert_eq!(needed_glibc(&parts).as_deref(), Some("2.34"));
        assert_eq!(needed_glibc(&parts[1..]), None);
    }

    #[test]
    fn the_same_parts_give_the_same_bytes_and_the_archive_holds_them() {
        let parts = || {
            ["plexus-0/bin/plexus", "plexus-0/share/man/man1/plexus.1"].map(|path| layout::Part {
                path: path.to_owned(),
                bytes: path.as_bytes().to_vec(),
                mode: 0o755,
            })
        };
        let packed = archive(&parts()).unwrap();
        assert_eq!(packed, archive(&parts()).unwrap());
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
    fn formula_of_macos_is_the_golden_and_both_are_ruby() {
        let mut app = brought(&of_macos(), "app.tar.gz");
        app.digest = "ab12".to_owned();
        let text = formula(&of_macos(), &app);
        assert_eq!(text, include_str!("../tests/goldens/plexus.rb"));
        let linux = brought(&of_linux(), "tar.gz");
        let of_linux = formula(&of_linux(), &linux);
        let named = format!("url \"https://example.invalid/p/{}\"\n", linux.file);
        assert!(of_linux.contains(&named), "{of_linux}");
        assert!(of_linux.contains(&format!("sha256 \"{}\"\n", linux.digest)));
        // If there is a Ruby, it reads them.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plexus.rb");
        for text in [text, of_linux] {
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
}
