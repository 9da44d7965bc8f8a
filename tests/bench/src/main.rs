//! What a call costs, beside what it could cost at best; and what a gateway costs that nobody calls.
//!
//! Servers take the same requests and give answers of the same size, on the same machine in the same run:
//!
//! - `handler`: a bare axum handler, the price of HTTP;
//! - `path`: the bare path: verify an HS256 token, ask a worker process in msgpack, one durable redb commit before the
//!   reply (for an effect one before the worker and one after it). Nothing of a gateway is in it;
//! - `plexusd`: the real daemon and its real workers.
//!
//! Sizes are held, not hoped for: the bare servers get a token, give an answer and commit a record as long as the
//! gateway's own.
//!
//! Rounds are interleaved, so that a busy neighbour is a neighbour of all; the best round of each cell counts. Compare
//! ratios; the figures of two machines do not compare. A promise that is not kept is a line, and the exit status 1.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are data; how far it is, and what was missed, is talk"
)]

mod agents;
mod bare;
mod console;
mod figures;
mod large;
mod life;
mod load;
mod mcp;
mod picture;
mod promises;
mod report;
mod sources;
mod world;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use figures::{Cell, Figures, interleaved, paired};
use large::Size;
use load::{Load, Target};
use promises::{PROMISES, of_pages};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use world::{Kind, World};

/// Connections at once.
const CONNECTIONS: &[usize] = &[1, 16, 64];
/// Connections of the gate: enough that both servers always have work.
const GATE_CONNECTIONS: usize = 16;
/// Rounds of the gate: the median of seven moves little when two of them meet a busy neighbour.
const GATE_ROUNDS: u32 = 7;
/// What is added to each flush of a slow disk, in µs: a Mac's full flush on Apple silicon.
const SLOW_FLUSH_US: u32 = 4_500;

/// Measure the gateway beside a bare handler and the bare path
#[derive(Parser)]
struct Arguments {
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Only these parts; all without it
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Of the calls only these kinds; all without it
    #[arg(long, value_name = "KIND")]
    kinds: Vec<Kind>,
    /// One short round and a small large home: to see that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Seconds for each cell of each round
    #[arg(long, default_value_t = 3, value_name = "S")]
    seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Make each bound so many times harder to keep: that a broken promise is a failure can be tried without breaking one
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "TIMES",
        hide = true,
        conflicts_with = "write"
    )]
    harder: f64,
    /// Do not use wrk even where it is there
    #[arg(long)]
    own_loader: bool,
    /// Put the figures into docs/performance.md and its notes, of this repository
    #[arg(long, value_name = "ROOT", conflicts_with_all = ["only", "kinds", "quick"])]
    write: Option<PathBuf>,
    #[command(subcommand)]
    server: Option<Server>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every kind of call at 1, 16 and 64 connections
    Calls,
    /// Calls where each flush takes 4.5 ms longer
    Flush,
    /// Calls, starts and memory with 50 sources, 1,000 agents, 100,000 grants, 1,000,000 events
    Growth,
    /// From start to the first answer
    Boot,
    /// Memory, processor and wake-ups
    Memory,
    /// A worker's start and memory
    Worker,
    /// Bytes of ledger for each call
    Ledger,
    /// Calendars, notes and a vault of 50 MB, each beside a bare client; only where it is named. Needs Radicale and curl
    Sources,
    /// Runs of Codex beside the bare command, with a model that is a script; only where it is named
    Agents,
    /// MCP: lists, reads by each way, tools of lent servers beside the servers alone; only where it is named
    Mcp,
    /// Each page of the console, in a home with a long past; only where it is named
    Console,
    /// Processor time of a call, in pairs with the bare path; only where it is named. What a regression is caught by
    Gate,
}

