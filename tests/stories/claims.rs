//! What README claims, claim by claim, with the tests that hold it: a claim without a test is marketing.
//!
//! A claim is a sentence of README, what its comparison says of Plexus, or what works today. Its commands are those that
//! `first_day` types from the page itself, and those of [`COMMANDS`].

use crate::documents::{self, quoted, root};
use crate::tutorials::blocks;

/// Each claim as README has it, without links, and its tests.
const CLAIMS: &[(&str, &[&str])] = &[
    // Before the first heading
    (
        "Plexus lets Claude Code, Codex and other AI agents use your notes, folders, calendars and apps.",
        &[
            "day::agent_uses_every_app_of_a_day",
            "tutorials::connecting_claude_code",
            "tutorials::connecting_codex",
        ],
    ),
    (
        "It asks you before they change anything that you did not allow.",
        &["invoke::an_effect_asks_and_says_so"],
    ),
    (
        "You run a gateway on your machine and name what agents may know of: a vault, a folder, a calendar, a program.",
        &[
            "prefix::each_connector_kind_answers_from_a_prefix",
            "invoke::what_an_agent_may_not_know_of_is_unknown",
        ],
    ),
    (
        "You connect an agent and grant it what it may read.",
        &["agents::a_connect_grants_reads_and_skips_effects"],
    ),
    (
        "It reads that without asking.",
        &["agents::a_connect_grants_reads_and_skips_effects"],
    ),
    (
        "For a change it asks, and you answer in a browser or a terminal.",
        &[
            "first_day::from_start_to_an_approved_write_in_terminals",
            "newcomer::by_pointer_alone",
        ],
    ),
    (
        "Later you see who read or changed what, undo changes, and revoke grants.",
        &[
            "knowing::what_an_agent_did_is_told_in_words",
            "undo::the_command_shows_asks_and_does",
            "revoke::the_owner_takes_a_grant_back",
        ],
    ),
    (
        "A coding agent can set it up, with a demo: tell it to *read START-HERE.md and set up the pomodoro demo for me*.",
        &["pomodoro::an_agent_without_a_shell_builds_a_timer_under_its_owners_eyes"],
    ),
    // Install, Requirements
    (
        "A release needs no compiler.",
        &["releases::release_installs_to_an_approved_write_and_upgrades_and_returns"],
    ),
    (
        "Neither needs root or replaces a file of yours.",
        &[
            "releases::installer_asks_first_and_refuses_root",
            "releases::installer_replaces_no_file_of_somebody_else",
            "install::file_of_somebody_else_stops_it_before_anything_is_written",
        ],
    ),
    (
        "If `~/.local/bin` is not on your PATH, the installer prints the line that adds it.",
        &[
            "releases::installer_offers_the_service_at_a_terminal",
            "install::what_is_left_to_do_is_said_in_whole_lines",
        ],
    ),
    (
        "Then share your vault (`plexusctl sources add obsidian-fs FOLDER`) and connect an agent.",
        &[
            "questions::commands_of_answers_do_what_is_asked",
            "tutorials::connecting_claude_code",
        ],
    ),
    (
        "`plexusctl uninstall` removes what was installed and asks about the state.",
        &[
            "install::an_uninstall_leaves_what_it_says_and_nothing_else",
            "prompts::answers_after_fifteen_seconds_are_carried_out",
        ],
    ),
    (
        "Linux 6.7 or newer with Landlock (6.12 for sources that start programs).",
        &["kernels::the_table_of_kernel_versions_is_what_is_decided"],
    ),
    (
        "A release needs glibc 2.34 (Debian 12, Ubuntu 22.04); a clone Rust 1.95 or newer and a linker (`gcc`).",
        &["dist::latest_glibc_that_a_program_names_is_needed"],
    ),
    // Quick start, typed as the page has it
    ("Make two folders and start the gateway:", &[TYPED]),
    ("It prints two `export` lines.", &[TYPED]),
    (
        "Type both in each of two other terminals, one for you and one for the agent.",
        &[TYPED],
    ),
    ("Connect an agent (you).", &[TYPED]),
    (
        "The answer holds a line with a code: paste it in the agent's terminal, where you play the agent:",
        &[TYPED],
    ),
    (
        "Ask to write (the agent); then look at the card and approve (you; `ITEM` is the request's id, as the card shows it).",
        &[TYPED],
    ),
    (
        "`plexusctl console --open` does the same in a browser:",
        &["newcomer::by_pointer_alone"],
    ),
    ("Ctrl-C stops the gateway.", &[TYPED]),
    ("`rm -r ~/plexus-tour` removes all but the build.", &[TYPED]),
    (
        "The tutorial goes on with denials, time windows, revocation and the audit log.",
        &["first_day::tutorial_works_as_printed_in_terminals"],
    ),
    // Compared
    (
        "Plexus is for several agents that share what is yours, each with its own grants.",
        &["lending::only_the_borrower_has_it_and_only_what_was_lent"],
    ),
    (
        "you, in a program apart from the agent",
        &["invoke::an_effect_asks_and_says_so"],
    ),
    (
        "the change, line by line, where it can be computed first; elsewhere the input",
        &[
            "first_day::from_start_to_an_approved_write_in_terminals",
            "mcp_servers::real_server_serves_after_approval",
        ],
    ),
    (
        "calls through Plexus, not the agent's own shell",
        &[
            "agents::nothing_is_allowed_without_an_act_of_the_owner",
            "real_agents::claude_codes_own_rules_keep_it_from_the_owners_command_and_from_credentials",
        ],
    ),
    (
        "its own folder or listed hosts; a server at a URL is not confined",
        &[
            "files::a_reader_reads_its_root_and_nothing_else",
            "egress::tunnel_goes_to_listed_hosts_only",
            "mcp_remote::server_at_a_url_serves_after_approval_in_either_era",
        ],
    ),
    (
        "an audit log, undo for many changes, revocation",
        &[
            "knowing::what_an_agent_did_is_told_in_words",
            "undo::the_command_shows_asks_and_does",
            "revoke::the_owner_takes_a_grant_back",
        ],
    ),
    (
        "a gateway that runs, and grants",
        &["first_day::from_start_to_an_approved_write_in_terminals"],
    ),
    // Guarantees
    (
        "`tests/stories/claims.rs` names the tests of each sentence and command here that a test can hold.",
        &["claims::each_claim_of_readme_has_its_tests"],
    ),
    (
        "A new agent may do nothing.",
        &[
            "agents::nothing_is_allowed_without_an_act_of_the_owner",
            "invoke::an_effect_asks_and_says_so",
        ],
    ),
    (
        "A granted read needs no further approval until its grant ends.",
        &[
            "windows::an_approval_without_a_window_takes_the_wish_or_the_class_default",
            "expiry::windows_end",
            "agents::a_connect_grants_reads_and_skips_effects",
        ],
    ),
    (
        "Any other call asks each time, unless you choose a time window for it or lend a folder for writing.",
        &[
            "invoke::an_effect_asks_and_says_so",
            "windows::an_elevated_write_may_stand",
            "lending::writes_stand_count_and_ask_where_they_would_run",
        ],
    ),
    (
        "In a window you do not see each change before it is made.",
        &[
            "windows::an_elevated_write_may_stand",
            "windows::a_standing_write_is_held_against_what_was_read",
        ],
    ),
    (
        "A tool of an MCP server that you did not class as a read, and an effect of an extension, ask every time.",
        &[
            "windows::what_executes_is_approved_call_by_call",
            "mcp_servers::real_server_serves_after_approval",
            "extensions::read_writes_nothing_and_write_asks_each_time",
        ],
    ),
    (
        "So does a change that its source rates as `high`, such as an event in a calendar.",
        &["caldav::event_is_asked_about_each_time"],
    ),
    (
        "No setting changes that.",
        &[
            "windows::what_executes_is_approved_call_by_call",
            "cards::a_window_above_the_ceiling_says_why_it_cannot_be_chosen",
        ],
    ),
    (
        "An approval covers the input on its card, once.",
        &[
            "once::another_input",
            "once::two_at_the_same_time",
            "once::a_stale_or_foreign_digest",
        ],
    ),
    (
        "If the file has changed since the card was made, the gateway does not write it.",
        &[
            "once::a_swapped_preview",
            "obsidian_rest::note_edited_after_the_card_is_left_alone",
        ],
    ),
    (
        "A worker reaches the folder or the hosts of its source, and nothing else of yours.",
        &[
            "files::a_reader_reads_its_root_and_nothing_else",
            "files::a_writer_changes_nothing_outside",
            "egress::tunnel_goes_to_listed_hosts_only",
        ],
    ),
    (
        "It proves that at each start, before it serves, unless you start its source with `--unsandboxed-i-understand`.",
        &[
            "starts::an_unsound_cage_is_refused_and_its_report_told",
            "old_kernels::a_source_without_a_cage_is_the_owners_own_doing_and_loud",
        ],
    ),
    (
        "A lent MCP server that is a program has no network unless you name hosts.",
        &[
            "mcp_servers::servers_have_no_network",
            "mcp_hosts::python_server_reaches_the_host_that_was_named_and_no_other",
        ],
    ),
    (
        "A lent server at a URL is in no sandbox of yours.",
        &["mcp_remote::server_at_a_url_serves_after_approval_in_either_era"],
    ),
    (
        "You can take back a change of a folder, a note through the running Obsidian, a calendar or to-do, or an applied change set, unless anybody changed the thing since, that agent too.",
        &[
            "undo::the_command_shows_asks_and_does",
            "undo::what_cannot_be_taken_back_says_why_and_changes_nothing",
            "obsidian_rest::write_is_shown_as_a_difference_approved_and_taken_back",
            "caldav::todo_is_shown_approved_seen_by_another_client_and_taken_back",
            "served::card_of_an_undo_shows_its_object",
            "change_sets::change_set_is_seen_applied_in_part_and_undone",
        ],
    ),
    (
        "A revoked grant permits no further call.",
        &[
            "revoke::the_owner_takes_a_grant_back",
            "revoke::the_writer_decides_last",
        ],
    ),
    (
        "A pause refuses every agent at once, and cancels running calls.",
        &[
            "knowing::a_pause_refuses_every_agent_and_not_the_owner",
            "streaming::pause_and_revoke_cancel_effects",
        ],
    ),
    (
        "Each call that was answered is in the log.",
        &[
            "invoke::every_answer_has_its_record",
            "knowing::no_refusal_goes_uncounted",
        ],
    ),
    (
        "The log holds no content of your notes and no credential.",
        &[
            "audit::content_stays_where_it_is",
            "knowing::the_log_is_kept_and_holds_no_credential",
        ],
    ),
    (
        "A changed export is found by a script that you can read.",
        &[
            "export::the_script_in_the_documentation_agrees",
            "export::a_damaged_export_names_the_first_bad_event",
        ],
    ),
    (
        "Unless you choose otherwise, that is after 7 days, and after 24 hours for a lent MCP server or an extension.",
        &["windows::an_approval_without_a_window_takes_the_wish_or_the_class_default"],
    ),
    (
        "A coding agent's run on a copy of a folder asks every time; a conversation or a board asks once for all its runs.",
        &[
            "windows::what_executes_is_approved_call_by_call",
            "conversations::card_says_its_bounds_and_owner_lowers_them",
            "orchestration::independent_tasks_run_side_by_side_and_stop",
        ],
    ),
    // What works
    (
        "Obsidian vaults: read, list, search; write and append through the running app",
        &[
            "invoke::listings_and_searches",
            "obsidian_rest::write_is_shown_as_a_difference_approved_and_taken_back",
            "obsidian_rest::note_edited_after_the_card_is_left_alone",
        ],
    ),
    (
        "calendars and to-dos of a CalDAV server: read, add, complete, undo",
        &[
            "caldav::granted_read_lists_events_of_a_real_server",
            "caldav::todo_is_shown_approved_seen_by_another_client_and_taken_back",
            "caldav::standing_completion_covers_what_the_agent_has_listed",
        ],
    ),
    (
        "plain folders: list, read, write, undo; lent to one agent for a time",
        &[
            "undo::the_owner_takes_back_by_audit_id_and_it_is_recorded_as_the_owners_act",
            "lending::only_the_borrower_has_it_and_only_what_was_lent",
        ],
    ),
    (
        "git repositories: log, show, blame, search, without running git",
        &[
            "history::a_history_is_added_and_asked",
            "served::nothing_that_a_repository_configures_happens",
        ],
    ),
    (
        "Codex and Claude Code as sources: on a copy of a folder, in runs, conversations or boards of tasks, with tools that you grant",
        &[
            "coding_agents::codex_run_changes_nothing_until_it_is_applied",
            "coding_agents::claude_run_changes_nothing_until_it_is_applied",
            "conversations::codex_goes_on_in_its_copy",
            "orchestration::codex_and_claude_share_a_board_that_money_bounds",
            "host_tools::nested_claude_reads_what_it_was_granted",
        ],
    ),
    (
        "Linux",
        &["kernels::the_table_of_kernel_versions_is_what_is_decided"],
    ),
    (
        "a console in a browser: decide, connect, revoke, look up and undo; nearly all in a terminal too",
        &[
            "newcomer::by_pointer_alone",
            "newcomer::by_keyboard_alone",
            "cli::every_command_has_its_page_or_a_reason",
            "pages::manual_names_every_page",
        ],
    ),
    (
        "Claude Code and Codex set up by one command; other MCP clients by a block to paste, over stdio or HTTP",
        &[
            "tutorials::connecting_claude_code",
            "tutorials::connecting_codex",
            "mcp_setup::mcp_client_is_set_up_by_the_printed_block_and_taken_back",
            "mcp_http::http_client_lists_and_reads_in_both_eras",
        ],
    ),
    (
        "an MCP server, a program or at a URL: tools, resources and prompts, pinned; changed tools wait; sign-in by browser",
        &[
            "mcp_servers::real_server_serves_after_approval",
            "mcp_remote::server_at_a_url_serves_after_approval_in_either_era",
            "mcp_resources::real_server_lends_its_resources_and_prompts",
            "mcp_changes::changed_and_new_tools_are_hidden_until_one_card_is_decided",
            "mcp_sign_in::owner_signs_in_by_a_browser_and_stays_signed_in",
        ],
    ),
    (
        "a command, an app with an HTTP API or a socket, or a workflow, by a manifest; an agent may propose one",
        &[
            "tutorials::creating_an_extension",
            "local_apps::lamp_is_read_and_switched_with_approval",
            "app_sockets::app_is_asked_and_a_write_waits",
            "workflows::one_approval_carries_all_members",
            "proposals::agent_writes_an_extension_and_the_owner_decides",
        ],
    ),
    (
        "service, upgrade in place, backup and restore",
        &[
            "install::a_service_is_shown_before_it_is_written_and_taken_back_whole",
            "changing_over::clients_at_full_speed_renew_and_notice_nothing_else",
            "backup::a_backup_at_rest_and_a_restore_to_an_empty_place",
        ],
    ),
    (
        "end-to-end encrypted channels: relay, chat in a terminal, channels as a source, Codex as a member in a sandbox",
        &[
            "tutorials::talking_in_channels",
            "chatting::person_talks_reads_back_and_finds_what_is_new",
            "channels::agent_reads_asks_to_send_and_is_heard_once",
            "codex_peer::granted_peer_answers_and_leaves_a_record",
        ],
    ),
    (
        "A program that runs unsandboxed as your user, such as an agent's own shell, can read your files without the gateway.",
        &[PAST_THE_GATEWAY],
    ),
    (
        "Plexus neither prevents nor sees such a read.",
        &[PAST_THE_GATEWAY],
    ),
    (
        "The audit log is a chain of hashes without a key.",
        &["export::the_script_in_the_documentation_agrees"],
    ),
    (
        "It shows accidents and clumsy edits; a program that can write the file can recompute it.",
        &[
            "tampering::a_changed_byte_in_an_event_is_named",
            "tampering::a_removed_event_is_named",
            "export::a_chain_made_anew_is_revealed_by_an_export_that_was_kept",
        ],
    ),
    (
        "An export kept elsewhere reveals that (check one).",
        &["export::a_chain_made_anew_is_revealed_by_an_export_that_was_kept"],
    ),
    (
        "The gateway listens on this machine alone (loopback and two Unix sockets) unless you say otherwise, and speaks no TLS.",
        &[
            "settings::the_network_is_loopback_unless_the_owner_says_otherwise",
            "guard::bytes_that_are_no_request_end_only_their_connection",
        ],
    ),
    // How it works
    (
        "Over HTTP, MCP, or with the command `plexus`, an agent calls a capability such as \"read a note\".",
        &[
            "small_clients::enroll_list_call_and_wait",
            "mcp_http::http_client_lists_and_reads_in_both_eras",
            TYPED,
        ],
    ),
    (
        "The gateway `plexusd` checks the grant and makes the call through a worker.",
        &[
            "agents::nothing_is_allowed_without_an_act_of_the_owner",
            "starts::an_unsound_cage_is_refused_and_its_report_told",
        ],
    ),
    (
        "Landlock and seccomp confine each worker on Linux; Seatbelt is meant to on macOS.",
        &[
            "files::a_reader_reads_its_root_and_nothing_else",
            "probes::a_call_of_another_machine_ends_its_worker",
            "profiles::no_profile_grants_fork_network_or_links",
        ],
    ),
    // Run and test
    (
        "as root, or by `sudo` without a password, Debian packages chromium, chromium-driver, npm, faketime, radicale, python3-recurring-ical-events, nats-server, curl, openssl, minisign, git, python3, python3-pip, dbus and fonts-dejavu-core;",
        &["debian::readme_names_each_package_of_the_tests"],
    ),
    (
        "with npm and pip the coding agents and MCP servers, below `target`;",
        &[
            "coding_agents::codex_run_changes_nothing_until_it_is_applied",
            "mcp_python_servers::time_converts_a_time_as_a_read",
        ],
    ),
    (
        "`cargo xtask start` installs nothing: programs stay in `target/`, state in the folder of `--home`.",
        &[TYPED],
    ),
];

