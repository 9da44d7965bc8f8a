//! Settings as a page: what leaves this machine and by which egress, where the gateway listens, what holds for all agents, how
//! much each may do; what can be changed here, and the one command for what cannot.
//!
//! Invariants: no secret is in it, only the names of those that an egress adds; a session opens no way in (0129): where the
//! gateway listens is shown and not changed.
//!
//! Must not know: how a setting is held to.

use super::{foreign::ForeignText, sent, shell, words};
use crate::{
    acting::Acting,
    desk::Desk,
    owner::{
        network,
        settings::{AskedSettings, set},
    },
    table::Reading,
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{self, Refused};
use plexus_owner::{
    Done,
    network::{NetworkState, Show},
};
use plexus_protocol::{EnrollmentStatus, Reach, TrustWindow, capability::DAY_MS};
use plexus_record::keep_events;
use plexus_trust::{Settings, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{ops::RangeInclusive, sync::Arc};

/// Sources and agents that are listed.
const LISTED: usize = 50;
/// Hosts of a source that are named.
const HOSTS: usize = 12;
const MINUTE: u64 = 60_000;

/// The windows that a setting may have, as they travel and in words.
const WINDOWS: [(&str, &str); 5] = [
    ("once", "asks each time"),
    ("1h", "1 hour"),
    ("1d", "1 day"),
    ("7d", "7 days"),
    ("until-revoked", "until you revoke it"),
];

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    egress: Vec<EgressRow>,
    /// Sources that reach nothing beyond this machine.
    closed: usize,
    more_sources: usize,
    configured: String,
    listening: String,
    names: String,
    port: u16,
    /// What is configured is not in force yet.
    is_pending: bool,
    token_minutes: u64,
    longest_days: u64,
    until_revoked: bool,
    windows: Vec<WindowChoice>,
    exposed: bool,
    auto_reads: bool,
    keep: u64,
    agents: Vec<LimitRow>,
    more_agents: usize,
    folder: ForeignText,
}

struct EgressRow {
    source: String,
    hosts: Vec<ForeignText>,
    more: usize,
}

/// The setting of a class of calls.
struct WindowChoice {
    name: &'static str,
    label: &'static str,
    is: &'static str,
}

struct LimitRow {
    agent: String,
    calls: u32,
    bytes: u64,
    is_usual: bool,
}

/// The page.
pub(super) async fn page(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let network = network::show(desk.clone(), Reading, Show {}).await?;
    let shown = desk.clone();
    shell::rendered(&desk, move || Page::of(&shown, &network).render()).await
}

impl Page {
    fn of(desk: &Desk, network: &NetworkState) -> Self {
        let state = desk.ledger.snapshot();
        let settings = &state.settings;
        let sources = state.sources.values();
        let sources: Vec<_> = sources.filter(|source| !source.config.is_over()).collect();
        let open: Vec<_> = sources
            .iter()
            .filter_map(|source| EgressRow::of(desk, source))
            .collect();
        let agents = state.agents.values();
        let agents: Vec<_> = agents
            .filter(|agent| agent.status != EnrollmentStatus::Revoked)
            .collect();
        let window = |name, label, window: TrustWindow| WindowChoice {
            name,
            label,
            is: window.kind(),
        };
        #[rustfmt::skip]
        let windows = vec![
            window("firstPartyRead", "Reads of built-in kinds", settings.read_window),
            window("firstPartyWrite", "Changes to built-in kinds", settings.write_window),
            window("managedRead", "Reads of sources that you added", settings.managed_read_window),
            window("managedWrite", "Changes to sources that you added", settings.managed_write_window),
            window("extensionRead", "Reads of extensions and MCP servers", settings.extension_read_window),
        ];
        Self {
            closed: sources.len() - open.len(),
            more_sources: open.len().saturating_sub(LISTED),
            egress: open.into_iter().take(LISTED).collect(),
            configured: listed(&network.bind_addresses),
            listening: listed(&network.active),
            names: listed(&network.public_hostnames),
            port: network.bound_port,
            is_pending: network.public_hostnames != network.active_public_hostnames
                || network
                    .bind_addresses
                    .iter()
                    .any(|address| !network.active.contains(address)),
            token_minutes: settings.token_lifetime_ms / MINUTE,
            longest_days: settings.max_trust_window_ms / DAY_MS,
            until_revoked: settings.allow_until_revoked,
            windows,
            exposed: settings.default_reach == Reach::Exposed,
            auto_reads: settings.auto_allow_reads,
            keep: keep_events(settings),
            more_agents: agents.len().saturating_sub(LISTED),
            agents: agents
                .iter()
                .take(LISTED)
                .map(|agent| LimitRow {
                    agent: agent.id.to_string(),
                    calls: agent.bounds.calls(),
                    bytes: agent.bounds.ledger(),
                    is_usual: agent.bounds.are_usual(),
                })
                .collect(),
            folder: ForeignText::short(&desk.state_dir.path().display().to_string(), 300),
        }
    }
}

fn listed(all: &[impl ToString]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    }
}

