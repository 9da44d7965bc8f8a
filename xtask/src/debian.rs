//! What the tests and the bench need from Debian: installed where that is possible without asking, named where not.

use crate::step::{finish, present};
use anyhow::{Result, bail, ensure};
use std::process::Command;

/// A package, and the sign that it is there.
pub(crate) struct Package {
    /// Its name in the archive.
    pub(crate) name: &'static str,
    /// A program of it.
    pub(crate) program: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

/// Moves the daemon's clock in tests of expiry.
pub(crate) const FAKETIME: Package = Package {
    name: "faketime",
    program: "faketime",
    purpose: "tests of expiry move the daemon's clock with it",
};
/// The browser that the console is tested in, and what drives it.
pub(crate) const BROWSER: [Package; 2] = [
    Package {
        name: "chromium",
        program: "chromium",
        purpose: "the console is tested in it",
    },
    Package {
        name: "chromium-driver",
        program: "chromedriver",
        purpose: "tests of the console drive the browser with it",
    },
];
/// What the installers of other machines are fetched with.
pub(crate) const CURL: Package = Package {
    name: "curl",
    program: "curl",
    purpose: "tests of the installers for other machines fetch them with it",
};
/// Installs the coding agents.
pub(crate) const NPM: Package = Package {
    name: "npm",
    program: "npm",
    purpose: "the stories run real coding agents, which come as its packages",
};
/// Makes the repositories that the git connector is tested on.
pub(crate) const GIT: Package = Package {
    name: "git",
    program: "git",
    purpose: "tests of the git connector make their repositories with it",
};
/// The server that the caldav connector is tested on.
pub(crate) const RADICALE: Package = Package {
    name: "radicale",
    program: "radicale",
    purpose: "tests of the caldav connector have it as their server",
};
/// The store that several relays share.
pub(crate) const NATS: Package = Package {
    name: "nats-server",
    program: "nats-server",
    purpose: "tests of the relay keep its store in it",
};
/// Runs `docs/verify-export.py`.
pub(crate) const PYTHON: Package = Package {
    name: "python3",
    program: "python3",
    purpose: "tests of exports check them with the script in docs",
};
/// The load generator of the bench.
pub(crate) const WRK: Package = Package {
    name: "wrk",
    program: "wrk",
    purpose: "the bench loads the gateway with it",
};

/// What a search of a vault is measured beside.
pub(crate) const RIPGREP: Package = Package {
    name: "ripgrep",
    program: "rg",
    purpose: "the bench of sources has a search by it beside ours",
};

/// Makes sure of all of `packages`.
///
/// # Errors
/// With a line for each that is missing and cannot be installed.
pub(crate) fn ensure_all<'p>(packages: impl IntoIterator<Item = &'p Package>) -> Result<()> {
    let missing = packages
        .into_iter()
        .filter_map(|package| ensure(package).err());
    let missing: Vec<String> = missing.map(|error| format!("{error:#}")).collect();
    ensure!(missing.is_empty(), "{}", missing.join("; "));
    Ok(())
}

/// Makes sure of `package`.
///
/// # Errors
/// When it is missing and cannot be installed; the message is the command to type.
pub(crate) fn ensure(package: &Package) -> Result<()> {
    // Tests on another system say themselves what they lack.
    if on_path(package.program) || cfg!(not(target_os = "linux")) {
        return Ok(());
    }
    if !present("apt-get", &["--version"]) {
        bail!(
            "{} is missing ({}): install it by your system's package manager",
            package.program,
            package.purpose
        );
    }
    println!("    {} is missing: {}", package.name, package.purpose);
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|answer| answer.stdout.trim_ascii() == b"0");
    let prefix: &[&str] = match (root, present("sudo", &["-n", "true"])) {
        (true, _) => &[],
        (false, true) => &["sudo", "-n"],
        (false, false) => bail!("type: sudo apt-get install {}", package.name),
    };
    let apt = |arguments: &[&str]| {
        let mut words = prefix.iter().chain(&["apt-get"]).chain(arguments);
        let mut command = Command::new(words.next().copied().unwrap_or("apt-get"));
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        finish(&mut command)
    };
    let install = [
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
        package.name,
    ];
    if apt(&install).is_err() {
        // A bare image has no package lists.
        apt(&["update", "-q"])?;
        apt(&install)?;
    }
    Ok(())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}
