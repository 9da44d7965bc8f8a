//! Which kernel holds which profile: asked of the function that the launcher asks, for kernels that nobody here runs.
//!
//! The table stands in `docs/install-and-upgrade.md` between two marks. `PLEXUS_UPDATE_GOLDENS=1` writes it anew; the
//! difference is then reviewed like any other change.

use std::path::Path;

use plexus_sandbox::Unsupported;
use plexus_sandbox::floor::{Kernel, LOWEST, Landlock, Needs, WHOLE, decide, release, support};
use plexus_sandbox::lint::PARAMETERS;
use plexus_sandbox::profile::Profile;
use plexus_sandbox::ruleset::{Parameters, Ruleset};

const BEGIN: &str = "<!-- kernels: begin -->\n";
const END: &str = "<!-- kernels: end -->\n";
/// The newest version of Landlock that is known here.
const NEWEST: u32 = 9;

fn kernel(landlock: Landlock) -> Kernel {
    Kernel {
        landlock,
        seccomp: true,
    }
}

fn version(version: u32) -> Kernel {
    kernel(Landlock::Version(version))
}

fn needs(profile: &str) -> Needs {
    let parameters: Parameters = PARAMETERS
        .iter()
        .map(|name| {
            let value = if name.contains("PORT") {
                "7077".to_owned()
            } else {
                format!("/plexus/{}", name.to_lowercase())
            };
            ((*name).to_owned(), value)
        })
        .collect();
    let profile = Profile::parse(profile).expect("it parses");
    Needs::of(&Ruleset::evaluate(&profile, &parameters).expect("it evaluates"))
}

/// The profiles that ship, and the two kinds that none of them is.
fn profiles() -> Vec<(String, Needs)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut shipped: Vec<_> = std::fs::read_dir(folder)
        .expect("the crate's folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sb"))
        .filter(|path| path.file_stem().is_some_and(|name| name != "fixture"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("its text");
            (format!("`{name}`"), needs(&text))
        })
        .collect();
    shipped.sort_by(|one, other| one.0.cmp(&other.0));
    let header = "(version 1)(deny default)(import \"bsd.sb\")";
    let port = "(allow network-outbound (remote tcp \"localhost:27124\"))";
    let own = "(define plexus-system-calls \"agent\")";
    shipped.push((
        "a leaf with a port".to_owned(),
        needs(&format!("{header}{port}")),
    ));
    shipped.push((
        "a leaf that starts processes".to_owned(),
        needs(&format!("{header}(allow process-fork)")),
    ));
    shipped.push((
        "a coding agent".to_owned(),
        needs(&format!("{header}{own}")),
    ));
    shipped
}

/// One column for all profiles that fare alike on every kernel.
fn table() -> String {
    let mut kernels = vec![
        ("before 5.13", "none".to_owned(), kernel(Landlock::Missing)),
        ("any", "switched off".to_owned(), kernel(Landlock::Off)),
    ];
    kernels
        .extend((1..=NEWEST).map(|number| (release(number), number.to_string(), version(number))));
    let mut columns: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    for (name, needs) in profiles() {
        let fares = kernels
            .iter()
            .map(|(_, _, kernel)| match decide(*kernel, needs) {
                Ok(hold) if hold.stands_in() => "serves, seccomp stands in",
                Ok(_) => "serves",
                Err(_) => "refused",
            });
        let fares: Vec<_> = fares.collect();
        match columns.iter_mut().find(|(_, known)| *known == fares) {
            Some((names, _)) => names.push(name),
            None => columns.push((vec![name], fares)),
        }
    }
    let most = columns.iter().map(|(names, _)| names.len()).max();
    let mut table = String::from("| Linux | Landlock |");
    for (names, _) in &columns {
        match Some(names.len()) == most {
            true => table.push_str(" any other source |"),
            false => table.push_str(&format!(" {} |", names.join(", "))),
        }
    }
    table.push_str(&format!("\n|---|---|{}\n", "---|".repeat(columns.len())));
    let mut rows: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for (at, (linux, landlock, _)) in kernels.iter().enumerate() {
        let fares: Vec<_> = columns.iter().map(|(_, fares)| fares[at]).collect();
        // What a kernel is at least counts, and a row is as good as the one before it where nothing changes.
        if rows.last().is_none_or(|(_, _, last)| *last != fares) {
            rows.push((linux, landlock, fares));
        }
    }
    for (linux, landlock, fares) in rows {
        table.push_str(&format!(
            "| {linux} | {landlock} | {} |\n",
            fares.join(" | ")
        ));
    }
    table
}

#[test]
fn the_table_of_kernel_versions_is_what_is_decided() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/install-and-upgrade.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the first mark");
    let (kept, after) = rest.split_once(END).expect("the second mark");
    let seen = table();
    if std::env::var_os("PLEXUS_UPDATE_GOLDENS").is_some() {
        return std::fs::write(&path, format!("{before}{BEGIN}{seen}{END}{after}"))
            .expect("the page can be written");
    }
    assert!(
        kept == seen,
        "docs/install-and-upgrade.md: if the change is meant, set PLEXUS_UPDATE_GOLDENS=1 and review it\n--- kept\n{kept}\n--- seen\n{seen}"
    );
}

#[test]
fn what_is_missing_and_what_mends_it_are_named() {
    let leaf = Needs {
        version: LOWEST,
        because: None,
    };
    #[rustfmt::skip]
    let cases = [
        (kernel(Landlock::Missing), Unsupported::NoLandlock, "CONFIG_SECURITY_LANDLOCK"),
        (kernel(Landlock::Off), Unsupported::LandlockOff, "lsm="),
        (version(0), Unsupported::BelowFloor { found: 0, floor: LOWEST }, "Linux 6.7 or newer"),
        (version(3), Unsupported::BelowFloor { found: 3, floor: LOWEST }, "Linux 6.7 or newer"),
        (Kernel { seccomp: false, ..version(NEWEST) }, Unsupported::NoSeccomp, "CONFIG_SECCOMP_FILTER"),
    ];
    for (kernel, why, remedy) in cases {
        assert_eq!(decide(kernel, leaf), Err(why), "{kernel:?}");
        assert_eq!(support(kernel).expect_err("no worker at all"), why);
        assert!(why.to_string().contains(remedy), "{why}");
    }
    let forks = Needs {
        version: WHOLE,
        because: Some("it starts processes"),
    };
    let why = decide(version(5), forks).expect_err("one profile");
    assert_eq!(
        why.to_string(),
        "this kernel's Landlock is version 5, this worker needs version 6 (Linux 6.12 or newer): it starts processes"
    );
    // Other workers are served there.
    assert_eq!(support(version(5)).map(|support| support.version), Ok(5));
}

#[test]
fn a_newer_kernel_holds_all_that_an_older_one_does() {
    for (name, needs) in profiles() {
        let mut held = false;
        for number in 0..=NEWEST + 3 {
            let holds = decide(version(number), needs);
            assert!(holds.is_ok() || !held, "{name}: lost at {number}");
            held |= holds.is_ok();
            if let Ok(hold) = holds {
                assert_eq!(hold.stands_in(), number < WHOLE, "{name} at {number}");
                assert!(
                    hold.version <= number && hold.version >= needs.version,
                    "{name} at {number}"
                );
            }
        }
        assert!(held, "{name} is held by no kernel");
    }
    assert_eq!(release(NEWEST + 1), "newer");
}
