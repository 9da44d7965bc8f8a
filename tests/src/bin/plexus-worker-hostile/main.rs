//! The worst worker: takes a connector's place, introduces itself as that connector does, and then does what it is
//! asked to by name, from inside the cage that the gateway made for the connector.
//!
//! ```text
//! plexus-worker-<connector>                   the gateway starts it: it serves, and what it does is in the calls
//! plexus-worker-hostile uncaged PROBE TARGETS  does one probe without a cage: the control
//! plexus-worker-hostile act ACT [ARGUMENT]...  does one act: a process for others to look at
//! plexus-worker-hostile stubborn               stays until its stdin ends, whatever it is asked
//! ```
//!
//! What to attack lies in `.hostile.json` in the source's folder, the only place from which it can read. It does not
//! use the harness: a worker that was taken over is not bound by it.
//!
//! Must not know: what is expected of it.
#![expect(clippy::print_stdout, reason = "its answer is its output")]

mod worker;

use plexus_tests::cage::{self, Outcome};
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["uncaged", name, targets] => {
            let outcome = uncaged(name, targets);
            println!("{}", serde_json::to_string(&outcome).expect("an outcome"));
            ExitCode::SUCCESS
        }
        ["act", ref act @ ..] => done(act),
        ["stubborn"] => match cage::be_stubborn() {
            Outcome::Through(_) => done(&["stay"]),
            Outcome::Refused(_) | Outcome::Failed(_) => ExitCode::FAILURE,
        },
        _ => worker::main(),
    }
}

fn done(act: &[&str]) -> ExitCode {
    match plexus_hostile::act(act) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn uncaged(name: &str, targets: &str) -> Outcome {
    // What a careless parent leaves to its child, for the probe that looks for it.
    let _left_open = [(); 4].map(|()| std::fs::File::open("/dev/null"));
    let known = cage::probe(name).ok_or_else(|| io::Error::other("no such probe"));
    let targets = serde_json::from_str(targets).map_err(io::Error::from);
    match known.and_then(|probe| Ok(probe.attempt(&targets?))) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
