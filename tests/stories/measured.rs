//! `/metrics`: the page names what there is, and each figure moves when what it counts happens.

use crate::house::{COUNT, House, Workshop};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use plexus_tests::agent::handshake;
use plexus_tests::log_lines::rows;
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Client, Gateway, Owner};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;

/// Figures that a story cannot move at will, and what shows them instead.
const ELSEWHERE: [(&str, &str); 8] = [
    // Constant for a build, and for a limit.
    ("plexus_build_info", "here: it is 1"),
    ("process_max_fds", "here: it is what the limit says"),
    // A queue is gone when one looks: the ledger's own tests hold its length.
    ("plexus_ledger_queue", "record::a_full_lane_says_busy"),
    // A disk that is full.
    ("plexus_ledger_unrecorded_total", FULL_DISK),
    ("plexus_ledger_ballast_bytes", FULL_DISK),
    ("plexus_ledger_condition", FULL_DISK),
    // It grows by large steps.
    ("plexus_ledger_file_bytes", "here: it is the file's length"),
    (
        "plexus_sources_resting",
        "measured::a_source_whose_grants_rest_is_counted",
    ),
];

const FULL_DISK: &str =
    "full_disk::an_agent_that_fills_the_disk_does_not_keep_the_owner_from_acting";

/// What a scrape says: each series with its value, and each family with its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape {
    series: BTreeMap<String, f64>,
    families: BTreeMap<String, String>,
}

impl Scrape {
    pub(crate) fn of(owner: &Client) -> Self {
        let reply = owner.get("/metrics");
        reply.expect_status(200);
        assert_eq!(
            reply.header("content-type"),
            Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        let text = reply.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(about) = line.strip_prefix("# TYPE ") {
                let (name, kind) = about.split_once(' ').expect("a name and a type");
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let family = format!("{name}{suffix}");
                assert!(
                    scrape.families.insert(family, kind.into()).is_none(),
                    "{line}"
                );
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let value: f64 = value.parse().expect("a number");
                assert!(
                    scrape.series.insert(series.into(), value).is_none(),
                    "{line}"
                );
            }
        }
        scrape
    }

    /// The value of a series.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        let Some(found) = self.series.get(series) else {
            panic!("no {series} in {:#?}", self.series);
        };
        *found
    }

    fn family(&self, series: &str) -> String {
        let name = series.split('{').next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .filter(|base| {
                self.families
                    .get(*base)
                    .is_some_and(|kind| kind == "histogram")
            });
        base.unwrap_or(name).to_owned()
    }

    /// The families of which a series has another value now.
    fn moved(&self, before: &Self) -> BTreeSet<String> {
        let changed = self
            .series
            .iter()
            .filter(|(series, value)| before.series.get(*series) != Some(value));
        changed.map(|(series, _)| self.family(series)).collect()
    }
}

/// Labels are words of closed lists: no series has anything of an agent, a source or a path in it.
#[track_caller]
fn is_bounded(scrape: &Scrape) {
    assert!(scrape.series.len() < 400, "{} series", scrape.series.len());
    for series in scrape.series.keys() {
        for word in ["one", "fixture", "workspace", "127.0.0.1", "/"] {
            let quoted = format!("\"{word}");
            assert!(!series.contains(&quoted), "{series}");
        }
    }
}

