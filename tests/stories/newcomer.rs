//! The newcomer's script: from a clean clone in an empty account, through a first day, to an account as it was before.
//!
//! It really clones, really installs, and the agent is the real `claude` with a scripted model. Only this is not as for a
//! newcomer: cargo's downloads are this machine's own, what comes from elsewhere is taken as this workspace's build made
//! it, the build is the quick one (`--profile dev`), and the gateway is started by hand, for lack of a service manager.

mod account;
mod release;

use account::Newcomer;
use plexus_tests::coding_agents::ask_claude;
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::until;
use plexus_tests::{Folder, Model, Step};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const AGENT: &str = "claude-code";
/// The command that was set up for it.
const PLEXUS: &str = "plexus-claude-code";

#[test]
#[ignore = "builds a release in a clone: cargo xtask test --long"]
fn from_a_clean_clone_through_a_first_day_to_an_account_as_it_was() {
    let newcomer = Newcomer::new();
    newcomer.clones();
    let before = newcomer.tree();
    assert_eq!(before, Vec::<String>::new(), "the account is empty");

    install(&newcomer);
    release::releases(&newcomer);
    let gateway = newcomer.plexusd("plexusd", &newcomer.home.path().join(".plexus"));
    connects(&newcomer);
    reads_and_writes(&newcomer);
    lends(&newcomer);
    well(&newcomer);
    let backup = looks_back(&newcomer);
    gateway.stop();
    leaves(&newcomer, &backup);
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

/// The person asks Claude Code, which does what the script says; what its tools gave back.
fn asks(newcomer: &Newcomer, lines: &[&str], meanwhile: impl FnOnce()) -> Vec<String> {
    let project = Folder::empty();
    project.write(".git/HEAD", "ref: refs/heads/main\n");
    let steps = lines
        .iter()
        .map(|line| Step::bash(&format!("{PLEXUS} {line}")));
    let model = Model::start(steps.chain([Step::say("That is all.")]));
    let (home, folder) = (newcomer.home.path(), project.path());
    let went = std::thread::scope(|scope| {
        let talk = scope.spawn(|| ask_claude(&model, home, &folder, &[], "Use Plexus."));
        meanwhile();
        talk.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    let prompts = went.denied();
    assert_eq!(
        prompts,
        Vec::<String>::new(),
        "nothing was asked in Claude Code"
    );
    model.results()
}

fn reads_and_writes(newcomer: &Newcomer) {
    let read = "obsidian.vault.read path=Projects/Plexus.md";
    let write = "workspace.write path=notes/new.md content='one line' --purpose 'to keep it'";
    let results = asks(newcomer, &[read, write], || {
        let item = until("the card", || {
            let waiting = newcomer.owner(&["--json", "approvals", "list"]).json();
            let card = waiting["pending"].get(0)?.clone();
            (card["asks"][0]["plan"] != "making").then_some(card)
        });
        let id = item["pendingId"].as_str().expect("an id");
        let digest = item["cardDigest"].as_str().expect("a digest");
        let card = newcomer.owner(&["approvals", "show", id]);
        assert!(
            card.expect_ok().contains("+one line"),
            "the difference: {card}"
        );
        assert!(
            !newcomer.workspace.has("notes/new.md"),
            "nothing before the approval"
        );
        newcomer
            .owner(&["approvals", "approve", id, "--card", digest])
            .expect_ok();
    });
    assert!(results[0].contains("A gateway."), "{results:?}");
    assert!(results[1].contains("notes/new.md"), "{results:?}");
    assert_eq!(newcomer.workspace.read("notes/new.md").trim(), "one line");
}

/// A folder lent for a day: two changes, one look at both, one of them taken back.
fn lends(newcomer: &Newcomer) {
    let above = Folder::empty();
    above.write("My Notes/a.md", "as it was\n");
    let folder = above.path().join("My Notes");
    let said = newcomer.owner(&["lend", AGENT, &folder.to_string_lossy(), "--write"]);
    assert_contains(said.expect_ok(), "plexusctl lend end my-notes");
    let lines = [
        "my-notes.read path=a.md",
        "my-notes.write path=a.md content='changed by it'",
        "my-notes.write path=kept.md content='new'",
    ];
    // Nothing waits for the owner: the writes stand.
    let results = asks(newcomer, &lines, || ());
    assert!(results[0].contains("as it was"), "{results:?}");
    assert_eq!(above.read("My Notes/a.md").trim(), "changed by it");

    let review = newcomer.owner(&["review", AGENT, "--source", "my-notes"]);
    for part in [
        "my-notes: replaced a.md",
        "-as it was",
        "+changed by it",
        "my-notes: created kept.md",
    ] {
        assert!(review.expect_ok().contains(part), "{part}: {review}");
    }
    let activity = newcomer.owner(&[
        "--json",
        "activity",
        AGENT,
        "--changed",
        "--touched",
        "a.md",
    ]);
    let changes = activity.json()["calls"].clone();
    let change = changes
        .as_array()
        .and_then(|calls| calls.last())
        .expect("a change");
    let audit = change["auditId"].as_str().expect("an id");
    newcomer.owner(&["undo", audit, "--yes"]).expect_ok();
    assert_eq!(above.read("My Notes/a.md"), "as it was\n");
    assert_eq!(
        above.read("My Notes/kept.md").trim(),
        "new",
        "and nothing else"
    );

    newcomer.owner(&["lend", "end", "my-notes"]).expect_ok();
    let after = asks(newcomer, &["my-notes.read path=a.md || true"], || ());
    assert!(!after[0].contains("as it was"), "{after:?}");
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

/// Gives the backup.
fn looks_back(newcomer: &Newcomer) -> PathBuf {
    let activity = newcomer.owner(&["activity", AGENT]);
    for words in [
        "read Projects/Plexus.md",
        "notes/new.md",
        "approved by you once",
    ] {
        assert!(activity.expect_ok().contains(words), "{words}: {activity}");
    }
    let tail = newcomer.owner(&["audit", "tail"]);
    assert_contains(tail.expect_ok(), "my-notes.undo: restored a.md");
    newcomer.owner(&["audit", "verify"]).expect_ok();
    let file = newcomer.workspace.path().join("backup");
    newcomer
        .owner(&["backup", &file.to_string_lossy()])
        .expect_ok();
    file
}

fn leaves(newcomer: &Newcomer, backup: &Path) {
    assert!(backup.is_file());
    let said = newcomer.owner(&["--json", "uninstall", "--yes"]);
    said.expect_ok();
    let leaves = said.json()["leaves"].clone();
    let state = newcomer.home.path().join(".plexus");
    assert_eq!(
        leaves,
        serde_json::json!([format!("the state: {}", state.display())]),
        "{said}"
    );
    // Nothing is left but that, what Claude Code keeps for itself, and folders of the system's own making, now empty.
    let agents = claude_codes_own();
    let mut left = newcomer.tree();
    left.retain(|path| !path.starts_with(".plexus") && !newcomer.home.path().join(path).is_dir());
    left.retain(|path| {
        !agents
            .iter()
            .any(|place| Path::new(path).starts_with(place))
    });
    assert_eq!(left, Vec::<String>::new(), "{said}");
    assert_eq!(newcomer.workspace.read("notes/new.md").trim(), "one line");
}

/// The places where Claude Code puts its own, in an account that never heard of Plexus.
fn claude_codes_own() -> Vec<PathBuf> {
    let stranger = Newcomer::new();
    let model = Model::start([Step::bash("true"), Step::say("done")]);
    let folder = stranger.workspace.path();
    ask_claude(&model, stranger.home.path(), &folder, &[], "Hello.").expect_ok();
    let tree = stranger.tree();
    let places = tree.iter().map(PathBuf::from);
    // Each folder in its own, and each file.
    places.filter(|path| path != Path::new(".claude")).collect()
}