/// Each command that README shows outside of its quick start, and its tests.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "sh install.sh --from FOLDER",
        &["releases::release_installs_to_an_approved_write_and_upgrades_and_returns"],
    ),
    (
        "cargo xtask install",
        &["first_day::readme_is_typed_from_an_installed_prefix"],
    ),
    (
        "plexusctl service install",
        &["install::a_service_is_shown_before_it_is_written_and_taken_back_whole"],
    ),
    (
        "plexusctl sources add obsidian-fs FOLDER",
        &["questions::commands_of_answers_do_what_is_asked"],
    ),
    (
        "plexusctl uninstall",
        &["first_day::readme_is_typed_from_an_installed_prefix"],
    ),
    (
        "plexusctl console --open",
        &["sign_in::by_a_link_that_works_once"],
    ),
    ("rm -r ~/plexus-tour", &[TYPED]),
    ("cargo xtask start", &[TYPED]),
];

/// The commands that run the tests, this one too, or a part of them.
const RUNS_THEM: [&str; 2] = ["cargo xtask test", "cargo xtask test --quick"];

/// Types README's quick start in terminals.
const TYPED: &str = "first_day::from_start_to_an_approved_write_in_terminals";

/// Its shell reads a note of the vault, and no call is on record.
const PAST_THE_GATEWAY: &str =
    "real_agents::claude_codes_own_rules_keep_it_from_the_owners_command_and_from_credentials";