#[test]
fn the_page_names_what_there_is() {
    let house = House::open();
    house
        .gateway
        .client()
        .get("/metrics")
        .expect_error(401, "unauthorized");
    let scrape = Scrape::of(&house.owner().client);
    let page = rows("figures");
    let paged: BTreeMap<&str, &str> = page
        .iter()
        .map(|(name, kind)| (name.as_str(), kind.as_str()))
        .collect();
    let real: BTreeMap<&str, &str> = scrape
        .families
        .iter()
        .map(|(name, kind)| (name.as_str(), kind.as_str()))
        .collect();
    assert_eq!(paged, real, "page (left) and route (right)");
    is_bounded(&scrape);
    let version = env!("CARGO_PKG_VERSION");
    let os = std::env::consts::OS;
    let build = format!("plexus_build_info{{version=\"{version}\",os=\"{os}\"}}");
    assert!((scrape.value(&build) - 1.0).abs() < f64::EPSILON);
    assert!(scrape.value("process_max_fds") >= 256.0);
    let file = std::fs::metadata(house.gateway.state().join("ledger.redb")).expect("the file");
    let said = scrape.value("plexus_ledger_file_bytes");
    assert!(
        said > 0.0 && said.to_string() == file.len().to_string(),
        "{said}"
    );
}

