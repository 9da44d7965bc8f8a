//! The questions that a stranger asks first: one step from README or the map leads to the section that answers each, and
//! its first words are the answer.

use crate::documents::{anchor, plexusctl_commands, root};
use crate::house::{House, READ, WRITE};
use plexus_tests::Folder;
use plexus_tests::texts::assert_contains;
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Command;

/// A question, the page and the heading that answer it, and the first words there.
type Question = (&'static str, &'static str, &'static str, &'static str);

const QUESTIONS: [Question; 24] = [
    (
        "what is it, and what not",
        "README.md",
        "Plexus",
        "Plexus lets Claude Code, Codex and other AI agents use",
    ),
    (
        "let it read my vault",
        "docs/sources/obsidian.md",
        "Add a vault",
        "`plexusctl sources add obsidian-fs FOLDER` shares the vault",
    ),
    (
        "run its tests",
        "README.md",
        "Run and test",
        "`cargo xtask test` runs every check and every test",
    ),
    (
        "connect Claude Code, and undo it",
        "docs/connect-claude-code.md",
        "2. Connect, here, in one step",
        "`plexusctl connect my-cc --type claude-code --here` sets",
    ),
    (
        "connect Codex by MCP",
        "docs/connect-codex.md",
        "2. Connect, here, in one step",
        "`plexusctl connect --type codex --here` gives Codex the tools of Plexus over MCP.",
    ),
    (
        "CalDAV with a certificate of my own",
        "docs/sources/caldav.md",
        "A certificate of your own",
        "`plexusctl sources add caldav-account --set ca=FILE` trusts",
    ),
    (
        "writes under notes/ without asking",
        "docs/approvals.md",
        "Allow without asking",
        "`plexusctl grants allow AGENT workspace.write --window 1h --under path=notes` lets",
    ),
    (
        "who read this note",
        "docs/audit.md",
        "Who did what",
        "`plexusctl activity --touched PATH` lists each call that read",
    ),
    (
        "undo what was done an hour ago",
        "docs/audit.md",
        "Undo a change",
        "`plexusctl review AGENT --since 2h` shows",
    ),
    (
        "stop everything",
        "docs/install-and-upgrade.md",
        "Stop",
        "`plexusctl service stop` ends the gateway",
    ),
    (
        "no start after a power cut",
        "docs/runbook.md",
        "After a crash",
        "The next start repairs the state",
    ),
    (
        "the disk is full",
        "docs/runbook.md",
        "A full or failing disk",
        "Free 17 MiB",
    ),
    (
        "restore on a new machine",
        "docs/backup.md",
        "Restore on a new machine",
        "Install Plexus there, and run `plexusctl restore FILE`",
    ),
    (
        "rotate keys",
        "docs/runbook.md",
        "Rotate keys",
        "`plexusctl key rotate` replaces your key",
    ),
    (
        "write a client",
        "docs/protocol/README.md",
        "Try it",
        "Start from [`client.sh`]",
    ),
    (
        "write a source",
        "docs/write-a-source.md",
        "1. Make one that works",
        "`cargo xtask new-source NAME` makes a connector",
    ),
    (
        "lend an MCP server of npm",
        "docs/sources/mcp.md",
        "Install a server from npm or PyPI",
        "`plexusctl mcp install NAME npm:PACKAGE@VERSION` installs",
    ),
    (
        "lend rg",
        "docs/create-an-extension.md",
        "Lend ripgrep",
        "`plexusctl extension add docs/extensions/ripgrep.json --folder files=FOLDER` lends",
    ),
    (
        "half of what Codex changed",
        "docs/coding-agents.md",
        "5. Apply and undo",
        "`plexusctl changes apply cs_… --path FILE` applies the files that you name",
    ),
    (
        "a relay for a team",
        "docs/channels/relay.md",
        "Run a relay",
        "`plexus-relay serve` runs a relay, and `plexus-relay invite` makes",
    ),
    (
        "what does it protect from",
        "docs/threat-model.md",
        "In short",
        "Plexus keeps an agent from everything that you did not grant it",
    ),
    (
        "how fast is it",
        "docs/performance.md",
        "Performance",
        "A single caller waits 0.5 ms for a read",
    ),
    (
        "I found a hole",
        "SECURITY.md",
        "Report a weakness",
        "Use the private vulnerability report",
    ),
    (
        "a fix of one line",
        "CONTRIBUTING.md",
        "A small fix",
        "Change the line, run `cargo xtask test --quick`",
    ),
];

