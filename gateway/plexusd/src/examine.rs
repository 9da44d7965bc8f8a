//! `plexusd examine`: what `plexusctl doctor` needs a look at and only this program knows: the kernel, the ledger at
//! rest, each source's cage in steps. Works beside a running daemon and without one; changes nothing of either. While
//! it copies a ledger at rest it holds the state directory: a daemon that starts then is refused, as by another one.
//!
//! The answer is one line of JSON on standard output. Exit status 0 says that the look was had, not that all is well.
//!
//! Must not know: remedies. Those are the owner's commands, and `plexusctl`'s to say.

mod cage;

use crate::{arguments::Examine, launch::Programs};
use plexus_home::state_dir::StateDir;
use plexus_ipc::{BUILD, manifest::FolderField};
use plexus_ledger::{OpenError, Options};
use plexus_protocol::{SourceId, Timestamp};
use plexus_record::{Ledger, Trust};
use plexus_sources::{
    Connector, Registered, Registry,
    code::{self, Piece},
    configure,
    secrets::{self, SecretFile},
};
use plexus_trust::SourceConfig;
use serde_json::{Value, json};
use std::{path::Path, process::ExitCode, sync::Arc};

/// Looks, and prints what was seen.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a one-off command: its findings are its output"
)]
pub(crate) fn run(asked: &Examine, connectors: &[Connector]) -> ExitCode {
    let looked = StateDir::place(asked.home.clone())
        .map_err(|e| e.to_string())
        .and_then(|home| look(&home, asked, connectors));
    match looked {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("plexusd: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A source, as far as its cage needs it.
struct Subject {
    id: SourceId,
    connector: Arc<Registered>,
    places: Vec<FolderField>,
    config: Value,
    home: StateDir,
    secrets: Vec<SecretFile>,
    code: Vec<Piece>,
}

fn look(home: &Path, asked: &Examine, connectors: &[Connector]) -> Result<Value, String> {
    let registry = Registry::read(connectors).map_err(|e| e.to_string())?;
    if let Ok(home) = StateDir::as_it_is(Some(home.to_owned())) {
        registry.read_installed(&home);
    }
    let kernel = match plexus_sandbox::kernel_support() {
        Ok(support) => {
            json!({"supported": true, "mechanism": support.mechanism, "version": support.version})
        }
        Err(why) => json!({"supported": false, "reason": why.to_string()}),
    };
    let rest = at_rest(home, &tempfile::env::temp_dir());
    let (ledger, configured) = match (rest, &asked.sources) {
        (LedgerAtRest { said, .. }, Some(given)) => (said, sources(given)?),
        (LedgerAtRest { said, sources }, None) => (said, sources),
    };
    let named = |(id, config): &(SourceId, SourceConfig)| json!({"id": id, "kind": config.kind, "route": config.route});
    let named: Vec<Value> = configured.iter().map(named).collect();
    let programs = Programs::find(asked.workers.as_deref());
    let cages = match &programs {
        Err(_) => Vec::new(),
        Ok(programs) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| e.to_string())?;
            let all = configured.into_iter().filter(|(_, config)| config.enabled);
            all.map(|(id, config)| {
                let Some(connector) = registry.of_source(&config) else {
                    let why = registry.missing(&config.kind);
                    return json!({"source": id, "steps": [cage::failed("connector", None, &why)]});
                };
                let mut places = configure::places(&registry, &config);
                for place in &mut places {
                    if let Ok(real) = place.path.canonicalize() {
                        place.path = real;
                    }
                }
                let home = match StateDir::as_it_is(Some(home.to_owned())) {
                    Ok(home) => home,
                    Err(why) => {
                        let failed = cage::failed("programs", None, &why.to_string());
                        return json!({"source": id, "steps": [failed]});
                    }
                };
                let manifest = &connector.offer.manifest;
                let subject = Subject {
                    secrets: secrets::of_source(manifest, &id, &config),
                    code: code::pieces(manifest, &config),
                    home,
                    places,
                    config: config.route,
                    id,
                    connector,
                };
                let profile = asked.profile_of(&subject.connector.offer.manifest.connector);
                runtime.block_on(cage::examine(&subject, programs, profile.as_deref()))
            })
            .collect()
        }
    };
    let programs = match programs {
        Ok(programs) => json!({"launcher": programs.launcher, "workers": programs.workers}),
        Err(why) => json!({"problem": format!("{why:#}")}),
    };
    Ok(json!({
        "build": *BUILD,
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": kernel,
        "programs": programs,
        "ledger": ledger,
        "cages": cages,
        "configured": named,
    }))
}

/// Sources as `GET /admin/api/sources` lists them: what a running daemon was asked for.
fn sources(given: &str) -> Result<Vec<(SourceId, SourceConfig)>, String> {
    let all: Vec<Value> = serde_json::from_str(given).map_err(|e| format!("--sources: {e}"))?;
    let one = |source: &Value| -> Option<(SourceId, SourceConfig)> {
        let id = SourceId::parse(source["id"].as_str()?).ok()?;
        let config = SourceConfig {
            kind: source["kind"].as_str()?.to_owned(),
            label: String::new(),
            enabled: source["enabled"].as_bool().unwrap_or(true),
            route: source["route"].clone(),
            secret_ref: source["secretRef"].as_str().map(str::to_owned),
            ask: false,
            provenance: plexus_protocol::Provenance::Managed,
            hide: serde_json::from_value(source["hide"].clone()).unwrap_or_default(),
            lent: None,
        };
        Some((id, config))
    };
    Ok(all.iter().filter_map(one).collect())
}

/// The ledger as it lies there.
struct LedgerAtRest {
    said: Value,
    sources: Vec<(SourceId, SourceConfig)>,
}

impl LedgerAtRest {
    fn only(said: Value) -> Self {
        let sources = Vec::new();
        Self { said, sources }
    }
}

/// Checks the whole ledger on a copy in a new folder in `place`, and reads the sources from that: what lies there is
/// read and not touched.
fn at_rest(home: &Path, place: &Path) -> LedgerAtRest {
    let present = plexus_ledger::check_present(home);
    // A folder that cannot be searched is not one without a ledger.
    if present.is_ok() && matches!(home.join("ledger.redb").try_exists(), Ok(false)) {
        return LedgerAtRest::only(json!({"state": "absent"}));
    }
    match present.and_then(|()| copied(home, place)) {
        Ok(rest) => rest,
        Err(error) => {
            let state = match &error {
                OpenError::InUse => "inUse",
                OpenError::Unsure => "unsure",
                OpenError::Format { .. } => "format",
                OpenError::Gone { .. } => "gone",
                // No room for a copy says nothing of the ledger.
                error if error.is_the_systems() => "unseen",
                OpenError::Store(_) => "unreadable",
                _ => "damaged",
            };
            LedgerAtRest::only(json!({"state": state, "why": error.to_string()}))
        }
    }
}

fn copied(home: &Path, place: &Path) -> Result<LedgerAtRest, OpenError> {
    let no_room = |error| OpenError::Io {
        what: "making a copy to look at",
        error,
    };
    let dir = tempfile::tempdir_in(place).map_err(no_room)?;
    let copy = dir.path().join("ledger.redb");
    let heads = dir.path().join("audit-heads.jsonl");
    let copied = plexus_ledger::copy_at_rest(home, &copy)?;
    std::fs::write(&heads, &copied.heads).map_err(no_room)?;
    let verified = plexus_ledger::verify_file::<Trust>(&copy, Some(&heads))?;
    let mut options = Options::new(Arc::new(|| 0));
    options.ballast = 0;
    let (ledger, _) = Ledger::open(dir.path(), options)?;
    let state = ledger.snapshot();
    ledger.close();
    let of = |source: &Arc<plexus_trust::Source>| (source.id.clone(), source.config.clone());
    Ok(LedgerAtRest {
        sources: state.sources.values().map(of).collect(),
        said: json!({
            "state": "sound",
            "events": verified.events, "archives": verified.archives,
            "latest": Timestamp(verified.head.at),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_ledger_at_rest_is_looked_at_and_left_as_it_lies() {
        let (live, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = tempfile::tempdir().unwrap();
        let state = |place: &Path| at_rest(home.path(), place).said["state"].take();
        assert_eq!(state(place.path()), "absent");
        // As a kill leaves it: it is to be repaired.
        let (ledger, _) = Ledger::open(live.path(), Options::new(Arc::new(|| 1))).unwrap();
        let file = home.path().join("ledger.redb");
        fs::copy(live.path().join("ledger.redb"), &file).unwrap();
        ledger.close();
        let found = fs::read(&file).unwrap();
        assert_eq!(state(place.path()), "sound");
        let held = plexus_ledger::hold_closed(home.path()).unwrap();
        assert_eq!(state(place.path()), "inUse");
        drop(held);
        fs::write(home.path().join("ledger.unsure"), "").unwrap();
        assert_eq!(state(place.path()), "unsure");
        fs::remove_file(home.path().join("ledger.unsure")).unwrap();
        let no_place = place.path().join("none");
        assert_eq!(state(&no_place), "unseen");
        assert_eq!(at_rest(&file, place.path()).said["state"], "unseen");
        let heads = home.path().join("audit-heads.jsonl");
        fs::write(&heads, "{\"seq\":1,\"hash\":\"\"}\n").unwrap();
        fs::rename(&file, home.path().join("aside")).unwrap();
        assert_eq!(state(place.path()), "gone");
        fs::rename(home.path().join("aside"), &file).unwrap();
        fs::remove_file(heads).unwrap();
        assert!(fs::read(&file).unwrap() == found, "it was changed");
        assert_eq!(
            fs::read_dir(place.path()).unwrap().count(),
            0,
            "left behind"
        );
        fs::write(&file, vec![b'x'; 20_000]).unwrap();
        assert_eq!(state(place.path()), "unreadable");
    }
}
