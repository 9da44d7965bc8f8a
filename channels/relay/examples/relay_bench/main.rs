//! How fast a relay is and how far it grows, with the program as it is shipped: `cargo xtask bench channels`.
//!
//! One run measures a relay on one file and, beside it, relays on one server and on a cluster of three of NATS JetStream:
//!
//! - `durable`: 64 senders, each with one connection, each waiting for its answer before it sends again;
//! - `sockets`: idle connections of events, and one message that goes out to the members of a large channel;
//! - `herd`: a relay that was started again, and all its clients, who log in and open their events;
//! - `gap`: a client that connects again and reads what it has missed;
//! - `directory`: a client that comes into an organization of many users, pins their keys, and comes again;
//! - `crypto`: one text of 1 KiB, encrypted and decrypted;
//! - `growth`: the same rows on a relay that holds many messages, beside one that holds none.
//!
//! Clients share the machine with the relay. They speak HTTP and WebSocket by hand, so that most of the processor is the
//! relay's. Rounds are interleaved and the best one counts: a busy neighbour is a neighbour of all. A target that is missed
//! is a line on stderr, and the exit status 1.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "results are data; progress and missed targets are for the person who waits"
)]

mod clients;
mod crypto;
mod directory;
mod durable;
mod gap;
mod growth;
mod herd;
#[allow(dead_code, reason = "the relay's stories use all of it")]
#[path = "../../tests/relay/nats.rs"]
mod nats;
mod results;
mod server;
mod sockets;

use clap::{Parser, ValueEnum};
use nats::Nats;
use results::Results;
use server::Server;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Senders at once, in every row.
const SENDERS: usize = 64;
/// What the rows after the filling of the grown store take.
const AFTER_FILLING: Duration = Duration::from_secs(60);

/// Measure a relay of channels beside one on NATS JetStream; fails where a target is missed
#[derive(Parser)]
struct Arguments {
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Only these parts; all without it
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Small sizes and one short round: to see that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Seconds for each row of each round
    #[arg(long, default_value_t = 3, value_name = "S")]
    seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 2, value_name = "N")]
    rounds: u32,
    /// Messages of the grown store; fewer where the budget ends first, and the rows say so
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    messages: u64,
    /// Seconds that everything may take
    #[arg(long, default_value_t = 300, value_name = "S")]
    budget: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Durable,
    Sockets,
    Herd,
    Gap,
    Directory,
    Crypto,
    Growth,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Sizes {
    round: Duration,
    rounds: u32,
    sockets: usize,
    /// Clients of a relay that is started again.
    herd: usize,
    members: usize,
    /// Messages to the large channel.
    fanned: usize,
    gap: usize,
    /// Users of the large organization.
    users: usize,
    texts: u32,
    messages: u64,
    channels: usize,
    /// When the filling of the grown store ends at the latest.
    filled_by: Instant,
}

impl Sizes {
    fn of(arguments: &Arguments) -> Self {
        let budget = Duration::from_secs(arguments.budget);
        let full = Self {
            round: Duration::from_secs(arguments.seconds),
            rounds: arguments.rounds,
            sockets: 10_000,
            herd: 20_000,
            members: 1_000,
            fanned: 100,
            gap: 10_000,
            users: 25_000,
            texts: 2_000,
            messages: arguments.messages,
            channels: 10_000,
            filled_by: Instant::now() + budget.saturating_sub(AFTER_FILLING),
        };
        if !arguments.quick {
            return full;
        }
        Self {
            round: Duration::from_millis(500),
            rounds: 1,
            sockets: 100,
            herd: 100,
            members: 50,
            fanned: 10,
            gap: 400,
            users: 1_500,
            texts: 10,
            messages: full.messages.min(1_000),
            channels: 100,
            ..full
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: the relay has the rest of the machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let results = runtime.block_on(measured(&arguments));
    if arguments.json {
        println!("{}", results.json());
    } else {
        print!("{}", results.text());
    }
    let missed = results.missed();
    for line in &missed {
        eprintln!("missed: {line}");
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn measured(arguments: &Arguments) -> Results {
    let sizes = Sizes::of(arguments);
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut results = Results::new(&sizes);
    let most = server::allow_many_files();
    if wants(Part::Crypto) {
        crypto::measure(&mut results, sizes.texts);
    }
    if wants(Part::Durable) {
        eprintln!("measuring: durable messages, one file");
        durable::measure(&mut results, "file", None, &sizes).await;
        for nodes in [1, 3] {
            eprintln!("measuring: durable messages, NATS JetStream, {nodes} servers");
            let nats = Nats::start(nodes, "");
            let name = format!("jetstream-{nodes}");
            durable::measure(&mut results, &name, Some(nats.url()), &sizes).await;
        }
    }
    if wants(Part::Sockets) || wants(Part::Gap) {
        let server = Server::start(None);
        if wants(Part::Gap) {
            eprintln!("measuring: a gap of {} messages", sizes.gap);
            gap::measure(&mut results, "gap", &server, &sizes).await;
        }
        if wants(Part::Sockets) {
            eprintln!("measuring: {} connections", sizes.sockets);
            sockets::measure(&mut results, &server, &sizes).await;
        }
    }
    if wants(Part::Herd) {
        let herd = sizes.herd.min(most);
        eprintln!("measuring: {herd} clients after a restart");
        herd::measure(&mut results, herd).await;
    }
    if wants(Part::Directory) {
        eprintln!("measuring: an organization of {} users", sizes.users);
        directory::measure(&mut results, sizes.users).await;
    }
    if wants(Part::Growth) {
        growth::measure(&mut results, &sizes).await;
    }
    results.end();
    results
}
