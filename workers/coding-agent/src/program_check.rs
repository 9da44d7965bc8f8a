//! Whether the program of a source runs at all: it is asked for its version, in the sandbox of a run, each time that the owner tests
//! the source.
//!
//! Invariants: one such run at a time; a program that is slow is called slow and nothing worse.
//!
//! Must not know: what a run is asked, which program it is.

use plexus_ipc::worker::{
    Health,
    children::{Children, Ending, LastWords},
};
use std::{
    sync::{Arc, Mutex as Slot, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};
use uuid::Uuid;

/// How long the program may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long the owner's check waits for it: less than that check may take.
const WAITS: Duration = Duration::from_millis(2_500);
/// How long after its begin a run that nobody waited for still answers a check.
const KEPT: Duration = Duration::from_secs(60);

/// The check of one program, and what it last came to.
#[derive(Debug)]
pub(crate) struct ProgramCheck {
    children: Children,
    program: String,
    under_way: Mutex<Option<(Instant, JoinHandle<Health>)>>,
    last: Slot<Option<Health>>,
}

impl ProgramCheck {
    pub(crate) fn new(children: Children, program: String) -> Self {
        Self {
            children,
            program,
            under_way: Mutex::default(),
            last: Slot::default(),
        }
    }

    /// What the last check came to; none where none has ended.
    pub(crate) fn last(&self) -> Option<Health> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// Runs the program. One that takes longer than the caller waits goes on, and the next check hears that it was well.
    pub(crate) async fn check(self: &Arc<Self>) -> Health {
        let mut under_way = self.under_way.lock().await;
        // What has failed since may have been put right, and what was well long ago may have failed since.
        let is_good = |(began, running): &(Instant, JoinHandle<Health>)| {
            let is_well = matches!(self.last(), Some(Health::Well)) && began.elapsed() < KEPT;
            is_well || !running.is_finished()
        };
        *under_way = under_way.take().filter(is_good);
        let (_, running) = under_way.get_or_insert_with(|| {
            let check = Arc::clone(self);
            let running = tokio::spawn(async move {
                let health = check.run().await;
                *check.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(health.clone());
                health
            });
            (Instant::now(), running)
        });
        let Ok(ended) = timeout(WAITS, running).await else {
            let slow = self.slow(WAITS);
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*last, Some(Health::Well)) {
                *last = Some(slow.clone());
            }
            return slow;
        };
        *under_way = None;
        ended.unwrap_or_else(|_| Health::Degraded("the check of its program failed".into()))
    }

    async fn run(&self) -> Health {
        let run = format!("version-{}", Uuid::new_v4());
        let mut child = match self.children.start("version", &run, &[], &[]).await {
            Ok(child) => child,
            Err(why) => return self.unchecked(&why.to_string()),
        };
        drop(child.stdin.take());
        let words = LastWords::default();
        let ended = async {
            let (output, error) = (child.stdout.take(), child.stderr.take());
            let hear = async |stream: Option<_>| {
                if let Some(stream) = stream {
                    words.hear(stream).await;
                }
            };
            tokio::join!(hear(output), hear(error));
            child.wait().await
        };
        match timeout(WITHIN, ended).await {
            Err(_) => self.slow(WITHIN),
            Ok(Err(why)) => self.unchecked(&why.to_string()),
            Ok(Ok((Ending::Exited(0), _))) => Health::Well,
            Ok(Ok((ending, _))) => {
                let last = words.lines().pop().unwrap_or_default();
                self.fails(&how(ending, &last))
            }
        }
    }

    /// The keeper started nothing: that is not the program's fault.
    fn unchecked(&self, why: &str) -> Health {
        let words =
            format!("its program could not be tried: {why}; test it again: plexusctl sources test");
        Health::Degraded(words.as_str().into())
    }

    fn fails(&self, why: &str) -> Health {
        let program = &self.program;
        let words = format!(
            "no run can begin: {program} --version {why}. Test it again then: plexusctl sources test"
        );
        Health::Degraded(words.as_str().into())
    }

    fn slow(&self, within: Duration) -> Health {
        let words = format!(
            "{} has not said its version within {} s: it may only be slow, and runs may begin late; test it again: plexusctl sources test",
            self.program,
            within.as_secs_f64()
        );
        Health::Degraded(words.as_str().into())
    }
}

/// How many characters of a program's last line are said: its end, which names the reason.
const LAST: usize = 160;
/// How the launcher ends that cannot execute a program.
const NOT_EXECUTED: i32 = 126;

/// What went wrong, and what to do. The launcher's own words end with the system's number.
fn how(ending: Ending, last: &str) -> String {
    let is = |number: i32| {
        ending == Ending::Exited(NOT_EXECUTED) && last.ends_with(&format!("(os error {number})"))
    };
    // The launcher has a shell read what the system does not execute.
    let is_read_by_a_shell = matches!(ending, Ending::Exited(2 | NOT_EXECUTED | 127))
        && (last.contains("ELF") || last.contains(": Syntax error"));
    let why = match ending {
        _ if is(2) => "finds no such file: the program, or the interpreter that its first line names, is not where runs find it; install it, or name another program with plexusctl sources set SOURCE binary=PATH".to_owned(),
        _ if is(13) => "may not be executed: make it executable (chmod +x), or name the folder of its interpreter with the field tools".to_owned(),
        _ if is(8) || is_read_by_a_shell => "is no program that this machine can execute: it was made for another one, or is no program at all; install the one for this machine".to_owned(),
        Ending::Exited(status) => format!("ended with status {status}"),
        Ending::Signaled(signal) => format!("was ended by signal {signal}"),
        other => format!("was ended ({other:?})"),
    };
    let over = last.chars().count().saturating_sub(LAST);
    match last.char_indices().nth(over) {
        None => format!("{why}; run it yourself to see more"),
        Some((0, _)) => format!("{why}; it said last: {last}"),
        Some((start, _)) => format!("{why}; it said last: …{}", &last[start..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_told_with_what_to_do() {
        #[rustfmt::skip]
        let rows = [
            (126, "x: No such file or directory (os error 2)", "finds no such file"),
            (126, "x: Permission denied (os error 13)", "chmod +x"),
            (126, "x: Exec format error (os error 8)", "made for another one"),
            (127, "/a: 1: \u{7f}ELF: not found", "made for another one"),
            (3, "no config", "ended with status 3; it said last: no config"),
            // A program's own words are not the launcher's.
            (1, "Error: No such file or directory (os error 2)", "ended with status 1; it said last: Error: No such file"),
            (3, "", "ended with status 3; run it yourself"),
            (
                65,
                "plexus-sandbox-exec: line 17: (allow file-read* process-exec* (literal (string-append (param \"PROGRAM\") \"-code-mode-host\"))): /home/you/codex-code-mode-host: No such file or directory (os error 2)",
                "/home/you/codex-code-mode-host: No such file or directory (os error 2)",
            ),
        ];
        for (ending, last, words) in rows {
            let told = how(Ending::Exited(ending), last);
            assert!(told.contains(words), "{told}");
        }
        let told = how(Ending::Signaled(11), "");
        assert!(told.contains("signal 11"), "{told}");
    }
}
