//! The history of a folder in the copies of runs: what branches and tags lead to, or one commit where something is hidden; and
//! nothing else of `.git`.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use plexus_tests::Step;
use serde_json::json;
use std::process::Command;

/// A file that the owner hides, and what a remote's address holds.
const SECRET: &str = "story-heron-11c7";
const TOKEN: &str = "story-token-90fa";
/// What was staged, stashed, amended away.
const STAGED: &str = "story-staged-7be2";
const STASHED: &str = "story-stashed-2d55";
const AMENDED: &str = "story-amended-c001";

/// Everything that git and the files of `.git` give, whatever refs lead to.
const EVERYTHING: &str = "git show HEAD:private/s.txt; cat .git/config; git stash list; git reflog; \
    git cat-file --batch-all-objects --batch --unordered; cat .git/index; ls -R .git; git log --all -p; echo ended";

/// Makes the folder of a desk a repository, of which a person keeps more than refs lead to.
fn repository(desk: &Desk) {
    let line = format!(
        "git init -q -b main . && mkdir private && echo {SECRET} > private/s.txt && git add -A && git commit -q -m 'First words'
        echo {AMENDED} > b.txt && git add -A && git commit -q -m 'To be amended'
        echo two > b.txt && git add -A && git commit -q --amend -m 'Second words'
        echo {STASHED} > a.txt && git stash -q
        echo {STAGED} > c.txt && git add c.txt && echo three > c.txt
        echo mine >> a.txt
        git remote add origin https://me:{TOKEN}@example.org/x.git
        git config credential.helper '!echo password={TOKEN}'
        printf '#!/bin/sh\\necho {TOKEN}\\n' > .git/hooks/post-commit
        mkdir -p nested && cd nested && git init -q . && git remote add origin https://me:{TOKEN}@example.org/y.git"
    );
    owners(desk, &line);
}

/// What a shell says in the owner's own folder.
fn owners(desk: &Desk, line: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(desk.folder.path())
        .env("HOME", desk.folder.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "A")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "a@example.org")))
        .output()
        .expect("a shell");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn hidden_folder_is_in_no_history_of_a_copy(kind: Kind) {
    let exec = kind.exec;
    let look = [
        "git log --format=%s; git show HEAD~1:docs/b.txt; git status --porcelain; git fsck && echo whole",
        &format!(
            "({EVERYTHING}; cat nested/.git/config) > all 2>&1; grep -ac . all; grep -ao 'story-[a-z]*-....' all; rm all"
        ),
    ];
    let steps = || {
        look.iter()
            .map(|line| exec(line))
            .chain([Step::say("Seen.")])
    };
    let desk = Desk::open(kind, steps());
    repository(&desk);
    // The control: the same lines give each of them in the owner's folder.
    let all = owners(&desk, look[1]);
    for secret in [SECRET, TOKEN, STAGED, STASHED, AMENDED] {
        assert!(all.contains(secret), "{secret}: {all}");
    }

    // Nothing is hidden: the history is there, with what the owner changed since, and nothing else of `.git`.
    desk.run(&json!({"prompt": "Look."}));
    let seen = desk.model.results();
    for words in [
        "Second words",
        "First words",
        "two",
        " M a.txt",
        "?? c.txt",
        "whole",
    ] {
        assert!(seen[0].contains(words), "{words}: {seen:?}");
    }
    assert!(seen[1].contains(SECRET), "{seen:?}");
    for secret in [TOKEN, STAGED, STASHED, AMENDED] {
        assert!(!seen[1].contains(secret), "{secret}: {seen:?}");
    }

    let hide = ["sources", "hide", desk.kind.id, "--folder", "private"];
    desk.gateway.cli(hide).expect_ok();
    desk.model.then(steps());
    let input = json!({"prompt": "Look again."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    let words = "left out, because something is hidden from agents";
    assert!(plan.contains(words), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must(&desk.kind.of("run"), input);
    let warnings = done["output"]["warnings"].to_string();
    assert!(warnings.contains(words), "{warnings}");
    let seen = desk.model.results();
    for words in ["The folder as the run began with it", "whole"] {
        assert!(seen[0].contains(words), "{words}: {seen:?}");
    }
    for words in ["Second words", "First words", " M a.txt"] {
        assert!(!seen[0].contains(words), "{words}: {seen:?}");
    }
    for secret in [SECRET, TOKEN, STAGED, STASHED, AMENDED] {
        assert!(!seen[1].contains(secret), "{secret}: {seen:?}");
    }
    assert_eq!(done["output"]["changes"]["added"], 0, "{done}");
    desk.model.finish();
}

#[test]
fn hidden_folder_is_in_no_history_of_codex() {
    hidden_folder_is_in_no_history_of_a_copy(CODEX);
}

#[test]
fn hidden_folder_is_in_no_history_of_claude() {
    hidden_folder_is_in_no_history_of_a_copy(CLAUDE);
}
