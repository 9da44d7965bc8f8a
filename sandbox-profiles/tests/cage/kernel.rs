//! What a worker may run and ask of the kernel on Linux: its own executable until it gives that up, and nothing
//! that reaches around the cage.

use nix::errno::Errno;

use plexus_hostile::offered;

use crate::{Bystander, Cage, Outcome, hostile, uncaged};

#[test]
fn nobody_is_looked_into() {
    let bystander = Bystander::start();
    let pid = &bystander.pid();
    let cage = Cage::reader();
    cage.denies(&["trace", pid]);
    cage.denies(&["read-memory", pid]);
    cage.denies(&["pidfd", pid]);
    cage.denies_where_offered(&["advise-memory", pid], &[]);
    cage.denies(&["read", &format!("/proc/{pid}/environ")]);
}

#[test]
fn no_program_runs_but_the_worker() {
    let cage = Cage::writer();
    let program = cage.in_root("program");
    std::fs::copy(hostile(), &program).expect("a program of the worker's own");
    for path in ["/usr/bin/true", program.as_str()] {
        assert!(
            matches!(
                cage.run(&["exec", path, "stream-pair"]),
                Outcome::Refused(Errno::EPERM | Errno::EACCES)
            ),
            "{path}"
        );
        cage.denies(&["spawn", path]);
    }
    // Outside, the exec answers in the place of the worker.
    assert_eq!(
        uncaged(&["exec", &program, "stream-pair"]),
        Outcome::Done(String::new())
    );
    // Inside, the worker's own executable is what may run, until the right is given up.
    let own = hostile().display().to_string();
    assert_eq!(cage.allows(&["exec", &own, "stream-pair"]), "");
    assert_eq!(
        cage.run(&["give-up", "exec", &own, "stream-pair"]),
        Outcome::Refused(Errno::EPERM)
    );
}

#[test]
fn the_loader_runs_nothing_once_exec_is_given_up() {
    let cage = Cage::reader();
    let program = cage.in_root("program");
    std::fs::copy(hostile(), &program).expect("a program of the worker's own");
    let loader = if cfg!(target_arch = "aarch64") {
        "/lib/ld-linux-aarch64.so.1"
    } else {
        "/lib64/ld-linux-x86-64.so.2"
    };
    // The loader must be executable for the worker to start, and it maps what may be read: Landlock alone is not enough.
    assert_eq!(cage.allows(&["exec", loader, &program, "stream-pair"]), "");
    assert!(matches!(
        cage.run(&["give-up", "exec", loader, &program, "stream-pair"]),
        Outcome::Refused(Errno::EPERM)
    ));
}

#[test]
fn a_profile_may_grant_fork_and_the_worker_may_give_it_up() {
    let cage = Cage::reader().with("(allow process-fork)");
    cage.allows(&["fork"]);
    assert_eq!(
        cage.run(&["give-up", "fork"]),
        Outcome::Refused(Errno::EPERM)
    );
    assert_eq!(
        cage.run(&["give-up", "spawn", "/usr/bin/true"]),
        Outcome::Refused(Errno::EPERM)
    );
    // Also where the profile grants neither, and outside any cage.
    assert_eq!(
        Cage::reader().run(&["give-up", "fork"]),
        Outcome::Refused(Errno::EPERM)
    );
    assert_eq!(
        uncaged(&["give-up", "fork"]),
        Outcome::Refused(Errno::EPERM)
    );
    assert_eq!(uncaged(&["fork"]), Outcome::Done(String::new()));
}

/// Watches are counted for the user: with one set of them after the other, all that there are can be taken.
#[test]
fn no_second_set_of_watches_once_exec_is_given_up() {
    for cage in [Cage::reader(), Cage::writer()] {
        for how in ["new", "old"] {
            // For the runtime, which is made before.
            if how == "new" {
                cage.allows(&["epoll", how]);
            }
            assert_eq!(
                cage.run(&["give-up", "epoll", how]),
                Outcome::Refused(Errno::EPERM)
            );
            assert_eq!(uncaged(&["epoll", how]), Outcome::Done(String::new()));
        }
    }
}

#[test]
fn the_group_cannot_be_left_and_says_nothing_of_it() {
    let cage = Cage::reader();
    assert_eq!(
        uncaged(&["setsid"]),
        Outcome::Done("new session".to_owned())
    );
    assert_eq!(cage.allows(&["setsid"]), "same session");
    cage.allows(&["setpgid"]);
}

#[test]
fn what_ties_the_worker_to_its_gateway_stays() {
    let cage = Cage::reader();
    cage.denies(&["death-signal"]);
    cage.denies(&["dumpable"]);
    cage.denies(&["subreaper"]);
}

#[test]
fn the_kernel_offers_no_way_round() {
    let cage = Cage::writer();
    cage.denies_where_offered(&["io-uring"], &[]);
    cage.denies_where_offered(&["user-namespace"], offered::NAMESPACES);
    for kind in ["network", "mounts", "processes"] {
        cage.denies_where_offered(&["unshare", kind], offered::NAMESPACES);
    }
    cage.denies(&["mount"]);
    cage.denies(&["chroot"]);
    cage.denies_where_offered(&["pivot-root"], &[]);
    cage.denies_where_offered(&["keyring"], offered::KEYS);
    cage.denies_where_offered(&["add-key"], offered::KEYS);
    cage.denies_where_offered(&["request-key"], &[]);
    #[cfg(target_arch = "x86_64")]
    cage.denies(&["x32"]);
    cage.denies(&["shared-memory"]);
    // With ENOSYS the C library falls back to a call whose flags can be seen.
    assert_eq!(cage.run(&["clone3"]), Outcome::Refused(Errno::ENOSYS));
    assert_eq!(uncaged(&["clone3"]), Outcome::Refused(Errno::EINVAL));
}

/// Its numbers mean other calls, which no list here names. On aarch64 a program cannot make one without becoming a 32-bit
/// program, by the exec that it has given up; the filters end it all the same.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_call_of_another_machine_ends_the_process() {
    for cage in Cage::leaves() {
        cage.ends(&["int80"]);
    }
}
