//! An old kernel, as far as Landlock goes: becomes another program, to which and to whose descendants the kernel says
//! that it has no Landlock, has it switched off, or has it in an older version.
//!
//! `old-kernel missing|off|VERSION PROGRAM [ARGUMENT]...`
//!
//! ```text
//! this process ─filter on the question for the version─▶ exec PROGRAM ─question─▶ kernel ─▶ answerer
//!      └─ starts ─▶ answerer (`old-kernel --answer VERSION`, the filter's other end on its stdin) ─▶ VERSION
//! ```
//! A filter alone can answer with an error; a number above 0 needs somebody who says it. The answerer ends with
//! PROGRAM. What Landlock then does is the real kernel's: a program that asks for what
//! the old version lacks is not refused here, but the landlock crate, which asks for the version too, refuses it.

#[cfg(target_os = "linux")]
mod os;

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a tool's refusal belongs on stderr")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Err(error) = run(&arguments) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("old-kernel: {error}");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn run(arguments: &[&str]) -> std::io::Result<()> {
    use nix::errno::Errno;
    use std::io::Error;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio, id};

    let number = |text: &str| text.parse::<u32>().map_err(Error::other);
    match arguments {
        ["--answer", version, asker] => os::answer(number(version)?, number(asker)?),
        [kernel, program, rest @ ..] => {
            match *kernel {
                "missing" => os::refuse(Errno::ENOSYS)?,
                "off" => os::refuse(Errno::EOPNOTSUPP)?,
                version => {
                    number(version)?;
                    Command::new(std::env::current_exe()?)
                        .args(["--answer", version, &id().to_string()])
                        .env_clear()
                        // Who ends PROGRAM's group must not take its kernel away first.
                        .process_group(0)
                        .stdin(Stdio::from(os::notify()?))
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        // PROGRAM may adopt orphans, and wait until it has none: the answerer must be one before that.
                        .status()?;
                }
            }
            Err(Command::new(program).args(rest).exec())
        }
        _ => Err(Error::other(
            "missing|off|VERSION PROGRAM [ARGUMENT]... are needed",
        )),
    }
}

#[cfg(not(target_os = "linux"))]
fn run(_: &[&str]) -> std::io::Result<()> {
    Err(std::io::Error::other("this system has no Landlock"))
}
