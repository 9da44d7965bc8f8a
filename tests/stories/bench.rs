//! The bench measures and judges: a short run of its parts that need no quiet machine; at full length one of all parts. How
//! fast it all is says a run of its own.

use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::PATIENCE;
use plexus_tests::{Length, binaries, length, programs};
use serde_json::Value;
use tempfile::TempDir;

/// How many promises there are: a new one raises it.
const PROMISES: usize = 37;

/// What the ledger grows by is the same on every machine and in every build; a start and a worker are measured at least.
#[test]
#[ignore = "measures for a minute: cargo xtask test --long"]
fn a_short_run_measures_and_judges() {
    let home = TempDir::new().expect("a folder");
    let mut bench = programs::command(&binaries::path("plexus-bench"), home.path());
    bench.args(["--quick", "--json", "--own-loader"]);
    let (parts, count) = match length() {
        Length::Long => (&[][..], PROMISES),
        Length::Quick | Length::Full => (&["boot", "worker", "ledger", "memory"][..], 10),
    };
    for part in parts {
        bench.args(["--only", part]);
    }
    let said = programs::run_within(PATIENCE * 30, bench);
    let report: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let promises = report["promises"].as_array().expect("promises");
    assert_eq!(promises.len(), count, "{said}");
    for promise in promises {
        assert_ne!(promise["value"], "not measured", "{promise}");
        let of_the_ledger = promise["what"]
            .as_str()
            .is_some_and(|what| what.starts_with("ledger"));
        assert!(!of_the_ledger || promise["kept"] == true, "{promise}");
    }
    // It ends as it judges, and names each promise that it missed.
    let missed: Vec<_> = promises.iter().filter(|p| p["kept"] == false).collect();
    assert_eq!(said.status, i32::from(!missed.is_empty()), "{said}");
    assert_eq!(
        said.stderr.matches("missed: ").count(),
        missed.len(),
        "{said}"
    );
    // No gateway keeps what is a thousand times as hard.
    let mut strict = programs::command(&binaries::path("plexus-bench"), home.path());
    strict.args(["--quick", "--only", "boot", "--harder", "1000"]);
    let strict = programs::run(strict);
    strict.expect_status(1);
    assert_contains(&strict.stderr, "missed: start, empty home");
    for name in ["boot/empty/ms", "worker/start/ms", "ledger/read/bytes"] {
        let figure = report["figures"][name].as_f64();
        assert!(figure.is_some_and(|figure| figure > 0.0), "{name}: {said}");
    }
}

/// How large a page of the console may be, in bytes, and how long the quickest of its answers may take, in µs: five times what
/// a run of the bench judges, since nothing here is optimised and other stories share the machine.
const PAGE: (f64, f64) = (60_000.0, 500_000.0);

/// The console's pages, with a tenth of the past: each is measured, small, and no slower than it may be. What p95 is says a run of its own.
#[test]
fn bench_of_the_console_measures_every_page() {
    let home = TempDir::new().expect("a folder");
    let mut bench = programs::command(&binaries::path("plexus-bench"), home.path());
    bench.args(["--quick", "--json", "--own-loader", "--only", "console"]);
    let said = programs::run(bench);
    let report: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let promises = report["promises"].as_array().expect("promises");
    let figures = report["figures"].as_object().expect("figures");
    let of = |end: &str| -> Vec<(&String, f64)> {
        let of = figures.iter().filter(|(name, _)| name.ends_with(end));
        of.map(|(name, value)| (name, value.as_f64().expect("a number")))
            .collect()
    };
    let (sizes, times) = (of("/bytes"), of("/least/us"));
    assert!(sizes.len() > 30, "{said}");
    // How long another server takes to answer is nobody's promise.
    let asking = ["server", "manifest", "sign-in", "changes/{id}"];
    let asking = asking.map(|of| format!("/{of}/preview/least/us"));
    assert_eq!(
        (sizes.len() * 2 - asking.len(), sizes.len()),
        (promises.len(), times.len())
    );
    for (name, size) in sizes {
        assert!(size > 150.0 && size <= PAGE.0, "{name}: {size} bytes");
    }
    let is_own = |name: &str| asking.iter().all(|end| !name.ends_with(end));
    for (name, time) in times.into_iter().filter(|(name, _)| is_own(name)) {
        assert!(time <= PAGE.1, "{name}: {time} µs");
    }
    let missed = promises.iter().filter(|p| p["kept"] == false).count();
    assert_eq!(said.status, i32::from(missed > 0), "{said}");
    assert_eq!(said.stderr.matches("missed: ").count(), missed, "{said}");
}

/// The same of the relay's bench, at its small sizes.
#[test]
fn bench_of_channels_measures_and_judges() {
    let home = TempDir::new().expect("a folder");
    let mut bench = programs::command(&binaries::path("examples/relay_bench"), home.path());
    bench.args(["--quick", "--json"]);
    let parts = ["crypto", "gap", "sockets", "herd", "directory", "growth"];
    let (parts, count) = match length() {
        Length::Long => (&[][..], 15),
        Length::Quick | Length::Full => (&parts[..], 11),
    };
    for part in parts {
        bench.args(["--only", part]);
    }
    let said = programs::run(bench);
    let report: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let targets = report["targets"].as_array().expect("targets");
    assert_eq!(targets.len(), count, "{said}");
    for target in targets {
        assert_ne!(target["value"], "not measured", "{target}");
    }
    // Small sizes are called what they are.
    assert_eq!(targets[1]["what"], "reconnect with a gap of 400 messages");
    let missed = targets.iter().filter(|t| t["met"] == false).count();
    assert_eq!(said.status, i32::from(missed > 0), "{said}");
    assert_eq!(said.stderr.matches("missed: ").count(), missed, "{said}");
    for figure in [
        "gap/ms",
        "sockets/MB",
        "herd/s",
        "directory/first/s",
        "growth/full/messages",
    ] {
        let value = report["figures"][figure].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{figure}: {said}");
    }
}
