//! The newcomer's account: from a clean clone, through an install, a release and an agent's set-up, to an account as it was
//! before. The first day itself is told elsewhere: at terminals (`first_day`), in a browser, by a script (`demo`).
//!
//! It really clones and really installs. Only this is not as for a newcomer: cargo's downloads are this machine's own, what comes from elsewhere is taken as this workspace's build made
//! it, the build is the quick one (`--profile dev`), and the gateway is started by hand, for lack of a service manager.

mod account;
mod release;

use account::Newcomer;
use plexus_tests::texts::assert_contains;
use serde_json::Value;
use std::fs;

const AGENT: &str = "claude-code";
/// The command that was set up for it.
const PLEXUS: &str = "plexus-claude-code";

#[test]
#[ignore = "builds a release in a clone: cargo xtask test --long"]
fn from_a_clean_clone_to_an_account_as_it_was() {
    let newcomer = Newcomer::new();
    newcomer.clones();
    let before = newcomer.tree();
    assert_eq!(before, Vec::<String>::new(), "the account is empty");

    install(&newcomer);
    release::releases(&newcomer);
    let gateway = newcomer.plexusd("plexusd", &newcomer.home.path().join(".plexus"));
    connects(&newcomer);
    well(&newcomer);
    gateway.stop();
    leaves(&newcomer);
}

fn install(newcomer: &Newcomer) {
    let said = newcomer.cargo(&["xtask", "install", "--profile", "dev"]);
    let text = said.expect_ok();
    let bin = newcomer.bin();
    for line in [
        format!("  {}", bin.join("plexusd").display()),
        format!("  {} service install", bin.join("plexusctl").display()),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{said}");
    }
    // The lines of a person's own shell would say the same; here PATH has it already.
    assert!(!text.contains("export PATH="), "{said}");
    assert_eq!(
        newcomer.types(&["plexusd", "--version"]).expect_ok().trim(),
        concat!("plexusd ", env!("CARGO_PKG_VERSION"))
    );
    let page = newcomer
        .home
        .path()
        .join(".local/share/man/man1/plexusctl.1");
    assert_contains(&fs::read_to_string(page).expect("a page"), "plexusctl");

    // Again changes nothing.
    let tree = newcomer.tree();
    newcomer
        .cargo(&["xtask", "install", "--profile", "dev"])
        .expect_ok();
    assert_eq!(newcomer.tree(), tree);

    newcomer
        .owner(&["service", "install", "--write-only", "--yes"])
        .expect_ok();
    let unit = newcomer
        .home
        .path()
        .join(".config/systemd/user/plexusd.service");
    assert_contains(
        &fs::read_to_string(unit).expect("the unit"),
        "/.local/bin/plexusd",
    );
}

/// Sets the agent up; an uninstall has to find all of it again.
fn connects(newcomer: &Newcomer) {
    newcomer
        .owner(&[
            "connect",
            "--type",
            AGENT,
            "--here",
            "--yes",
            "--allow",
            "obsidian.vault.read,workspace.read",
        ])
        .expect_ok();
    let skill = format!(".claude/skills/{PLEXUS}");
    assert!(newcomer.tree().contains(&skill), "{:#?}", newcomer.tree());
}

/// Nothing is broken, and it is the installed programs that are looked at.
fn well(newcomer: &Newcomer) {
    let said = newcomer.owner(&["--json", "doctor"]);
    let seen = said.json();
    assert_ne!(seen["worst"], "fail", "{said}");
    let findings = seen["findings"].as_array().expect("findings");
    let finds = |name: &str, words: &str| {
        let fits = |one: &&Value| {
            one["name"] == name && one["level"] == "ok" && one.to_string().contains(words)
        };
        assert!(
            findings.iter().any(|one| fits(&one)),
            "{name}: {words}: {said}"
        );
    };
    for program in ["plexus", "plexusctl"] {
        let path = newcomer.bin().join(program);
        finds("PATH", &format!("{program} is {}", path.display()));
    }
    finds("deny rules", AGENT);
    finds("cage of workspace", "reader, writer");
    finds("ledger", "sound");
}

fn leaves(newcomer: &Newcomer) {
    let said = newcomer.owner(&["--json", "uninstall", "--yes"]);
    said.expect_ok();
    let leaves = said.json()["leaves"].clone();
    let state = newcomer.home.path().join(".plexus");
    assert_eq!(
        leaves,
        serde_json::json!([format!("the state: {}", state.display())]),
        "{said}"
    );
    // Nothing is left but that, and folders of the system's own making, now empty.
    let mut left = newcomer.tree();
    left.retain(|path| !path.starts_with(".plexus") && !newcomer.home.path().join(path).is_dir());
    assert_eq!(left, Vec::<String>::new(), "{said}");
}
