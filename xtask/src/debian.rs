//! What the tests and the bench need from Debian: installed where that is possible without asking, named where not.

use crate::step::{finish_unheard, present};
use anyhow::{Result, bail, ensure};
use std::process::Command;

/// A package, and the sign that it is there.
pub(crate) struct Package {
    /// Its name in the archive.
    pub(crate) name: &'static str,
    /// A program of it, or the path of another file of it in Debian.
    pub(crate) sign: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

/// Moves the daemon's clock in tests of expiry.
const FAKETIME: Package = Package {
    name: "faketime",
    sign: "faketime",
    purpose: "tests of expiry move the daemon's clock with it",
};
/// The browser that the console is tested in, and what drives it.
const BROWSER: [Package; 2] = [
    Package {
        name: "chromium",
        sign: "chromium",
        purpose: "the console is tested in it",
    },
    Package {
        name: "chromium-driver",
        sign: "chromedriver",
        purpose: "tests of the console drive the browser with it",
    },
];
/// What the installers of other machines are fetched with.
const CURL: Package = Package {
    name: "curl",
    sign: "curl",
    purpose: "tests of the installers for other machines fetch them with it",
};
/// What the installer of a release checks its signature with.
const OPENSSL: Package = Package {
    name: "openssl",
    sign: "openssl",
    purpose: "tests of releases have their installer check a signature with it",
};
/// The other program that the installer of a release checks its signature with.
const MINISIGN: Package = Package {
    name: "minisign",
    sign: "minisign",
    purpose: "tests of releases have their installer check a signature with it",
};
/// Installs the coding agents.
pub(crate) const NPM: Package = Package {
    name: "npm",
    sign: "npm",
    purpose: "the stories run real coding agents, which come as its packages",
};
/// Installs the MCP servers and SDKs in Python.
pub(crate) const PIP: Package = Package {
    name: "python3-pip",
    sign: "/usr/lib/python3/dist-packages/pip/__init__.py",
    purpose: "the stories run MCP servers and an SDK in Python, which come as its packages",
};
/// Makes the repositories that the git connector is tested on.
const GIT: Package = Package {
    name: "git",
    sign: "git",
    purpose: "tests of the git connector make their repositories with it",
};
/// The server that the caldav connector is tested on.
pub(crate) const RADICALE: Package = Package {
    name: "radicale",
    sign: "radicale",
    purpose: "tests of the caldav connector have it as their server",
};
/// What the caldav connector's events are held against; with the parser that it needs.
const RECURRING: Package = Package {
    name: "python3-recurring-ical-events",
    sign: "/var/lib/dpkg/info/python3-recurring-ical-events.list",
    purpose: "the caldav connector's recurrences are held against those that it works out",
};
/// The store that several relays share.
pub(crate) const NATS: Package = Package {
    name: "nats-server",
    sign: "nats-server",
    purpose: "tests of the relay keep its store in it",
};
/// Runs `docs/verify-export.py`.
pub(crate) const PYTHON: Package = Package {
    name: "python3",
    sign: "python3",
    purpose: "tests of exports check them with the script in docs",
};
/// What the pictures of the console are drawn with.
const FONTS: Package = Package {
    name: "fonts-dejavu-core",
    sign: "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    purpose: "without its fonts the pictures of the console differ",
};
/// The bus that the tray is tested on.
const DBUS: Package = Package {
    name: "dbus",
    sign: "dbus-daemon",
    purpose: "tests of the tray have a desktop's bus from it",
};
/// What the tests need beside [`NPM`] and [`PIP`], which come with the coding agents.
pub(crate) const TESTS: [&Package; 13] = [
    &FAKETIME,
    &CURL,
    &OPENSSL,
    &MINISIGN,
    &GIT,
    &RADICALE,
    &RECURRING,
    &NATS,
    &PYTHON,
    &FONTS,
    &DBUS,
    &BROWSER[0],
    &BROWSER[1],
];
/// The load generator of the bench.
pub(crate) const WRK: Package = Package {
    name: "wrk",
    sign: "wrk",
    purpose: "the bench loads the gateway with it",
};

/// What a search of a vault is measured beside.
pub(crate) const RIPGREP: Package = Package {
    name: "ripgrep",
    sign: "rg",
    purpose: "the bench of sources has a search by it beside ours",
};

/// Makes sure of `package`.
pub(crate) fn ensure(package: &Package) -> Result<()> {
    ensure_all([package])
}

/// Makes sure of all of `packages`.
///
/// # Errors
/// When some are missing and cannot be installed; the message is the command to type.
pub(crate) fn ensure_all<'p>(packages: impl IntoIterator<Item = &'p Package>) -> Result<()> {
    let missing = packages.into_iter().filter(|of| !is_there(of.sign));
    let mut missing: Vec<&Package> = missing.collect();
    // Tests on another system say themselves what they lack.
    if missing.is_empty() || cfg!(not(target_os = "linux")) {
        return Ok(());
    }
    if !present("apt-get", &["--version"]) {
        // Another system has such a file elsewhere.
        missing.retain(|package| !package.sign.starts_with('/'));
        let lines = missing
            .iter()
            .map(|of| format!("{} ({})", of.sign, of.purpose));
        let lines: Vec<String> = lines.collect();
        ensure!(
            lines.is_empty(),
            "install by your system's package manager: {}",
            lines.join("; ")
        );
        return Ok(());
    }
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|answer| answer.stdout.trim_ascii() == b"0");
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let prefix: &[&str] = match (root, present("sudo", &["-n", "true"])) {
        (true, _) => &[],
        (false, true) => &["sudo", "-n"],
        (false, false) => bail!("type: sudo apt-get install {}", names.join(" ")),
    };
    println!("    installing {}", names.join(" "));
    let apt = |arguments: &[&str]| {
        let mut words = prefix.iter().chain(&["apt-get"]).chain(arguments);
        let mut command = Command::new(words.next().copied().unwrap_or("apt-get"));
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        finish_unheard(&mut command)
    };
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    let install = [&install[..], &names].concat();
    if apt(&install).is_err() {
        // A bare image has no package lists.
        apt(&["update", "-q"])?;
        apt(&install)?;
    }
    Ok(())
}

fn is_there(sign: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        // A path that is joined to a folder stays the path that it is.
        std::env::split_paths(&path).any(|folder| folder.join(sign).is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_names_each_package_of_the_tests() {
        let readme = std::fs::read_to_string(crate::cargo::root().join("README.md")).unwrap();
        for package in TESTS.into_iter().chain([&NPM, &PIP]) {
            let words = || readme.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            assert!(words().any(|word| word == package.name), "{}", package.name);
        }
    }
}
