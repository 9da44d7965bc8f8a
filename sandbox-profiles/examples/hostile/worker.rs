//! What an honest worker does: proves its cage, then serves its stream.

use std::io;
use std::path::PathBuf;

use plexus_sandbox::probe::{Place, ProbeTargets, Role, attack};
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
                .then(|| Place {
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