impl EgressRow {
    /// The hosts and the socket that a source's egress admits; none of a source that has no egress.
    fn of(desk: &Desk, source: &Source) -> Option<Self> {
        let connector = desk.registry.of_source(&source.config)?;
        let manifest = &connector.offer.manifest;
        let hosts = manifest.admitted(&source.config.route).unwrap_or_default();
        let hosts = hosts.iter().map(|(entry, host)| {
            let secret = match &entry.secret {
                Some(_) => ", with a secret that it adds",
                None => "",
            };
            let plain = if host.plain { ", not encrypted" } else { "" };
            format!("{} port {}{plain}{secret}", host.host, host.port)
        });
        let socket = manifest
            .admitted_socket(&source.config.route)
            .ok()
            .flatten();
        let socket = socket.map(|socket| format!("the Unix socket {}", socket.path));
        let all: Vec<String> = hosts.chain(socket).collect();
        (!all.is_empty()).then(|| Self {
            source: source.id.to_string(),
            more: all.len().saturating_sub(HOSTS),
            hosts: all
                .iter()
                .take(HOSTS)
                .map(|host| ForeignText::short(host, 200))
                .collect(),
        })
    }
}

/// Each setting that was changed in the form. The others may have been changed elsewhere meanwhile.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SettingsForm {
    token_minutes: Option<f64>,
    longest_days: Option<f64>,
    until_revoked: Option<Switch>,
    first_party_read: Option<String>,
    first_party_write: Option<String>,
    managed_read: Option<String>,
    managed_write: Option<String>,
    extension_read: Option<String>,
    reach: Option<Reach>,
    auto_reads: Option<Switch>,
    keep: Option<f64>,
}

/// A box that is not ticked sends nothing: a list of two does.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    Yes,
    No,
}

#[derive(Serialize)]
struct Changed {
    ok: Done,
}

/// Changes the settings; what is out of bounds is refused, and not clamped as for a shell's own surface.
pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    request: Request,
) -> Result<Response, Refused> {
    let form: SettingsForm = sent(request).await?;
    let asked = form.asked()?;
    let now = set(&desk, &acting, &asked).await?;
    form.holds(&now)?;
    Ok(reply::ok(&Changed { ok: Done }))
}

impl SettingsForm {
    fn windows(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("first-party:read", &self.first_party_read),
            ("first-party:write", &self.first_party_write),
            ("managed:read", &self.managed_read),
            ("managed:write", &self.managed_write),
            ("extension:read", &self.extension_read),
        ]
    }

    fn asked(&self) -> Result<AskedSettings, Refused> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "minutes and days in milliseconds are small"
        )]
        let ms = |count: f64, unit: u64| count * unit as f64;
        let is_out = |asked: Option<f64>, bounds: RangeInclusive<f64>| {
            asked.is_some_and(|asked| !bounds.contains(&asked))
        };
        if is_out(self.token_minutes, 1.0..=60.0) {
            return Err(
                Refused::malformed("A token lives for 1 to 60 minutes.").about("tokenMinutes")
            );
        }
        if is_out(self.longest_days, 1.0..=3_650.0) {
            return Err(
                Refused::malformed("The longest grant is 1 to 3650 days.").about("longestDays")
            );
        }
        if is_out(self.keep, 1_000.0..=1e9) {
            return Err(
                Refused::malformed("At least 1000 events stay in the log's own file.")
                    .about("keep"),
            );
        }
        let asked = self.windows().into_iter();
        let windows: Vec<_> = asked
            .filter_map(|(class, kind)| Some((class, kind.as_deref()?)))
            .collect();
        let offered = |kind: &str| WINDOWS.iter().any(|(name, _)| *name == kind);
        if !windows.iter().all(|(_, kind)| offered(kind)) {
            return Err(Refused::malformed("This length of time is not offered."));
        }
        let windows = windows.into_iter();
        let windows = windows.map(|(class, kind)| (class.to_owned(), Value::from(kind)));
        let is_yes = |switch| switch == Switch::Yes;
        Ok(AskedSettings {
            token_lifetime_ms: self.token_minutes.map(|minutes| ms(minutes, MINUTE)),
            max_trust_window_ms: self.longest_days.map(|days| ms(days, DAY_MS)),
            allow_until_revoked: self.until_revoked.map(is_yes),
            default_trust_windows: Some(windows.collect()),
            default_reach: self.reach,
            auto_allow_reads: self.auto_reads.map(is_yes),
            audit_keep_events: self.keep,
        })
    }

    /// A setting that another rule changed is told.
    fn holds(&self, now: &Settings) -> Result<(), Refused> {
        let kinds = [
            now.read_window,
            now.write_window,
            now.managed_read_window,
            now.managed_write_window,
            now.extension_read_window,
        ];
        let mut both = self.windows().into_iter().zip(kinds);
        match both.find(|((_, asked), is)| asked.as_ref().is_some_and(|asked| is.kind() != asked)) {
            None => Ok(()),
            Some(((class, _), is)) => Err(Refused::malformed(format!(
                "The settings are changed, but the window of {class} stays {}.",
                is.kind()
            ))),
        }
    }
}

impl LimitRow {
    fn bytes(&self) -> String {
        words::bytes(self.bytes)
    }
}
