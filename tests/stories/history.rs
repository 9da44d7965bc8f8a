//! A repository's history, from the owner who adds it to the agent that asks it: the real commands, a real repository.

use plexus_tests::texts::{assert_contains, list_of};
use plexus_tests::{Folder, Gateway};
use serde_json::json;
use std::{path::Path, process::Command};

fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("this story needs the git program");
    assert!(
        output.status.success(),
        "git {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn repository() -> Folder {
    let folder = Folder::empty();
    let path = folder.path();
    git(&path, &["init", "-q", "-b", "main", "."]);
    folder
        .write("docs/plan.md", "draft\n")
        .write("src/secret.rs", "const KEY: u8 = 1;\n");
    git(&path, &["add", "-A"]);
    git(&path, &["commit", "-q", "-m", "begin"]);
    folder.write("docs/plan.md", "draft\nfinal\n");
    git(&path, &["commit", "-q", "-am", "finish the plan"]);
    git(&path, &["gc", "-q"]);
    folder.write("src/secret.rs", "const KEY: u8 = 2;\n");
    git(&path, &["commit", "-q", "-am", "rotate the key"]);
    folder
}

/// A gateway that has a history as its source `git`.
fn with_a_history() -> (Gateway, Folder) {
    let gateway = Gateway::start();
    let folder = repository();
    let path = folder.path().to_string_lossy().into_owned();
    gateway.must_cli(["sources", "add", "git-repository", &path, "--id", "git"]);
    (gateway, folder)
}

#[test]
fn a_history_is_added_and_asked() {
    let (gateway, folder) = with_a_history();
    let path = folder.path();
    let agent = gateway.agent_with(
        "historian",
        &["git.log", "git.show", "git.blame", "git.search"],
    );
    for id in ["git.log", "git.show", "git.blame", "git.search"] {
        assert!(agent.sees().contains(&id.to_owned()), "{id}");
    }
    let head = git(&path, &["rev-parse", "HEAD"]);
    let log = agent.must("git.log", json!({}));
    assert_eq!(log["output"]["commits"][0]["id"], json!(head));
    assert_eq!(log["output"]["commits"].as_array().map(Vec::len), Some(3));
    let shown = agent.must("git.show", json!({"rev": "HEAD"}));
    assert_eq!(
        shown["output"]["files"][0]["diff"],
        "@@ -1,1 +1,1 @@\n-const KEY: u8 = 1;\n+const KEY: u8 = 2;\n"
    );
    let blamed = agent.must("git.blame", json!({"path": "docs/plan.md"}));
    assert_eq!(blamed["output"]["blocks"][1]["subject"], "finish the plan");
    let found = agent.must(
        "git.search",
        json!({"query": "KEY", "in": "changes", "path": "src"}),
    );
    assert_eq!(found["output"]["hits"].as_array().map(Vec::len), Some(3));
    // Who asked about this file? The log of the gateway knows.
    let read = gateway.owner().audited(|event| {
        event["capabilityId"] == "git.blame" && event["detail"]["phase"] == "read"
    });
    assert!(read.to_string().contains("docs/plan.md"), "{read}");
    // What happens to the repository meanwhile is seen.
    git(&path, &["commit", "-q", "--allow-empty", "-m", "one more"]);
    let log = agent.must("git.log", json!({"limit": 1}));
    assert_eq!(log["output"]["commits"][0]["subject"], "one more");
    agent.must_fail("git.log", json!({"rev": "nowhere"}), 200, "transport_error");
    agent
        .invoke("git.log", json!({"limit": 0}))
        .expect_error(422, "schema_validation_failed");
}

#[test]
fn a_history_narrowed_to_a_folder_tells_nothing_of_others() {
    let (gateway, _folder) = with_a_history();
    let agent = gateway.agent("narrow");
    for id in ["git.log", "git.show", "git.search"] {
        let line = format!("grants allow narrow {id} --window 1h --under path=docs");
        gateway.must_cli(line.split(' '));
    }
    let log = agent.must("git.log", json!({}));
    let subjects: Vec<&str> = list_of(&log["output"]["commits"])
        .iter()
        .filter_map(|commit| commit["subject"].as_str())
        .collect();
    assert_eq!(subjects, ["finish the plan", "begin"]);
    agent.must_fail("git.show", json!({"rev": "HEAD"}), 401, "approval_required");
    let begin = agent.must("git.show", json!({"rev": "HEAD~2"}));
    assert_eq!(begin["output"]["files"].as_array().map(Vec::len), Some(1));
    let found = agent.must("git.search", json!({"query": "KEY", "in": "changes"}));
    assert_eq!(found["output"]["hits"], json!([]));
    assert!(!log.to_string().contains("secret") && !begin.to_string().contains("secret"));
}

#[test]
fn a_repository_that_leads_elsewhere_is_refused_in_words() {
    let gateway = Gateway::start();
    let folder = repository();
    let borrower = Folder::empty();
    let path = folder.path().to_string_lossy().into_owned();
    git(&borrower.path(), &["clone", "-q", "--shared", &path, "."]);
    let borrower_path = borrower.path().to_string_lossy().into_owned();
    gateway.must_cli([
        "sources",
        "add",
        "git-repository",
        &borrower_path,
        "--id",
        "borrows",
        "--keep",
    ]);
    let agent = gateway.agent_with("one", &["borrows.log"]);
    let refused = agent.must_fail("borrows.log", json!({}), 503, "source_unavailable");
    // The words are the owner's: what a worker says of its folder is no agent's.
    assert!(!refused.to_string().contains("leads out"), "{refused}");
    let health = gateway.owner().get("/admin/api/health").expect_ok();
    assert_contains(&health.to_string(), "leads out of its folder");
}

/// Nothing stays of what cannot be read, and the words say why.
#[test]
fn repositories_that_cannot_be_read_are_refused_when_added() {
    let gateway = Gateway::start();
    for kind in ["--object-format=sha256", "--ref-format=reftable"] {
        let folder = Folder::empty();
        let path = folder.path();
        git(&path, &["init", "-q", kind, "."]);
        git(&path, &["commit", "-q", "--allow-empty", "-m", "begin"]);
        let path = path.to_string_lossy().into_owned();
        let add = ["sources", "add", "git-repository", &path, "--id", "git"];
        let said = gateway.cli(add);
        assert_eq!(said.status, 1, "{kind}: {}", said.stderr);
        assert_contains(&said.stderr, "of a kind that is not read");
        let sources = gateway.owner().get("/admin/api/sources").expect_ok();
        assert!(!sources.to_string().contains("git-repository"), "{sources}");
    }
}
