//! `Plexus.app`: the programs as one application of macOS, under whose name a person gives consent (decision 0140).
//!
//! ```text
//! Plexus.app/Contents/Info.plist   the list that plexusd holds, and what an application says beside it
//!                     MacOS/       every program; plexusd finds the launcher and the workers beside itself
//!                     Resources/   completions, manual pages, licences
//! ```
//! The layout is made of the parts of every release, on any system. [`signed`] starts Apple's `codesign`: it has never run.

#[path = "../../../workers/apple/info_plist.rs"]
#[expect(dead_code, reason = "one function is for build scripts")]
mod info_plist;

use crate::{layout, layout::Part, step};
use anyhow::{Context, Result};
use info_plist::{entries, property_list, string};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// The folder that is the application.
const APP: &str = "Plexus.app";
/// The program that the application is: `plexusd`, for it answers for the workers that it starts.
const MAIN: &str = "plexusd";
/// The oldest macOS that it starts on; its programs are linked for the same (`.cargo/config.toml`).
const OLDEST: &str = "13.0";
/// What a program with the hardened runtime needs to be asked about, beside the sentence under this key.
#[rustfmt::skip]
const ENTITLEMENTS: [(&str, &str); 3] = [
    ("NSAppleEventsUsageDescription", "com.apple.security.automation.apple-events"),
    ("NSCalendarsFullAccessUsageDescription", "com.apple.security.personal-information.calendars"),
    ("NSRemindersFullAccessUsageDescription", "com.apple.security.personal-information.reminders"),
];

/// The application's files, of a release's parts.
pub(super) fn files(version: &str, parts: &[Part]) -> Vec<Part> {
    let contents = |path: String, bytes: &[u8], mode| Part {
        path: format!("{APP}/Contents/{path}"),
        bytes: bytes.to_vec(),
        mode,
    };
    let mut files = vec![contents(
        "Info.plist".to_owned(),
        info(version).as_bytes(),
        0o644,
    )];
    // Install.sh brings its next version, not a list and a key.
    let parts = parts
        .iter()
        .filter(|part| part.path != layout::LIST && part.path != layout::PUBLIC_KEY);
    files.extend(parts.map(|part| {
        let path = match part.path.strip_prefix("share/") {
            Some(shared) => format!("Resources/{shared}"),
            None => format!("MacOS/{}", program_name(part)),
        };
        contents(path, &part.bytes, part.mode)
    }));
    files
}

fn program_name(part: &Part) -> &str {
    part.path
        .rsplit_once('/')
        .map_or(part.path.as_str(), |(_, name)| name)
}

/// The application's `Info.plist`.
fn info(version: &str) -> String {
    // Apple's versions are three numbers.
    let version = string(version.split(['-', '+']).next().unwrap_or_default());
    let mut all = entries(MAIN).unwrap_or_default();
    all.extend([
        ("CFBundleExecutable", string(MAIN)),
        ("CFBundleInfoDictionaryVersion", string("6.0")),
        ("CFBundlePackageType", string("APPL")),
        ("CFBundleShortVersionString", version.clone()),
        ("CFBundleVersion", version),
        ("LSMinimumSystemVersion", string(OLDEST)),
        // Neither in the Dock nor with a menu.
        ("LSUIElement", "<true/>".to_owned()),
    ]);
    property_list(&all)
}

/// The entitlements of a program; none of one that asks for no consent.
fn entitlements(program: &str) -> Option<String> {
    let asks = entries(program)?;
    let has = |key: &str| asks.iter().any(|(of, _)| *of == key);
    let given = ENTITLEMENTS.iter().filter(|(key, _)| has(key));
    let given = given.map(|(_, entitlement)| (*entitlement, "<true/>".to_owned()));
    Some(property_list(&given.collect::<Vec<_>>()))
}

/// What `codesign` is started with, in order, to sign the application in `folder`: what lies in it first. The entitlements of a
/// program lie beside the application as `PROGRAM.plist`.
fn commands(folder: &Path, files: &[Part], identity: &str) -> Vec<Vec<OsString>> {
    let app = folder.join(APP);
    // A time stamp is for an identity.
    let time = match identity {
        "-" => "--timestamp=none",
        _ => "--timestamp",
    };
    let sign = |program: &str, path: &Path| {
        let mut words: Vec<OsString> = vec!["--force".into(), "--sign".into(), identity.into()];
        words.extend(["--options", "runtime", time, "--prefix", "local.plexus."].map(Into::into));
        if entitlements(program).is_some() {
            words.push("--entitlements".into());
            words.push(folder.join(format!("{program}.plist")).into());
        }
        words.push(path.into());
        words
    };
    let inner = files
        .iter()
        .filter(|file| file.mode == 0o755 && program_name(file) != MAIN);
    let mut all: Vec<_> = inner
        .map(|file| sign(program_name(file), &folder.join(&file.path)))
        .collect();
    all.push(sign(MAIN, &app));
    let verify = ["--verify", "--deep", "--strict"].map(Into::into);
    all.push(verify.into_iter().chain([app.into()]).collect());
    all
}

