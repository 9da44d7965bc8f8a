//! A PID namespace for a whole test binary, entered before its first line.
//!
//! The helper of a run ends all of its scope with `kill(-1, SIGKILL)`. Were its proof of that scope broken, by a change or a
//! mutation, the signal would end the session of the person who runs the test. In a namespace it ends the test.
//!
//! Invariant: nothing of the binary runs outside; where there is no namespace to be had, it fails.

use std::fs::read_link;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

/// Says to a test that it is inside, and where outside was.
const OUTSIDE: &str = "PLEXUS_TEST_OUTSIDE";
/// First process of the namespace: it reaps what others leave, so it must not become the test itself.
const FIRST: &str = r#""$@"; exit $?"#;

/// Becomes the same program in a namespace of its own, unless this is there. For [`crate::in_own_processes`].
#[expect(clippy::print_stderr, reason = "there is no test yet that could fail")]
pub extern "C" fn enter() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // Who lists tests runs none.
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let namespace = read_link("/proc/self/ns/pid").ok();
    let own = std::env::current_exe();
    let outside = std::env::var_os(OUTSIDE);
    let why = match (namespace, own, outside) {
        (Some(now), Ok(_), Some(outside)) if outside != now.as_os_str() => return,
        (Some(now), Ok(own), None) => {
            let mut again = Command::new("unshare");
            if !nix::unistd::geteuid().is_root() {
                again.args(["--user", "--map-current-user"]);
            }
            again
                .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
                .args(["sh", "-c", FIRST, "sh"])
                .arg(own)
                .args(arguments)
                .env(OUTSIDE, now);
            again.exec().to_string()
        }
        _ => "it was not entered".to_owned(),
    };
    eprintln!("no PID namespace for this test, and it must not run without: {why}");
    exit(101);
}
