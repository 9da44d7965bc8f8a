//! The stories: one module per subject; each test has a gateway, a home and folders of its own.
//!
//! Linux alone has those for which the harness needs it (decision 0138 says why, group by group); the rest compiles for macOS too.

#[cfg(target_os = "linux")]
plexus_hostile::in_own_processes!();

mod host_tools;
mod house;

#[cfg(target_os = "linux")]
mod agent_disk;
mod agent_faults;
mod agent_kills;
mod agent_limits;
mod agent_programs;
mod agent_sign_in;
mod agents;
#[cfg(target_os = "linux")]
mod app_sockets;
mod apple;
mod approved_runs;
mod archives;
mod audit;
mod backup;
mod bench;
mod boards;
#[cfg(target_os = "linux")]
mod cage;
#[cfg(target_os = "linux")]
mod caged_agents;
mod caldav;
mod cards;
mod change_sets;
mod changing_over;
mod channels;
mod chatting;
mod child_calls;
#[cfg(target_os = "linux")]
mod children;
mod claims;
mod clients;
mod code_pins;
mod codex_peer;
mod coding_agents;
mod connections;
mod conversations;
mod credentials;
mod damage;
mod day;
mod demo_channels;
mod detected;
mod discovery;
mod doctor;
mod documents;
mod egress;
mod enroll;
mod events;
mod exchanges;
mod expiry;
mod exposure;
mod extension_servers;
mod extensions;
mod fields;
mod first_day;
mod flood;
#[cfg(target_os = "linux")]
mod full_disk;
mod grants;
mod guard;
mod handshake;
mod hiding;
mod history;
mod hostile;
mod idempotency;
mod imitations;
mod impostors;
mod install;
mod integration;
mod invoke;
mod kept_messages;
mod kills;
mod knowing;
mod lending;
mod life_of_a_call;
#[cfg(target_os = "linux")]
mod local_apps;
mod logged;
mod lying_relay;
mod managed_sources;
mod mcp;
mod mcp_answers;
mod mcp_changes;
mod mcp_checks;
mod mcp_client_checks;
mod mcp_hosts;
mod mcp_http;
mod mcp_installs;
mod mcp_late;
mod mcp_many;
mod mcp_python;
mod mcp_python_servers;
mod mcp_questions;
mod mcp_remote;
mod mcp_resources;
#[cfg(target_os = "linux")]
mod mcp_sdk_clients;
mod mcp_search;
mod mcp_servers;
mod mcp_setup;
mod mcp_sign_in;
mod mcp_tasks;
mod measured;
mod misbehaviour;
mod misfits;
#[cfg(target_os = "linux")]
mod model_paths;
mod moved;
#[allow(dead_code, reason = "the relay's own tests use all of it")]
#[path = "../../channels/relay/tests/relay/nats.rs"]
mod nats;
mod newcomer;
mod next_actions;
mod notify;
mod obsidian_rest;
/// A relay, a person and peers.
mod office;
#[cfg(target_os = "linux")]
mod old_kernels;
mod once;
mod orchestration;
mod peer_calls;
mod peer_channels;
mod peer_kills;
mod peers;
#[cfg(target_os = "linux")]
mod power;
#[cfg(target_os = "linux")]
mod prefix;
mod prompts;
mod proposals;
mod published;
mod questions;
mod real_agents;
mod recorded_runs;
mod reference;
mod refresh;
#[cfg(target_os = "linux")]
mod rehearsal;
#[cfg(target_os = "linux")]
mod relay_disk;
#[cfg(target_os = "linux")]
mod releases;
mod repeats;
mod resident;
mod revoke;
mod run_history;
#[cfg(target_os = "linux")]
mod run_inputs;
mod run_reach;
mod runs;
mod seams;
mod settings;
mod setups;
#[cfg(target_os = "linux")]
mod sleep;
mod slow_day;
mod small_clients;
mod sources;
mod starts;
mod streaming;
#[cfg(target_os = "linux")]
mod things;
mod threads;
#[cfg(target_os = "linux")]
mod tray;
mod tutorials;
mod undo;
mod upgrades;
mod watching;
mod windows;
mod words;
mod worked_extensions;
mod workers_die;
mod workflows;
#[cfg(target_os = "linux")]
mod worst_proposals;
