//! What a call costs, beside what it could cost at best.
//!
//! Three servers take the same request and give an answer of the same size, on the same machine in the same run:
//!
//! - `handler`: a bare axum handler, the price of HTTP;
//! - `path`: the bare path: verify an HS256 token, ask a worker process in msgpack, one durable redb commit before the
//!   reply. Nothing of a gateway is in it;
//! - `plexusd`: the real daemon, its real worker, a read of a note of 1 KiB with its record.
//!
//! Sizes are held, not hoped for: the bare servers get a token and give an answer as long as the gateway's own.
//!
//! Rounds are interleaved, so that a busy neighbour is a neighbour of all three; the best round of each cell counts.
//! Compare ratios; the figures of two machines do not compare.
#![expect(clippy::print_stdout, reason = "the figures are data")]

mod bare;
mod load;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use load::{Load, Measured, Target};
use plexus_tests::{Client, Folder, Gateway, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Connections at once.
const CONNECTIONS: &[usize] = &[1, 16, 64];
/// What is called: a note by its exact path, with a token.
const READ: &str = "obsidian.vault.read";
/// Starts on a known home; the quickest counts.
const BOOTS: usize = 5;
/// Bytes by which the answers and tokens of two servers may differ.
const SLACK: usize = 16;
/// The servers, cheapest first.
const SERVERS: &[&str] = &["handler", "path", "plexusd"];

/// Measure the gateway beside a bare handler and the bare path
#[derive(Parser)]
struct Arguments {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Seconds for each cell of each round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Do not use wrk even where it is there
    #[arg(long)]
    own_loader: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The servers that are measured, as processes of their own.
#[derive(Subcommand)]
enum Part {
    /// The bare handler
    #[command(hide = true)]
    Handler {
        /// Bytes of its answer
        bytes: usize,
    },
    /// The bare path
    #[command(hide = true)]
    Path {
        /// A folder of its own
        folder: std::path::PathBuf,
    },
    /// The bare path's worker
    #[command(hide = true)]
    Worker {
        /// The socket to listen on
        socket: std::path::PathBuf,
        /// The note to read for every call
        note: std::path::PathBuf,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.part {
        None => measure(&arguments),
        Some(Part::Handler { bytes }) => bare::serve_handler(*bytes),
        Some(Part::Path { folder }) => bare::serve_path(folder),
        Some(Part::Worker { socket, note }) => bare::work(socket, note),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let folder = Folder::empty();
    folder.write("note.md", note());
    let (mut gateway, fresh_home) = booted(|| Gateway::builder().vault(&folder.path()).start());
    let mut known_home = Duration::MAX;
    for _ in 0..BOOTS {
        ensure!(gateway.stop().success(), "the gateway did not stop cleanly");
        let took;
        (gateway, took) = booted(|| {
            gateway.start_again();
            gateway
        });
        known_home = known_home.min(took);
    }
    let agent = gateway.agent_with("bench", &[READ]);
    // What one agent may do is no part of what is measured.
    let most = json!({"callsPerSecond": 1_000_000, "ledgerBytesPerDay": 1_u64 << 40});
    gateway.owner().limit("bench", most).expect_ok();
    let token = agent.token(&[READ]);
    let token = token["token"].as_str().context("no token")?.to_owned();
    let body = json!({"id": READ, "input": {"path": "note.md"}});
    let first = agent.bearing(&token).post("/invoke", body.clone());
    first.expect_ok();
    let answer = first.body.len();

    let handler = bare::Server::start(&["handler", &answer.to_string()])?;
    let path_folder = Folder::empty();
    path_folder.write("note.md", note());
    let path = bare::Server::start(&["path", &path_folder.path().to_string_lossy()])?;
    let bare_token = bare::token(token.len());
    for server in [&handler, &path] {
        let bare = bare_answer(server.port, &bare_token, &body)?;
        ensure!(
            bare.abs_diff(answer) <= SLACK && bare_token.len().abs_diff(token.len()) <= SLACK,
            "unlike is compared: answers of {bare} and {answer} bytes, tokens of {} and {}",
            bare_token.len(),
            token.len()
        );
    }
    let port = |server: &str| match server {
        "handler" => handler.port,
        "path" => path.port,
        _ => gateway.port(),
    };
    let bearer = |server: &str| match server {
        "plexusd" => token.clone(),
        _ => bare_token.clone(),
    };

    let load = Load::choose(arguments.own_loader, Duration::from_secs(arguments.seconds));
    let mut best: BTreeMap<(usize, &str), Measured> = BTreeMap::new();
    for round in 0..arguments.rounds {
        for &connections in CONNECTIONS {
            for &server in SERVERS {
                let target = Target {
                    port: port(server),
                    bearer: bearer(server),
                    body: body.to_string(),
                };
                let seen = load.run(&target, connections).with_context(|| {
                    format!("{server} with {connections} connections, round {round}")
                })?;
                ensure!(
                    seen.refused == 0,
                    "{server} refused {} calls: {seen:?}",
                    seen.refused
                );
                let cell = best.entry((connections, server)).or_insert(seen);
                if seen.per_second > cell.per_second {
                    *cell = seen;
                }
            }
        }
    }
    let workers: u64 = gateway
        .workers()
        .iter()
        .filter_map(|worker| resident_kib(worker.pid))
        .sum();
    let report = Report {
        best,
        loader: load.name(),
        resident_kib: resident_kib(gateway.pid()).unwrap_or_default(),
        workers_kib: workers,
        fresh_home,
        known_home,
    };
    if arguments.json {
        println!("{}", report.json());
    } else {
        report.print();
    }
    Ok(())
}

/// A gateway, and the time from its start to its first answer.
fn booted(start: impl FnOnce() -> Gateway) -> (Gateway, Duration) {
    let began = Instant::now();
    let gateway = start();
    gateway.client().get("/.well-known/plexus").expect_ok();
    (gateway, began.elapsed())
}

/// How long the body of a bare server's answer is.
fn bare_answer(port: u16, token: &str, body: &Value) -> Result<usize> {
    let client = Client::tcp(port).with("authorization", &format!("Bearer {token}"));
    let request = client.request("POST", "/invoke").json(body.clone());
    let answer = client.raw(&request.bytes_on_wire());
    let answer = Response::parse("a bare server", &answer).context("a bare server said nothing")?;
    ensure!(answer.status == 200, "{answer}");
    Ok(answer.body.len())
}

/// 1 KiB of text.
fn note() -> String {
    let mut note = "one word, one meaning\n".repeat(47);
    note.truncate(1024);
    note
}

/// Memory that a process holds now; `None` where the system does not say.
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

struct Report {
    best: BTreeMap<(usize, &'static str), Measured>,
    loader: &'static str,
    resident_kib: u64,
    workers_kib: u64,
    fresh_home: Duration,
    known_home: Duration,
}

impl Report {
    fn ratio(&self, connections: usize, of: &str, to: &str) -> f64 {
        let of = self
            .best
            .iter()
            .find(|((c, s), _)| *c == connections && *s == of);
        let to = self
            .best
            .iter()
            .find(|((c, s), _)| *c == connections && *s == to);
        match (of, to) {
            (Some((_, of)), Some((_, to))) if to.per_second > 0.0 => of.per_second / to.per_second,
            _ => 0.0,
        }
    }
    fn json(&self) -> Value {
        let cells: Vec<Value> = self
            .best
            .iter()
            .map(|((connections, server), seen)| {
                json!({
                    "server": server,
                    "connections": connections,
                    "perSecond": seen.per_second.round(),
                    "p50Us": seen.p50.as_micros(),
                    "p99Us": seen.p99.as_micros(),
                })
            })
            .collect();
        let ratios: Vec<Value> = CONNECTIONS
            .iter()
            .map(|connections| {
                json!({
                    "connections": connections,
                    "plexusdToPath": self.ratio(*connections, "plexusd", "path"),
                    "plexusdToHandler": self.ratio(*connections, "plexusd", "handler"),
                })
            })
            .collect();
        json!({
            "loader": self.loader,
            "cells": cells,
            "ratios": ratios,
            "residentKiB": {"plexusd": self.resident_kib, "workers": self.workers_kib},
            "bootMs": {
                "freshHome": self.fresh_home.as_millis(),
                "knownHome": self.known_home.as_millis(),
            },
        })
    }
    fn print(&self) {
        println!("loaded by {}; best of the rounds\n", self.loader);
        println!(
            "{:>5}  {:<8} {:>9} {:>9} {:>9}  {:>9} {:>10}",
            "conns", "server", "calls/s", "p50 µs", "p99 µs", "of path", "of handler"
        );
        for ((connections, server), seen) in &self.best {
            println!(
                "{connections:>5}  {server:<8} {:>9.0} {:>9} {:>9}  {:>8.0}% {:>9.0}%",
                seen.per_second,
                seen.p50.as_micros(),
                seen.p99.as_micros(),
                100.0 * self.ratio(*connections, server, "path"),
                100.0 * self.ratio(*connections, server, "handler"),
            );
        }
        println!(
            "\nmemory: plexusd {:.1} MiB, its workers {:.1} MiB",
            self.resident_kib as f64 / 1024.0,
            self.workers_kib as f64 / 1024.0
        );
        println!(
            "from start to the first answer of discovery: {} ms on a fresh home, {} ms on a known one",
            self.fresh_home.as_millis(),
            self.known_home.as_millis()
        );
    }
}