/// The application as `codesign` leaves it; an `identity` of `-` signs ad hoc.
pub(super) fn signed(files: &[Part], identity: &str) -> Result<Vec<Part>> {
    let folder = tempfile::tempdir().context("making a folder for the application")?;
    lay_out(folder.path(), files)?;
    for arguments in commands(folder.path(), files, identity) {
        step::finish(Command::new("/usr/bin/codesign").args(arguments))?;
    }
    read(folder.path())
}

/// Writes the application into a folder, and beside it the entitlements.
fn lay_out(folder: &Path, files: &[Part]) -> Result<()> {
    for file in files {
        layout::put(folder, &file.path, &file.bytes, file.mode)?;
        if let Some(list) = entitlements(program_name(file)) {
            let name = format!("{}.plist", program_name(file));
            layout::put(folder, &name, list.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

/// Every file of the application in `folder`, sorted.
fn read(folder: &Path) -> Result<Vec<Part>> {
    let (mut files, mut open) = (Vec::new(), vec![APP.to_owned()]);
    while let Some(path) = open.pop() {
        let at = folder.join(&path);
        let reading = || format!("reading {}", at.display());
        if at.is_dir() {
            for entry in fs::read_dir(&at).with_context(reading)? {
                let name = entry.with_context(reading)?.file_name();
                open.push(format!("{path}/{}", name.to_string_lossy()));
            }
        } else {
            let mode = fs::metadata(&at).with_context(reading)?.permissions();
            files.push(Part {
                bytes: fs::read(&at).with_context(reading)?,
                mode: mode.mode() & 0o777,
                path,
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo;
    use plist::Dictionary;

    #[test]
    fn programs_are_linked_for_the_oldest_system_of_the_application() {
        let text = |path: &str| fs::read_to_string(cargo::root().join(path)).unwrap();
        let linked = format!("\nMACOSX_DEPLOYMENT_TARGET = \"{OLDEST}\"\n");
        assert!(text(".cargo/config.toml").contains(&linked));
        let (major, _) = OLDEST.split_once('.').unwrap();
        assert!(text("README.md").contains(&format!("macOS {major} or newer")));
    }

    fn part(path: &str, mode: u32) -> Part {
        Part {
            path: path.to_owned(),
            bytes: path.as_bytes().to_vec(),
            mode,
        }
    }

    /// A release of stand-ins: each program that ships, and what lies beside them.
    fn parts() -> Vec<Part> {
        let shipped = cargo::shipped().unwrap();
        let programs = shipped.iter().map(|program| {
            let folder = if program.is_typed {
                "bin"
            } else {
                "libexec/plexus"
            };
            part(&format!("{folder}/{}", program.name), 0o755)
        });
        let beside = ["share/man/man1/plexus.1", layout::LIST, layout::PUBLIC_KEY];
        programs
            .chain(beside.map(|path| part(path, 0o644)))
            .collect()
    }

    fn dictionary(text: &str) -> Dictionary {
        let value = plist::Value::from_reader_xml(text.as_bytes()).unwrap();
        value.into_dictionary().unwrap()
    }

    fn list_of(program: &str) -> Dictionary {
        dictionary(&property_list(&entries(program).unwrap()))
    }

    fn sentences(of: &Dictionary) -> Vec<(&str, &str)> {
        let texts = of.iter().filter_map(|(key, value)| {
            Some((key.strip_suffix("UsageDescription")?, value.as_string()?))
        });
        let mut found: Vec<_> = texts.collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn application_has_every_program_and_its_lists_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let files = files("1.2.3-rc.1", &parts());
        lay_out(folder.path(), &files).unwrap();
        let found = read(folder.path()).unwrap();
        let inside = |path: &str| format!("Plexus.app/Contents/{path}");
        let mut expected: Vec<_> = cargo::shipped()
            .unwrap()
            .iter()
            .map(|program| (inside(&format!("MacOS/{}", program.name)), 0o755))
            .collect();
        assert!(expected.len() > 20, "{expected:?}");
        expected.push((inside("Info.plist"), 0o644));
        expected.push((inside("Resources/man/man1/plexus.1"), 0o644));
        expected.sort();
        let paths = found.iter().map(|file| (file.path.clone(), file.mode));
        assert_eq!(paths.collect::<Vec<_>>(), expected);
        let worker = found.iter().find(|file| file.path.ends_with("worker-git"));
        assert_eq!(worker.unwrap().bytes, b"libexec/plexus/plexus-worker-git");

        let text = fs::read_to_string(folder.path().join(inside("Info.plist"))).unwrap();
        let info = dictionary(&text);
        let texts = |key: &str| info[key].as_string().unwrap().to_owned();
        let main = texts("CFBundleExecutable");
        assert!(folder.path().join(inside("MacOS")).join(main).is_file());
        assert_eq!(texts("CFBundleIdentifier"), "local.plexus.plexusd");
        assert_eq!(texts("CFBundleVersion"), "1.2.3");
        assert_eq!(info["LSUIElement"].as_boolean(), Some(true));
    }

    #[test]
    fn programs_have_the_same_sentence_for_each_consent() {
        let info = dictionary(&info("1.2.3"));
        let (gateway, calendar, reminders) = (
            list_of("plexusd"),
            list_of("plexus-worker-apple-calendar"),
            list_of("plexus-worker-apple-reminders"),
        );
        assert_eq!(sentences(&info), sentences(&gateway));
        let of_workers = [sentences(&calendar), sentences(&reminders)].concat();
        for sentence in &of_workers {
            assert!(sentences(&info).contains(sentence), "{sentence:?}");
        }
        let keys =
            |of: &[(&str, &str)]| of.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(" ");
        // Those without "FullAccess" are for systems before macOS 14.
        let of_both = "NSCalendars NSCalendarsFullAccess NSReminders NSRemindersFullAccess";
        assert_eq!(keys(&of_workers), of_both);
        assert_eq!(keys(&sentences(&info)), format!("NSAppleEvents {of_both}"));
        for (key, sentence) in sentences(&info) {
            let is_whole = sentence.starts_with("Plexus ") && sentence.ends_with('.');
            assert!(is_whole, "{key}: {sentence}");
        }
        let identifiers =
            [&gateway, &calendar, &reminders].map(|of| of["CFBundleIdentifier"].as_string());
        assert_eq!(
            identifiers
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            3
        );
    }

    #[test]
    fn what_lies_inside_is_signed_first_and_asks_for_no_more_than_its_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let files = files("1.2.3", &parts());
        lay_out(folder.path(), &files).unwrap();
        let lines = |identity: &str| -> Vec<Vec<String>> {
            let commands = commands(folder.path(), &files, identity);
            let words = commands.into_iter().map(|line| {
                let words = line.into_iter().map(|word| word.into_string().unwrap());
                words.collect()
            });
            words.collect()
        };
        let mut signs = lines("-");
        let (verify, app) = (signs.pop().unwrap(), folder.path().join(APP));
        let app = app.to_str().unwrap();
        assert_eq!(verify.join(" "), format!("--verify --deep --strict {app}"));
        // The application signs its own program, and once only.
        assert_eq!(signs.len(), cargo::shipped().unwrap().len());
        assert_eq!(signs.last().and_then(|line| line.last()).unwrap(), app);
        let mut entitled = Vec::new();
        for line in &signs {
            let always =
                "--force --sign - --options runtime --timestamp=none --prefix local.plexus.";
            assert_eq!(line[..8].join(" "), always);
            let Some(at) = line.iter().position(|word| word == "--entitlements") else {
                continue;
            };
            let list = dictionary(&fs::read_to_string(&line[at + 1]).unwrap());
            assert!(list.values().all(|value| value.as_boolean() == Some(true)));
            let keys = list.keys().filter_map(|key| key.rsplit('.').next());
            let signed = line.last().and_then(|path| path.rsplit('/').next());
            entitled.push(format!(
                "{}: {}",
                signed.unwrap(),
                keys.collect::<Vec<_>>().join(" ")
            ));
        }
        let expected = [
            "plexus-worker-apple-calendar: calendars",
            "plexus-worker-apple-reminders: reminders",
            "Plexus.app: apple-events calendars reminders",
        ];
        assert_eq!(entitled, expected);
        assert!(lines("Developer ID")[0].contains(&"--timestamp".to_owned()));
    }
}