/// What stands below a heading, to the next one of its level or above.
fn section<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let (mut is_code, mut begin, mut at) = (false, None, 0);
    for line in page.split_inclusive('\n') {
        is_code ^= line.starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if level > 0 && !is_code {
            match begin {
                Some((_, of)) if level <= of || of == 1 => break,
                None if line[level..].trim() == heading => begin = Some((at + line.len(), level)),
                _ => {}
            }
        }
        at += line.len();
    }
    begin.map(|(begin, _)| page[begin..at].trim())
}

/// The links of a page, as paths from the workspace.
fn links(from: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(from)).expect("a page");
    let folder = from.strip_suffix("README.md").expect("a page that leads");
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let path = |link: &str| match link.strip_prefix("../") {
        Some(above) => above.to_owned(),
        None if link.starts_with('#') => format!("{from}{link}"),
        None => format!("{folder}{link}"),
    };
    targets.map(path).collect()
}

/// The words after each mention of a program between backticks or in a fenced block.
fn words_after<'a>(section: &'a str, program: &str) -> Vec<&'a str> {
    let mention = format!("{program} ");
    let mentions = section.split(&mention).skip(1);
    mentions
        .map(|rest| rest.split([' ', '`', '\n']).next().unwrap_or_default())
        .collect()
}

fn help_of(program: &str) -> String {
    let mut command = Command::new(plexus_tests::binaries::path(program));
    let said = command.arg("--help").output().expect("the program runs");
    String::from_utf8(said.stdout).expect("text")
}

