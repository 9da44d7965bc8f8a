//! `plexus-try`: one call of one connector, caged, without a gateway; and what the cage refused on the way.
//!
//! ```text
//! arguments ─▶ plexus-try --held ─exec─▶ launcher ─exec─▶ worker        (watched from the outside, from the first exec on)
//!                                                            └─ Hello … Opened ─ Read │ Plan │ Plan, Commit on a copy
//! answer, touched, denials each with the rule that would allow it
//! ```
//! Invariants: an effect is only planned, or committed on a copy of the folder that is thrown away; nothing is run without
//! its cage; what the proof of the cage attacks is not reported as denied.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks to the person who typed it"
)]

mod arguments;
mod call;
mod denial;
mod observe;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|first| first == observe::HELD) {
        let error = observe::held(words.collect());
        eprintln!("plexus-try: {error}");
        return ExitCode::from(126);
    }
    let arguments = arguments::parse();
    match call::run(&arguments) {
        Ok(tried) => {
            report::show(&tried, arguments.json);
            if tried.came.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("plexus-try: {error:#}");
            ExitCode::FAILURE
        }
    }
}