/// The servers that are measured, as processes of their own.
#[derive(Subcommand)]
enum Server {
    /// The bare handler
    #[command(hide = true)]
    Handler {
        /// Bytes of its answer
        bytes: usize,
    },
    /// The bare path
    #[command(hide = true)]
    Path(bare::PathArguments),
    /// The bare path's worker
    #[command(hide = true)]
    Worker {
        /// The socket to listen on
        socket: PathBuf,
        /// What to read, or to append to
        file: PathBuf,
        /// Which of both
        kind: bare::Kind,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.server {
        None => measure(&arguments),
        Some(Server::Handler { bytes }) => bare::serve_handler(*bytes).map(|()| true),
        Some(Server::Path(path)) => bare::serve_path(path).map(|()| true),
        Some(Server::Worker { socket, file, kind }) => {
            bare::work(socket, file, *kind).map(|()| true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("plexus-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise of the parts that ran is kept.
fn measure(arguments: &Arguments) -> Result<bool> {
    let bench = Bench::new(arguments);
    let mut figures = Figures::default();
    for (part, run) in Bench::PARTS {
        if bench.wants(*part) {
            eprintln!("measuring: {part:?}");
            run(&bench, &mut figures)?;
        }
    }
    let of_pages = of_pages();
    let judged = PROMISES.iter().chain(&of_pages);
    let report = Report {
        kept: judged
            .filter(|promise| bench.wants(promise.part))
            .map(|promise| promise.judge(&figures, arguments.harder))
            .collect(),
        figures,
        about: about(arguments, &bench.load),
    };
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    if let Some(root) = &arguments.write {
        report.write(root)?;
    }
    let missed: Vec<_> = report.kept.iter().filter(|p| !p.kept).collect();
    for p in &missed {
        eprintln!("missed: {}: {} ({})", p.what, p.value, p.bound);
    }
    Ok(missed.is_empty())
}

struct Bench {
    load: Load,
    rounds: u32,
    only: Vec<Part>,
    kinds: Vec<Kind>,
    size: Size,
    is_quick: bool,
    /// How long an idle gateway is watched.
    rest: Duration,
}

type Run = fn(&Bench, &mut Figures) -> Result<()>;

impl Bench {
    const PARTS: &[(Part, Run)] = &[
        (Part::Boot, |_, figures| life::boots(figures)),
        (Part::Calls, Self::calls),
        (Part::Flush, Self::flush),
        (Part::Memory, Self::memory),
        (Part::Worker, |_, figures| {
            life::worker_starts(figures, &mut World::new(&[])?)
        }),
        (Part::Ledger, |bench, figures| {
            life::ledger(figures, &bench.load, &mut World::new(&[])?)
        }),
        (Part::Growth, Self::growth),
        (Part::Sources, |_, figures| sources::measure(figures)),
        (Part::Agents, |_, figures| agents::measure(figures)),
        (Part::Mcp, |_, figures| mcp::measure(figures)),
        (Part::Console, |bench, figures| {
            console::measure(figures, bench.is_quick)
        }),
        (Part::Gate, Self::gate),
    ];

    fn new(arguments: &Arguments) -> Self {
        let (seconds, rounds) = match arguments.quick {
            true => (1, 1),
            false => (arguments.seconds, arguments.rounds),
        };
        Self {
            load: Load::choose(arguments.own_loader, Duration::from_secs(seconds)),
            rounds,
            only: arguments.only.clone(),
            kinds: arguments.kinds.clone(),
            size: match arguments.quick {
                true => Size::QUICK,
                false => Size::PROMISED,
            },
            is_quick: arguments.quick,
            // Two sweeps (tests/reports/performance.md#what-it-holds-what-wakes-it-what-it-writes).
            rest: Duration::from_secs(if arguments.quick { 5 } else { 60 }),
        }
    }
    fn wants(&self, part: Part) -> bool {
        let is_asked_for = matches!(
            part,
            Part::Sources | Part::Agents | Part::Mcp | Part::Console | Part::Gate
        );
        self.only.contains(&part) || self.only.is_empty() && !is_asked_for
    }

    fn calls(&self, figures: &mut Figures) -> Result<()> {
        let world = World::new(&[])?;
        let read = world.bare_path(Kind::Read, &[])?;
        let effect = world.bare_path(Kind::Effect, &[])?;
        let answer = world.once(Kind::Read).body.len();
        let handler = bare::Server::start(&["handler", &answer.to_string()], &[])?;
        let handler = Target {
            port: handler.port,
            server: handler.pid(),
            ..read.target.clone()
        };
        let mut cells = Vec::new();
        for &connections in CONNECTIONS {
            let mut cell = |kind: Kind, server: &str, target: Target| {
                if !self.kinds.is_empty() && !self.kinds.contains(&kind) {
                    return;
                }
                let name = format!("{}/{server}/{connections}", kind.name());
                cells.push(Cell {
                    name,
                    connections,
                    target,
                });
            };
            cell(Kind::Read, "handler", handler.clone());
            cell(Kind::Read, "path", read.target.clone());
            cell(Kind::Read, "plexusd", world.target(Kind::Read));
            cell(Kind::Effect, "path", effect.target.clone());
            cell(Kind::Effect, "plexusd", world.target(Kind::Effect));
            for kind in [Kind::Write, Kind::Pending, Kind::Discovery, Kind::Refused] {
                cell(kind, "plexusd", world.target(kind));
            }
        }
        interleaved(figures, &self.load, self.rounds, &cells)
    }

    /// The bare path and the gateway by turns: in each round both within seconds of each other, so that a slow hour of the
    /// machine is one of both.
    fn gate(&self, figures: &mut Figures) -> Result<()> {
        let world = World::new(&[])?;
        let mut cells = Vec::new();
        let mut paths = Vec::new();
        for kind in [Kind::Read, Kind::Effect] {
            let path = world.bare_path(kind, &[])?;
            let cell = |server: &str, target: Target| Cell {
                name: format!("{}/{server}", kind.name()),
                connections: GATE_CONNECTIONS,
                target,
            };
            let bare = cell("path", path.target.clone());
            let gateway = cell("plexusd", world.target(kind));
            cells.push((format!("gate/{}", kind.name()), bare, gateway));
            paths.push(path);
        }
        paired(figures, &self.load, GATE_ROUNDS, &cells)
    }

    fn flush(&self, figures: &mut Figures) -> Result<()> {
        let slow = slow_flush()?;
        let world = World::new(&slow)?;
        let mut cells = Vec::new();
        let mut paths = Vec::new();
        for kind in [Kind::Read, Kind::Effect] {
            let path = world.bare_path(kind, &slow)?;
            for connections in [1, 64] {
                for (server, target) in [
                    ("path", path.target.clone()),
                    ("plexusd", world.target(kind)),
                ] {
                    cells.push(Cell {
                        name: format!("slow-{}/{server}/{connections}", kind.name()),
                        connections,
                        target,
                    });
                }
            }
            paths.push(path);
        }
        interleaved(figures, &self.load, self.rounds, &cells)
    }

    fn memory(&self, figures: &mut Figures) -> Result<()> {
        let mut world = World::new(&[])?;
        life::idle(figures, &mut world, "small", self.rest)?;
        life::after_load(figures, &self.load, &world, "small")
    }

    fn growth(&self, figures: &mut Figures) -> Result<()> {
        let small = World::new(&[])?;
        let mut large = World::new(&[])?;
        large::grow(&mut large, self.size)?;
        life::restarts(figures, &mut large, "large")?;
        life::idle(figures, &mut large, "large", self.rest)?;
        let mut cells = Vec::new();
        for connections in [1, 64] {
            for kind in [
                Kind::Read,
                Kind::Effect,
                Kind::Pending,
                Kind::Discovery,
                Kind::Refused,
            ] {
                for (name, world) in [("small", &small), ("large", &large)] {
                    cells.push(Cell {
                        name: format!("{}/{name}/{connections}", kind.name()),
                        connections,
                        target: world.target(kind),
                    });
                }
            }
        }
        interleaved(figures, &self.load, self.rounds, &cells)?;
        life::after_load(figures, &self.load, &large, "large")?;
        drop((small, large));
        self.growth_on_a_slow_disk(figures)
    }

    fn growth_on_a_slow_disk(&self, figures: &mut Figures) -> Result<()> {
        let slow = slow_flush()?;
        let small = World::new(&slow)?;
        let mut large = World::new(&slow)?;
        large::grow(&mut large, self.size)?;
        let mut cells = Vec::new();
        for kind in [Kind::Read, Kind::Effect] {
            for (name, world) in [("small", &small), ("large", &large)] {
                cells.push(Cell {
                    name: format!("slow-{}/{name}/64", kind.name()),
                    connections: 64,
                    target: world.target(kind),
                });
            }
        }
        interleaved(figures, &self.load, self.rounds, &cells)
    }
}

/// The environment in which each flush takes 4.5 ms longer.
fn slow_flush() -> Result<[(String, String); 2]> {
    let library = plexus_tests::binaries::folder().join("examples/libslow_flush.so");
    ensure!(
        library.is_file(),
        "{} is missing; type: cargo build --release -p plexus-tests --examples",
        library.display()
    );
    Ok([
        (
            "LD_PRELOAD".to_owned(),
            library.to_string_lossy().into_owned(),
        ),
        ("PLEXUS_TEST_FLUSH_US".to_owned(), SLOW_FLUSH_US.to_string()),
    ])
}

/// Where and how it was measured.
fn about(arguments: &Arguments, load: &Load) -> Vec<(&'static str, String)> {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("a processor without a name", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        })
        .to_owned();
    let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = busy.split(' ').next().unwrap_or("?").to_owned();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (seconds, rounds) = match arguments.quick {
        true => (1, 1),
        false => (arguments.seconds, arguments.rounds),
    };
    vec![
        (
            "machine",
            format!(
                "{processors} × {model}, {} {}",
                std::env::consts::OS,
                kernel.trim()
            ),
        ),
        ("date", today()),
        (
            "load",
            format!(
                "{}, {rounds} interleaved rounds of {seconds} s for each cell, the best counts; it shares the processors",
                load.name()
            ),
        ),
        (
            "other work on the machine at the end",
            format!("{busy} processes ready to run, on average over a minute"),
        ),
    ]
}

/// The date in UTC.
fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
    let time = plexus_protocol::Timestamp(ms).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}