#[test]
fn each_question_is_answered_where_one_step_leads() {
    assert_eq!(
        section("# A\none\n## B\ntwo\n### C\n3\n## D\n", "B"),
        Some("two\n### C\n3")
    );
    assert_eq!(section("# A\none\n## B\n", "A"), Some("one"));
    let mut linked = links("README.md");
    linked.extend(links("docs/README.md"));
    let mut wrong = Vec::new();
    let mut commands = BTreeSet::new();
    for (question, page, heading, answer) in QUESTIONS {
        let text = std::fs::read_to_string(root().join(page)).expect("a page");
        let Some(section) = section(&text, heading) else {
            wrong.push(format!("{question}: {page} has no heading {heading:?}"));
            continue;
        };
        if !section.starts_with(answer) {
            wrong.push(format!(
                "{question}: {page}#{} begins otherwise",
                anchor(heading)
            ));
        }
        let is_first = text.starts_with(&format!("# {heading}\n"));
        let direct = format!("{page}#{}", anchor(heading));
        if !(linked.contains(&direct) || page == "README.md" || is_first && linked.contains(page)) {
            wrong.push(format!(
                "{question}: no link of README or docs/README.md is {direct}"
            ));
        }
        commands.extend(plexusctl_commands(section).0);
        for (program, source) in [
            ("plexus-relay", help_of("plexus-relay")),
            ("plexus", help_of("plexus")),
        ] {
            for word in words_after(section, &format!("`{program}")) {
                if !word.contains('.') && !source.contains(&format!("\n  {word} ")) {
                    wrong.push(format!("{question}: {program} has no {word}"));
                }
            }
        }
        let tasks = std::fs::read_to_string(root().join("xtask/src/main.rs")).expect("a source");
        for word in words_after(section, "cargo xtask") {
            let camel: String = word
                .split('-')
                .map(|part| part[..1].to_uppercase() + &part[1..])
                .collect();
            if !tasks.contains(&format!("Task::{camel}")) {
                wrong.push(format!("{question}: cargo xtask has no {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(commands.len() > 15, "{commands:?}");
}

/// The owner's command in the first words of an answer, as the page has it; its words in capitals are `here`.
fn printed(question: &str, here: &[(&str, &str)]) -> Vec<String> {
    let asked = QUESTIONS.iter().find(|(asked, ..)| *asked == question);
    let (.., answer) = asked.expect("a question");
    let (_, line) = answer.split_once("`plexusctl ").expect("a command");
    let words = line.split('`').next().unwrap_or_default().split(' ');
    let typed = |word: &str| {
        let is = here.iter().find(|(said, _)| *said == word);
        is.map_or(word, |(_, is)| is).to_owned()
    };
    words.map(typed).collect()
}

/// Typed as the pages have them, the commands in the first words of answers do what is asked for.
#[test]
fn commands_of_answers_do_what_is_asked() {
    let house = House::open();
    let types = |question: &str, here: &[(&str, &str)]| {
        let line = printed(question, here);
        let said = house.gateway.cli(line.iter().map(String::as_str));
        said.expect_ok().to_owned()
    };
    let more = Folder::empty();
    more.write("Second/.obsidian/app.json", "{}");
    let folder = more.path().join("Second").display().to_string();
    let added = types("let it read my vault", &[("FOLDER", &folder)]);
    assert_contains(&added, "second serves: ");
    // A folder that is shared already is said, and shared a second time under a name of its own alone.
    let there = house.vault.path().display().to_string();
    let mut again = printed("let it read my vault", &[("FOLDER", &there)]);
    let refused = house.gateway.cli(again.iter().map(String::as_str));
    let words = "obsidian serves that folder already";
    assert_contains(&refused.expect_status(64).stderr, words);
    again.extend(["--id".to_owned(), "twin".to_owned()]);
    let twin = house.gateway.cli(again.iter().map(String::as_str));
    assert_contains(twin.expect_ok(), "it shares a folder with obsidian: ");
    assert!(!added.contains("shares a folder"), "{added}");

    let agent = house.reader("one");
    let note = |path: &str| json!({"path": path, "content": "a line\n"});
    agent.must_ask(WRITE, note("notes/before.md"));
    let allowed = types("writes under notes/ without asking", &[("AGENT", "one")]);
    assert_contains(&allowed, "path at or below notes");
    agent.must(WRITE, note("notes/after.md"));
    let outside = agent.invoke(WRITE, note("elsewhere.md"));
    assert_eq!(outside.status, 401, "{outside}");
    assert!(house.workspace.has("notes/after.md") && !house.workspace.has("elsewhere.md"));

    let today = [("PATH", "notes/today.md")];
    let unread = types("who read this note", &today);
    assert!(!unread.contains("one read"), "{unread}");
    agent.must(READ, json!({"path": "notes/today.md"}));
    let read = types("who read this note", &today);
    assert_contains(&read, "one read notes/today.md");
    let review = types("undo what was done an hour ago", &[("AGENT", "one")]);
    assert_contains(&review, "notes/after.md");

    let backup = house.gateway.home().join("backup").display().to_string();
    house.gateway.cli(["backup", &backup]).expect_ok();
    let there = more.path().join("new").display().to_string();
    let restore = printed("restore on a new machine", &[("FILE", &backup)]);
    let restore = restore.iter().map(String::as_str);
    let restored = house
        .gateway
        .cli(["--home", &there].into_iter().chain(restore));
    restored.expect_ok();
    assert!(more.has("new/ledger.redb"));

    let key = house.gateway.key();
    types("rotate keys", &[]);
    assert_ne!(house.gateway.key(), key);
}