/// One story in which everything happens that is counted.
#[test]
fn each_figure_moves() {
    let gateway = Gateway::builder().fixture().start();
    let first = Scrape::of(&gateway.owner().client);
    let mut workshop = Workshop::over(gateway);
    let mut moved = BTreeSet::new();
    let look = |workshop: &Workshop, moved: &mut BTreeSet<String>, last: &Scrape| {
        let scrape = Scrape::of(
            &Owner::new(&workshop.gateway.owner_socket(), &workshop.gateway.key()).client,
        );
        moved.extend(scrape.moved(last));
        scrape
    };

    // Calls, what waits, what is refused.
    let (agent, writer) = (workshop.reader("one"), workshop.writer("two"));
    agent.must("fixture.echo", json!({"text": "x"}));
    assert_eq!(
        agent
            .invoke("fixture.fail", json!({"reason": "not_found"}))
            .at("/ok"),
        false
    );
    writer.must(COUNT, json!({"line": "1"}));
    let last = look(&workshop, &mut moved, &first);
    for (series, most) in [
        ("plexus_calls_total{kind=\"read\",outcome=\"ok\"}", 1.0),
        ("plexus_calls_total{kind=\"read\",outcome=\"failed\"}", 1.0),
        ("plexus_calls_total{kind=\"effect\",outcome=\"ok\"}", 1.0),
        ("plexus_call_duration_seconds_count{kind=\"read\"}", 2.0),
        ("plexus_ledger_condition{condition=\"open\"}", 1.0),
        ("plexus_workers{state=\"ready\"}", 2.0),
    ] {
        let value = last.value(series);
        assert!((value - most).abs() < 0.5, "{series}: {value}");
    }
    let item = agent.must_ask(COUNT, json!({"line": "2"}));
    until_true("the item to be a second old", || {
        let scrape = Scrape::of(&workshop.owner().client);
        scrape.value("plexus_items_oldest_seconds{state=\"pending\"}") >= 1.0
    });
    let last = look(&workshop, &mut moved, &last);
    assert!(last.value("plexus_refusals_total{code=\"approval_required\"}") > 0.0);
    workshop.owner().approve(&item, "once");
    let last = look(&workshop, &mut moved, &last);
    assert!(last.value("plexus_items{state=\"approved\"}") > 0.0);

    // Under way, and of which nobody knows the end.
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| writer.invoke(COUNT, json!({"line": "3", "wait": 400})));
        until("an effect under way", || {
            let scrape = Scrape::of(&workshop.owner().client);
            let seen = ["plexus_effects_under_way", "plexus_calls_under_way"]
                .iter()
                .all(|name| scrape.value(name) > 0.0);
            seen.then(|| moved.extend(scrape.moved(&last)))
        });
        slow.join().expect("its end").expect_ok();
    });
    let lost = writer.invoke(COUNT, json!({"line": "4", "die": "after"}));
    assert_eq!(lost.at("/error/code"), "outcome_unknown", "{lost}");
    let last = look(&workshop, &mut moved, &last);
    assert!(last.value("plexus_calls_total{kind=\"effect\",outcome=\"unknown\"}") > 0.0);
    assert!(last.value("plexus_effects_unsettled") > 0.0);
    assert!(last.value("plexus_worker_ends_total{wanted=\"no\"}") > 0.0);

    // Bounds, wrong credentials, the owner's pause.
    workshop
        .owner()
        .limit("one", json!({"callsPerSecond": 1}))
        .expect_ok();
    until_true("the bound", || {
        let reply = agent.invoke("fixture.echo", json!({"text": "x"}));
        reply.status == 429
    });
    let wrong = format!("plx_agent_{}", "Q".repeat(43));
    let client = workshop.gateway.client();
    // Each waits for its answer, all of them together.
    let statuses: BTreeSet<u16> = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..80)
            .map(|_| scope.spawn(|| handshake(&client, &wrong).status))
            .collect();
        guesses
            .into_iter()
            .map(|guess| guess.join().expect("an answer"))
            .collect()
    });
    assert!(statuses.contains(&429), "{statuses:?}");
    workshop
        .owner()
        .must_post("/admin/api/pause", json!({"on": true}));
    let last = look(&workshop, &mut moved, &last);
    assert!(last.value("plexus_agent_limited_total{bound=\"calls\"}") > 0.0);
    assert!(last.value("plexus_credential_failures_total{credential=\"pat\"}") >= 80.0);
    assert!(last.value("plexus_credential_throttles_total{credential=\"pat\"}") > 0.0);
    assert!((last.value("plexus_paused") - 1.0).abs() < 0.5);

    // More connections than there are places.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    let port = workshop.gateway.port();
    let crowd: Vec<_> = (0..1_100)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok())
        .collect();
    until_true("somebody to make room", || {
        let scrape = look(&workshop, &mut moved, &last);
        scrape.value("plexus_connections_evicted_total") > 0.0
    });
    drop(crowd);

    // A source that does not open, and another launch, without a cage for it.
    workshop
        .owner()
        .must_post("/admin/api/pause", json!({"on": false}));
    workshop.folder.write("unopenable", "");
    assert!(workshop.gateway.stop().success());
    let builder = Gateway::builder().fixture();
    workshop
        .gateway
        .start_again_as(builder.arg("--unsandboxed-i-understand").arg("fixture"));
    workshop
        .owner()
        .limit("one", json!({"callsPerSecond": "default"}))
        .expect_ok();
    let agent = workshop.back(&agent);
    let refused = agent.invoke("fixture.echo", json!({"text": "x"}));
    assert_eq!(refused.at("/error/code"), "source_unavailable", "{refused}");
    until_true("a second of uptime", || {
        let scrape = look(&workshop, &mut moved, &last);
        scrape.value("plexus_uptime_seconds") >= 1.0
    });
    let last = look(&workshop, &mut moved, &last);
    assert!(last.value("plexus_worker_starts_total{result=\"failed\"}") > 0.0);
    assert!((last.value("plexus_sources_unsandboxed") - 1.0).abs() < 0.5);
    is_bounded(&last);

    let elsewhere: BTreeSet<_> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    let page = rows("figures");
    let still: Vec<_> = page
        .keys()
        .filter(|name| !moved.contains(*name) && !elsewhere.contains(name.as_str()))
        .collect();
    assert!(still.is_empty(), "nothing moved {still:#?}");
}

/// Grants that rest are something to look at: the figure says so.
#[test]
fn a_source_whose_grants_rest_is_counted() {
    let (house, _reader) = House::with_reader("one");
    let resting = || Scrape::of(&house.owner().client).value("plexus_sources_resting");
    let hide = |body: serde_json::Value| {
        let path = "/admin/api/sources/obsidian/hide";
        house.owner().post(path, body).expect_ok();
    };
    hide(json!({"globs": ["Secret*"]}));
    assert!(resting() < 0.5);
    hide(json!({"globs": ["Secret*"], "remove": true}));
    assert!((resting() - 1.0).abs() < 0.5);
}
