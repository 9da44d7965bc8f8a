//! The worst worker: does one forbidden (or permitted) thing and reports what the kernel answered.
//!
//! `hostile ACT [ARGUMENT]...` prints `done …` or `refused ERRNO` on stdout. The tests run it inside a cage, where
//! an act must be refused, and outside, where the same act must work.
#![expect(clippy::print_stdout, reason = "its answer is its output")]

mod worker;

use std::io;

/// The arguments of an act.
type Arguments<'a> = &'a [&'a str];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&arguments) {
        Ok(said) => println!("done {said}"),
        Err(error) => match error.raw_os_error() {
            Some(errno) => println!("refused {errno}"),
            None => println!("failed {error}"),
        },
    }
}

fn act(arguments: Arguments<'_>) -> io::Result<String> {
    match arguments {
        // Gives up exec and fork first, as a leaf worker does.
        ["give-up", rest @ ..] => {
            plexus_sandbox::give_up_exec_and_fork().map_err(io::Error::other)?;
            act(rest)
        }
        // With the number of the parent in the place of its name.
        ["at-parent", rest @ ..] => {
            let parent = std::os::unix::process::parent_id().to_string();
            let named: Vec<String> = rest
                .iter()
                .map(|word| word.replace("PARENT", &parent))
                .collect();
            act(&named.iter().map(String::as_str).collect::<Vec<_>>())
        }
        ["in-folder", folder, rest @ ..] => {
            std::env::set_current_dir(folder)?;
            act(rest)
        }
        // In a thread that is not the process's first.
        ["in-thread", rest @ ..] => std::thread::scope(|scope| {
            let acting = scope.spawn(|| act(rest));
            acting
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("it panicked")))
        }),
        // In a child that the act's own process waits for.
        #[cfg(target_os = "linux")]
        ["in-child", rest @ ..] => {
            let own = std::env::args_os().next().unwrap_or_default();
            let output = std::process::Command::new(own).args(rest).output()?;
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned())
        }
        all => worker::act(all).unwrap_or_else(|| plexus_hostile::act(all)),
    }
}