/// Sentences that show in no behaviour of ours: limits, pointers, advice, where it has run, and what the run of all tests is.
const LEFT_OPEN: [&str; 26] = [
    "It runs on your own machine, on Linux; the macOS code compiles and has never been run on a Mac.",
    "It is version 0.1, before its first release.",
    "A minute of it, as a moving picture.",
    "None has a public address yet: `FOLDER` is a folder or URL that somebody gave you.",
    "In a clone of this repository (it has no public address yet either), with Rust:",
    "Install and upgrade has the rest.",
    "To try it without installing, use the quick start.",
    "The tests install the rest.",
    "macOS 13 or newer, where nothing has run yet.",
    "It can also replace the gateway.",
    "Plexus does not judge what an agent does with what it was granted.",
    "The threat model lists what is left open.",
    "In a clone, with Rust 1.95 and `gcc` (requirements).",
    "The first build took 3 min 50 s on 2 processor cores (2026-12-01).",
    "For one agent in one repository, its own permissions and git are enough.",
    "To hold everything that an agent does, use a container.",
    "It works beside the other three.",
    "Architecture has the parts.",
    "`cargo xtask test` runs every check and every test, in a clone of this repository.",
    "It takes 35 minutes from a clean clone, on 2 processor cores (2026-12-01), and installs what is missing:",
    "with rustup the target `aarch64-apple-darwin`; with `--long`, which adds the slow tests, `x86_64-apple-darwin` too.",
    "If it cannot, it prints what to type.",
    "`cargo xtask test --quick` takes a minute after a build, and installs no coding agents.",
    "CONTRIBUTING has the rest.",
    "Changelog.",
    "Licensed under MIT or Apache-2.0, at your choice.",
];

