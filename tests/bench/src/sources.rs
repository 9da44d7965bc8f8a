//! What the connectors to apps and servers cost, each beside the bare thing: a client of the same server, `curl`, ripgrep.
//!
//! Rounds are paired: ours and the bare one take turns, and the middle one of each counts.

#[path = "../../stories/obsidian_rest/app.rs"]
mod app;
#[path = "../../../workers/caldav/tests/radicale.rs"]
mod radicale;

use crate::figures::Figures;
use crate::life::{middle, ms, resident};
use anyhow::{Context as _, Result, ensure};
use app::plugin::{KEY, Plugin};
use plexus_conformance::served::{Setting, Worker, output};
use plexus_ipc::message::Role;
use plexus_tests::{Agent, Folder, Gateway};
use plexus_worker_apple_calendar::{AppleCalendarSource, MANIFEST};
use radicale::{PASSWORD, Radicale, USER};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Rounds of each pair.
const ROUNDS: usize = 9;
/// Notes of the vault that is searched, and bytes of each: 50 MB in all.
const NOTES: usize = 5_000;
const NOTE: usize = 10_000;
/// What is looked for: it is in one note of a hundred.
const NEEDLE: &str = "heliotrope";
/// A read of each connector that is started cold.
const READS: [(&str, &str); 5] = [
    ("apple-calendar", "apple-calendar.calendars.list"),
    ("apple-reminders", "apple-reminders.lists.list"),
    ("things", "things.areas.list"),
    ("caldav", "caldav.calendars.list"),
    ("obsidian-rest", "obsidian-rest.vault.list"),
];

/// All of it.
pub(crate) fn measure(into: &mut Figures) -> Result<()> {
    events(into)?;
    let mut desk = Desk::open()?;
    desk.month(into)?;
    desk.read(into)?;
    desk.starts(into)?;
    drop(desk);
    search(into)
}

/// 10,000 events of the fake Calendar, in pages of 1,000, from a worker that is served in this process.
fn events(into: &mut Figures) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let times = runtime.block_on(async {
        let setting = Setting {
            config: json!({"further": 10_000}),
            ..Setting::default()
        };
        let mut worker =
            Worker::set_up::<AppleCalendarSource>(MANIFEST, &setting, Role::Reader).await;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let (mut events, mut next) = (0, Value::Null);
            loop {
                let mut input = json!({"start": "2026-06-01", "end": "2026-07-01", "limit": 1000});
                if !next.is_null() {
                    input["next"] = next;
                }
                let page = output(&worker.read("events.list", input).await);
                events += page["events"].as_array().map_or(0, Vec::len);
                next = page["next"].clone();
                if next.is_null() {
                    break;
                }
            }
            times.push(began.elapsed().as_secs_f64() * 1e3);
            ensure!(events >= 10_000, "only {events} events");
        }
        worker.stop().await;
        anyhow::Ok(times)
    });
    into.set("events/pages/ms", middle(times?));
    Ok(())
}

/// A gateway with every connector that is measured, and what is behind them.
struct Desk {
    gateway: Gateway,
    agent: Agent,
    server: Radicale,
    app: Plugin,
    _secrets: Folder,
}

