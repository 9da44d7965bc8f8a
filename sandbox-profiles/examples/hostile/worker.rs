//! What an honest worker does: proves its cage, then serves its stream.

use std::io;
use std::path::PathBuf;

use plexus_sandbox::probe::{ProbeTargets, ProbedFolder, Role, attack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use plexus_hostile::Arguments;

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        [
            "probe",
            canary,
            state_dir,
            tcp_port,
            unix_socket,
            root,
            role,
            parent_pid,
            launcher,
        ] => Some(probe(&ProbeTargets {
            canary: PathBuf::from(canary),
            state_dir: PathBuf::from(state_dir),
            tcp_port: tcp_port.parse().unwrap_or_default(),
            unix_socket: PathBuf::from(unix_socket),
            places: (!root.is_empty())
                .then(|| ProbedFolder {
                    name: "root".to_owned(),
                    path: PathBuf::from(root),
                    writable: true,
                })
                .into_iter()
                .collect(),
            role: if *role == "writer" {
                Role::Writer
            } else {
                Role::Reader
            },
            parent_pid: parent_pid.parse().unwrap_or_default(),
            launcher_pid: match *launcher {
                "stayed" => std::os::unix::process::parent_id(),
                _ => std::process::id(),
            },
        })),
        #[cfg(target_os = "linux")]
        ["have", rest @ ..] => Some(children::act(rest)),
        ["serve", file] => Some(serve(file, || Ok(()))),
        // As the harness does: when the runtime is made, and before it is used.
        ["serve-giving-up", file] => Some(serve(file, || {
            plexus_sandbox::give_up_exec_and_fork().map_err(io::Error::other)
        })),
        _ => None,
    }
}

fn probe(targets: &ProbeTargets) -> io::Result<String> {
    let report = attack(targets);
    let lines = report.checks.iter().map(|check| {
        format!(
            "{:?} {} {}: {}",
            check.kind, check.held, check.name, check.detail
        )
    });
    Ok(std::iter::once(format!("sound {}", report.sound()))
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Echoes one message over descriptor 3 with the content of `file`, using the runtime, the blocking pool, a timer
/// and a signal handler.
fn serve(file: &str, once_made: impl FnOnce() -> io::Result<()>) -> io::Result<String> {
    let file = file.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    once_made()?;
    runtime.block_on(async {
        let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it costs a worker the call that asked"
        )]
        let content = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await??;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let mut stream = tokio::net::UnixStream::from_std(inherited()?)?;
        let mut asked = [0; 4];
        tokio::select! {
            read = stream.read_exact(&mut asked) => read?,
            _ = ended.recv() => return Err(io::Error::other("terminated")),
        };
        stream.write_all(&asked).await?;
        stream.write_all(content.as_bytes()).await?;
        Ok(String::new())
    })
}

fn inherited() -> io::Result<std::os::unix::net::UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(plexus_hostile::inherited(3)?);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What a worker does that has a keeper.
#[cfg(target_os = "linux")]
mod children {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::{self, IoSliceMut, Read, Write};
    use std::os::fd::{AsRawFd, OwnedFd};

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
    use plexus_hostile::{Arguments, inherited};
    use plexus_sandbox::children::{Ask, KEEPER_FD, MAX_MESSAGE, Tell, decode, encode};

    /// `[end-after] CHILD RUN [+NAME=VALUE | NAME=VALUE]...`: starts it, gives it no input, and says its output, what it
    /// said on standard error, and how it ended. `+` is a variable of its environment, and `RUN@FOLDER` has it begin in
    /// that folder. `two` starts the first `CHILD RUN`
    /// and has it stay while the rest runs.
    pub(super) fn act(arguments: Arguments<'_>) -> io::Result<String> {
        match arguments {
            ["raw", bytes] => {
                send(KEEPER_FD, bytes.as_bytes(), MsgFlags::empty())?;
                // It is ended before it hears anything.
                hear().map(|(tell, _)| format!("{tell:?}"))
            }
            ["two", child, run, rest @ ..] => {
                let mut first = start(0, child, run, &[])?;
                let mut line = [0; 1];
                first[1].read_exact(&mut line)?;
                let said = act(rest)?;
                drop(first);
                Ok(said)
            }
            ["and-stay", child, run, rest @ ..] => {
                let mut pipes = start(1, child, run, rest)?;
                let mut line = Vec::new();
                let mut byte = [0; 1];
                while byte != *b"\n" && pipes[1].read(&mut byte)? == 1 {
                    line.extend(byte);
                }
                let mut out = io::stdout();
                out.write_all(b"here ")?;
                out.write_all(&line)?;
                out.flush()?;
                io::stdin().read_to_end(&mut Vec::new())?;
                drop(pipes);
                Ok(String::new())
            }
            ["end-after", child, run, rest @ ..] => {
                let mut pipes = start(1, child, run, rest)?;
                pipes[1].read_exact(&mut [0; 1])?;
                ask(&Ask::End { id: 1 })?;
                let mut output = String::new();
                pipes[1].read_to_string(&mut output)?;
                Ok(format!("{:?}", hear()?.0))
            }
            [child, run, rest @ ..] => {
                let mut pipes = start(1, child, run, rest)?;
                pipes.remove(0);
                let (mut output, mut error) = (String::new(), String::new());
                pipes[0].read_to_string(&mut output)?;
                pipes[1].read_to_string(&mut error)?;
                match hear()?.0 {
                    Tell::Ended { ending, .. } => Ok(format!("{output}{error}{ending:?}")),
                    other => Err(io::Error::other(format!("{other:?}"))),
                }
            }
            other => Err(io::Error::other(format!("no such way: {other:?}"))),
        }
    }

    fn start(id: u64, child: &str, whole: &str, values: &[&str]) -> io::Result<Vec<File>> {
        let pairs = |in_environment: bool| -> BTreeMap<String, String> {
            let values = values
                .iter()
                .filter(|value| value.starts_with('+') == in_environment);
            let pairs = values.filter_map(|value| value.trim_start_matches('+').split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        let (run, folder) = whole.split_once('@').unzip();
        ask(&Ask::Start {
            id,
            child: child.to_owned(),
            run: run.unwrap_or(whole).to_owned(),
            folder: folder.map(str::to_owned),
            arguments: pairs(false),
            environment: pairs(true),
        })?;
        match hear()? {
            (Tell::Started { id: started }, pipes)
                if started == id && matches!(pipes.len(), 3 | 5) =>
            {
                Ok(pipes.into_iter().map(File::from).collect())
            }
            (other, _) => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    fn ask(ask: &Ask) -> io::Result<()> {
        let bytes = encode(ask).map_err(io::Error::other)?;
        send(KEEPER_FD, &bytes, MsgFlags::empty())?;
        Ok(())
    }

    fn hear() -> io::Result<(Tell, Vec<OwnedFd>)> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut space = nix::cmsg_space!([i32; 5]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(KEEPER_FD.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut pipes = Vec::new();
        for along in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = along {
                for number in numbers {
                    pipes.push(inherited(number)?);
                    nix::unistd::close(number)?;
                }
            }
        }
        let length = message.bytes;
        let tell = decode(&bytes[..length]).map_err(io::Error::other)?;
        Ok((tell, pipes))
    }
}