/// How the sentence of the targets ends, behind their number.
const MISSED: &str = " performance targets are missed.";

/// A section of a page, without its heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("README has no section {heading:?}"));
    rest.split("\n## ").next().unwrap_or_default()
}

/// A text on one line, and its links by their words alone.
fn plain(text: &str) -> String {
    let mut words = String::new();
    for (at, part) in text.split("](").enumerate() {
        let part = match at {
            0 => part,
            _ => part.split_once(')').map_or(part, |(_, rest)| rest),
        };
        words.push_str(&part.replace('[', ""));
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cells of the table of a section, but for its head.
fn rows(section: &str) -> Vec<Vec<String>> {
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(plain).collect())
        .collect()
}

/// The sentences of a page's paragraphs and numbered steps, without its headings, code, tables, pictures, lists and lines of
/// links.
fn sentences(page: &str) -> Vec<String> {
    let outside = page.split("```").step_by(2);
    let paragraphs = outside.flat_map(|text| text.split("\n\n")).map(str::trim);
    let is_prose = |text: &&str| !text.starts_with(['#', '|', '!', '-']) && !text.contains(" · ");
    let mut all: Vec<String> = paragraphs.filter(is_prose).flat_map(split).collect();
    let is_number = |one: &String| one.trim_end_matches('.').parse::<u8>().is_ok();
    all.retain(|one| !one.is_empty() && !is_number(one));
    all
}

/// The sentences of a text.
fn split(text: &str) -> Vec<String> {
    let text = plain(text);
    let all = text.split_inclusive(". ").map(|one| one.trim().to_owned());
    all.collect()
}

fn claims(page: &str) -> Vec<String> {
    let compared = rows(section(page, "Compared")).into_iter();
    let compared = compared.filter_map(|mut cells| cells.pop());
    let mut claims: Vec<String> = sentences(page).into_iter().chain(compared).collect();
    for bullet in section(page, "Guarantees").split("\n- **").skip(1) {
        let (_, sentences) = bullet.split_once(".** ").expect("a name, then sentences");
        claims.extend(split(sentences));
    }
    let works = section(page, "What works");
    claims.extend(rows(works).into_iter().map(|cells| cells[0].clone()));
    for listed in [works, section(page, "Run and test")] {
        let bullets = listed.split("\n- ").skip(1);
        let bullets = bullets.map(|text| text.split("\n\n").next().unwrap_or(text));
        claims.extend(bullets.flat_map(split));
    }
    // Its number is held apart.
    claims.retain(|claim| !claim.ends_with(MISSED));
    claims
}

/// The commands that README shows in its text, and in its blocks that install.
fn commands() -> Vec<String> {
    let readme = readme();
    let shown = quoted(&readme).into_iter().filter(|text| {
        let begins = ["cargo ", "plexus ", "plexusctl ", "rm ", "sh "];
        begins.iter().any(|begin| text.starts_with(begin))
    });
    let mut all: Vec<String> = shown.map(str::to_owned).collect();
    for block in blocks("../README.md") {
        let lines = block.script.lines().filter(|_| block.how == "install");
        all.extend(lines.map(|line| line.split(" # ").next().unwrap_or(line).trim().to_owned()));
    }
    all
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README")
}

#[test]
fn each_claim_of_readme_has_its_tests() {
    let page = "# P\n\nIt is. It\n[does](y.md).\n\n```sh\na. b\n```\n\n1. So:\n\n## Compared\n| | a |\n|---|---|\n| x | y |\n\n## Guarantees\n\n- **A.** One. Two\n  [words](x.md).\n\n## What works\n| b | c |\n|---|---|\n| z | |\n\n- Three. Four\n  [words](x.md).\n- 5 performance targets are missed.\n\n## Run and test\n\n- x;\n\nEnd.\n";
    assert_eq!(
        claims(page),
        [
            "It is.",
            "It does.",
            "So:",
            "End.",
            "y",
            "One.",
            "Two words.",
            "z",
            "Three.",
            "Four words.",
            "x;"
        ],
        "the control"
    );
    let claims = claims(&readme());
    assert!(claims.len() > 30, "{claims:#?}");
    let known = |claim: &String| {
        CLAIMS.iter().any(|(known, _)| known == claim) || LEFT_OPEN.contains(&claim.as_str())
    };
    let unheld: Vec<_> = claims.iter().filter(|claim| !known(claim)).collect();
    assert!(unheld.is_empty(), "no test is named for {unheld:#?}");
    let named = CLAIMS.iter().map(|(known, _)| known).chain(&LEFT_OPEN);
    let gone: Vec<_> = named
        .filter(|known| !claims.iter().any(|claim| claim == *known))
        .collect();
    assert!(gone.is_empty(), "README no longer says {gone:#?}");
    // `cargo xtask rules` holds that there are such tests.
    let unproven: Vec<_> = CLAIMS
        .iter()
        .filter(|(_, named)| named.is_empty())
        .collect();
    assert!(unproven.is_empty(), "{unproven:#?}");
}

#[test]
fn each_command_of_readme_has_its_tests() {
    let shown = commands();
    let is_held = |command: &String| COMMANDS.iter().any(|(known, _)| known == command);
    let unheld: Vec<_> = shown
        .iter()
        .filter(|command| !is_held(command) && !RUNS_THEM.contains(&command.as_str()))
        .collect();
    assert!(unheld.is_empty(), "no test is named for {unheld:#?}");
    let gone: Vec<_> = COMMANDS
        .iter()
        .filter(|(known, named)| named.is_empty() || !shown.iter().any(|one| one == known))
        .collect();
    assert!(gone.is_empty(), "README no longer shows {gone:#?}");
}

/// The front page counts what is missed as the page of the bench does.
#[test]
fn readme_counts_the_missed_targets() {
    let page = documents::page("performance.md");
    let counted = page.lines().find_map(|line| {
        let line = line.trim_matches('*');
        line.strip_suffix(" targets are missed.")
    });
    let counted = counted.expect("the bench's first line");
    let said = plain(&readme());
    let said = said.split(MISSED).next().unwrap_or_default();
    assert!(said.ends_with(counted), "{counted} on docs/performance.md");
}