impl Desk {
    fn open() -> Result<Self> {
        let server = Radicale::start();
        server.calendar("work", "Work", &["VEVENT"]);
        let put = server.request(
            "PUT",
            "/me/work/",
            &["Content-Type: text/calendar"],
            &month(),
        );
        ensure!(put.status == 201, "{put:?}");
        let app = Plugin::wrapped(app::tls(&["app.pem"], "app.key"));
        app.fill(&[("note.md", &"a line of a note\n".repeat(60))]);
        let gateway = Gateway::builder()
            .env("PLEXUS_FAKE_APPLE", "offered")
            .start();
        let secrets = Folder::empty();
        secrets.write("password", PASSWORD).write("key", KEY);
        let secret =
            |name: &str, file: &str| format!("{name}={}", secrets.path().join(file).display());
        let (url, user) = (format!("url={}", server.url()), format!("user={USER}"));
        let base = format!("baseUrl=https://127.0.0.1:{}", app.port);
        let pin = format!("certificate={}", app::fingerprint("app.pem"));
        let (password, key) = (secret("password", "password"), secret("apiKey", "key"));
        #[rustfmt::skip]
        let rows = [
            &["apple-calendar"][..],
            &["apple-reminders"],
            &["things-app", "--id", "things"],
            &["caldav-account", "--id", "caldav", "--set", &url, "--set", &user, "--secret", &password],
            &["obsidian-rest", "--set", &base, "--set", &pin, "--secret", &key],
        ];
        for line in rows {
            gateway.must_cli([&["sources", "add"], line].concat());
        }
        let mut reads = READS.map(|(_, read)| read).to_vec();
        reads.extend(["caldav.events.list", "obsidian-rest.vault.read"]);
        let agent = gateway.agent_with("bench", &reads);
        Ok(Self {
            gateway,
            agent,
            server,
            app,
            _secrets: secrets,
        })
    }

    /// A month of 2,000 events, whole, beside one question of a client that parses nothing; and once more without a change.
    fn month(&self, into: &mut Figures) -> Result<()> {
        let question = "<C:calendar-query xmlns=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><prop><getetag/><C:calendar-data/></prop><C:filter><C:comp-filter name=\"VCALENDAR\">\
            <C:comp-filter name=\"VEVENT\"><C:time-range start=\"20261031T000000Z\" end=\"20261202T000000Z\"/></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>";
        let (mut bare, mut whole, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Another client changes the calendar, outside of the month: what is kept of it is of no use.
            let lines = format!("UID:other\nDTSTART:20260101T000000Z\nSUMMARY:{round}");
            self.server.put("work/other.ics", "VEVENT", &lines);
            bare.push(ms(|| {
                let answer = self
                    .server
                    .request("REPORT", "/me/work/", &["Depth: 1"], question);
                let events = answer.body.matches("BEGIN:VEVENT").count();
                ensure!(events == 2_000, "{events} events");
                Ok(())
            })?);
            let list = || {
                let input = json!({"start": "2026-11-01", "end": "2026-12-01", "limit": 2000});
                let told = self.agent.invoke("caldav.events.list", input).expect_ok();
                let events = told["output"]["events"].as_array().map_or(0, Vec::len);
                ensure!(events == 2_000, "{events} events");
                Ok(())
            };
            whole.push(ms(list)?);
            again.push(ms(list)?);
        }
        into.set("caldav/bare/ms", middle(bare));
        into.set("caldav/month/ms", middle(whole));
        into.set("caldav/again/ms", middle(again));
        Ok(())
    }

    /// One note, beside `curl` with the same certificate.
    fn read(&self, into: &mut Figures) -> Result<()> {
        let url = format!("https://127.0.0.1:{}/vault/note.md", self.app.port);
        let bearer = format!("Authorization: Bearer {KEY}");
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS * 4 {
            bare.push(ms(|| {
                let mut curl = Command::new("curl");
                let curl = curl.args(["-s", "-S", "-f", "-k", "-H", &bearer, &url]);
                let said = curl.output().context("curl")?;
                ensure!(said.status.success() && said.stdout.len() > 500, "{said:?}");
                Ok(())
            })?);
            ours.push(ms(|| {
                let input = json!({"path": "note.md"});
                self.agent
                    .invoke("obsidian-rest.vault.read", input)
                    .expect_ok();
                Ok(())
            })?);
        }
        into.set("obsidian-rest/curl/ms", middle(bare));
        into.set("obsidian-rest/read/ms", middle(ours));
        Ok(())
    }

