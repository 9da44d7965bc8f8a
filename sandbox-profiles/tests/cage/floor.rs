//! Kernels older than this one: what they refuse, and that nothing is lost where they serve.
//!
//! `old-kernel` answers the question for Landlock's version in the kernel's place. The launcher then builds its
//! domain of the old version's rights alone, so that what the newer ones would bound is really left to seccomp.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use crate::{Bystander, Cage, KERNEL, Outcome, outcome};

/// What the launcher says where it refuses.
#[track_caller]
fn refused(cage: &Cage) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = cage.command(&["stream-pair"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!((status.code(), stdout.len()), (Some(69), 0), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    said
}

#[test]
fn a_kernel_below_the_floor_is_refused_with_what_is_missing() {
    #[rustfmt::skip]
    let rows = [
        ("missing", "Landlock is not available; workers need Linux 6.7 or newer"),
        ("off", "Landlock is switched off; add it to the kernel's lsm= parameter"),
        ("1", "Landlock is version 1, workers need version 4 (Linux 6.7 or newer)"),
        ("3", "Landlock is version 3, workers need version 4 (Linux 6.7 or newer)"),
    ];
    for (kernel, words) in rows {
        let said = refused(&Cage::reader().on(kernel));
        assert!(said.contains(words), "{kernel}: {said}");
    }
    // The pretence alone refuses nothing.
    for kernel in ["4", "5", "6", "7"] {
        Cage::reader().on(kernel).allows(&["stream-pair"]);
    }
}

#[test]
fn what_has_no_stand_in_is_refused_and_says_why() {
    let forks = || Cage::reader().with("(allow process-fork)");
    let agent = || Cage::reader().with("(define plexus-system-calls \"agent\")");
    for kernel in ["4", "5"] {
        let said = refused(&forks().on(kernel));
        let words = "this worker needs version 6 (Linux 6.12 or newer): it starts processes";
        assert!(said.contains(words), "{said}");
        let said = refused(&agent().on(kernel));
        assert!(
            said.contains("a coding agent signals its own processes"),
            "{said}"
        );
    }
    forks().on("6").allows(&["fork"]);
    // An agent cannot be started under this pretence, which takes the one notifying filter that a process may have.
    let said = agent().on("6").command(&["stream-pair"]).output();
    let said = String::from_utf8_lossy(&said.expect("it starts").stderr).into_owned();
    assert!(said.contains("cannot have its calls watched"), "{said}");
}

/// The whole suite that attacks leaf workers, once more on the lowest kernel.
#[test]
fn a_leaf_is_held_on_the_lowest_kernel_as_on_this_one() {
    if std::env::var_os(KERNEL).is_some() {
        return;
    }
    let lowest = plexus_sandbox::floor::LOWEST.to_string();
    let tests = std::env::current_exe().expect("the test's own path");
    let again = Command::new(tests)
        .env(KERNEL, &lowest)
        .args([
            "files::",
            "sockets::",
            "processes::",
            "kernel::",
            "probe::",
            "worker::",
        ])
        // It needs a profile that starts processes, which has no stand-in.
        .args(["--skip", "a_profile_may_grant_fork"])
        // The pretence itself is a filter that notifies, and a process has one of them at most.
        .args(["--skip", "monitored_worker"])
        .output()
        .expect("the suite starts");
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(
        again.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&again.stderr)
    );
    // It was not an empty one.
    let counted = said
        .rsplit("ok. ")
        .next()
        .and_then(|rest| rest.split(' ').next());
    let passed: usize = counted.and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(passed >= 20, "{said}");
}

/// What Landlock bounds from version 6 on, the filters bound before it.
#[test]
fn a_signal_goes_to_the_worker_itself_and_to_nobody_else() {
    let bystander = Bystander::start();
    let pid = bystander.pid();
    for kernel in ["4", "5"] {
        let cage = Cage::reader().on(kernel);
        cage.denies(&["signal", &pid]);
        cage.denies(&["signal-thread", &pid]);
        cage.allows(&["signal-self"]);
        // The group is that of the launcher's starter, unless the launcher leads one.
        cage.denies(&["signal-group"]);
        let mut leads = cage.command(&["signal-group"]);
        leads.process_group(0);
        let said = outcome(&leads.output().expect("the launcher starts"));
        assert_eq!(said, Outcome::Done(String::new()), "{kernel}");
    }
    // Where Landlock has scopes it bounds the group itself, by leaving others out.
    Cage::reader().on("6").allows(&["signal-group"]);
}
