//! Workers as processes of their own: this program starts itself again with descriptor 3, bare or in a cage.
//!
//! A worker's `main` wants a process with one thread, so this test brings its own: each story below, in order.
#![expect(
    clippy::print_stdout,
    reason = "it speaks for itself to the test runner"
)]

/// Stories with their names.
macro_rules! stories {
    ($($story:ident,)*) => { &[$((stringify!($story), $story)),*] };
}

#[cfg(target_os = "linux")]
#[path = "process/caged.rs"]
mod caged;
#[path = "process/page.rs"]
mod page;
#[path = "process/stories.rs"]
mod stories;
#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../tests/src/waiting.rs"]
mod waiting;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["worker"] => return plexus_ipc::worker::main::<page::Page>(page::MANIFEST),
        #[cfg(target_os = "linux")]
        ["caged", name, role, root] => {
            page::cage(name, role, root);
            return plexus_ipc::worker::main::<page::Page>(page::MANIFEST);
        }
        _ => {}
    }
    let listing = words.contains(&"--list");
    let ignored = words.contains(&"--ignored");
    let filter = words
        .iter()
        .find(|word| !word.starts_with("--") && **word != "terse");
    #[cfg(target_os = "linux")]
    let stories = stories::ALL.iter().chain(caged::ALL);
    #[cfg(not(target_os = "linux"))]
    let stories = stories::ALL;
    for (name, story) in stories {
        if ignored || filter.is_some_and(|filter| !name.contains(*filter)) {
            continue;
        }
        if listing {
            println!("{name}: test");
        } else {
            story();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}