    /// From a call that finds no worker to its answer, and what the worker holds then.
    fn starts(&mut self, into: &mut Figures) -> Result<()> {
        for (source, read) in READS {
            let (mut times, mut held) = (Vec::new(), 0.0_f64);
            for _ in 0..ROUNDS {
                ensure!(self.gateway.stop().success(), "a clean stop");
                self.gateway.start_again();
                let client = self.gateway.client();
                self.agent = Agent::with_pat(&client, &self.agent.id, &self.agent.pat);
                ensure!(self.gateway.workers().is_empty(), "a worker runs already");
                times.push(ms(|| {
                    self.agent.invoke(read, json!({})).expect_ok();
                    Ok(())
                })?);
                for worker in self.gateway.workers() {
                    // The way to the network is a process of its own.
                    if "plexus-worker-".starts_with(&worker.name[..worker.name.len().min(14)]) {
                        held = held.max(resident(worker.pid)?);
                    }
                }
            }
            into.set(&format!("start/{source}/ms"), middle(times));
            into.set(&format!("start/{source}/MB"), held);
        }
        Ok(())
    }
}

/// 2,000 events of one month, with notes.
fn month() -> String {
    let mut all = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//another//client//EN\r\n".to_owned();
    for at in 0..2_000 {
        let _ = write!(
            all,
            "BEGIN:VEVENT\r\nUID:e{at}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:202611{:02}T{:02}0000Z\r\nDURATION:PT30M\r\nSUMMARY:Event {at}\r\nDESCRIPTION:{}\r\nEND:VEVENT\r\n",
            at % 30 + 1,
            at % 24,
            "notes ".repeat(20),
        );
    }
    all.push_str("END:VCALENDAR\r\n");
    all
}

/// A search of a large vault: by a worker that has just started and by one that has read it before, beside ripgrep where
/// it is installed. The files are in the system's cache for all of them.
fn search(into: &mut Figures) -> Result<()> {
    let vault = Folder::empty();
    let words = "the quick brown fox jumps over a lazy dog beside the river ";
    for n in 0..NOTES {
        let mut text = format!("---\ntags: [t{}]\n---\n# Note {n}\n", n % 50);
        while text.len() < NOTE {
            text.push_str(words);
            if text.len() % 7 == 0 {
                text.push('\n');
            }
        }
        if n % 100 == 0 {
            let _ = writeln!(text, "\nHere is the {NEEDLE} of note {n}.");
        }
        vault.write(&format!("folder {}/note {n}.md", n % 40), text);
    }
    let mut gateway = Gateway::builder().vault(&vault.path()).start();
    let mut agent = gateway.agent_with("bench", &["obsidian.vault.search"]);
    let look = |agent: &Agent| -> Result<()> {
        let input = json!({"query": NEEDLE, "limit": 100});
        let found = agent.invoke("obsidian.vault.search", input).expect_ok();
        let hits = found["output"]["hits"].as_array().map_or(0, Vec::len);
        ensure!(hits == NOTES / 100, "{hits} hits");
        Ok(())
    };
    let has_ripgrep = Command::new("rg")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let has_ripgrep = has_ripgrep.is_ok_and(|status| status.success());
    let (mut cold, mut warm, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ensure!(gateway.stop().success(), "a clean stop");
        gateway.start_again();
        agent = Agent::with_pat(&gateway.client(), &agent.id, &agent.pat);
        cold.push(ms(|| look(&agent))?);
        warm.push(ms(|| look(&agent))?);
        if has_ripgrep {
            bare.push(ms(|| {
                let mut rg = Command::new("rg");
                let said = rg.args(["-i", "-n", NEEDLE]).arg(vault.path()).output()?;
                let lines = said.stdout.iter().filter(|byte| **byte == b'\n').count();
                ensure!(lines == NOTES / 100, "{lines} lines");
                Ok(())
            })?);
        }
    }
    into.set("search/cold/ms", middle(cold));
    into.set("search/warm/ms", middle(warm));
    if has_ripgrep {
        into.set("search/ripgrep/ms", middle(bare));
    }
    Ok(())
}
