//! Unix sockets that no source reaches: a program that speaks to one of these has more rights than an app gives.
//!
//! Invariants: a socket is judged by where it really lies, so a path through a link is refused; one that is not there yet
//! is judged by its path alone, and again by `plexus-egress` at each connection.
//!
//! Must not know: who asks for the socket, what is said over it.

use crate::private;
use std::{
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// What a socket is, and what it lets one do.
type Kind = &'static str;

const ENGINE: Kind = "of a container engine, which runs any program with its rights";
const KEYS: Kind = "of an agent of keys, which signs for whoever asks";
const BUS: Kind = "of a message bus, which starts programs and reads passwords";
const DISPLAY: Kind = "of the display, which shows and types for you";
const SOUND: Kind = "of the sound server, which hears the microphone";
const TERMINAL: Kind = "of a terminal or an editor, which runs commands for you";
const SYSTEM: Kind = "of the system's manager, which starts and installs programs";
const GATEWAY: Kind = "of a Plexus gateway, which lends nothing to itself";

/// By the name of the socket; `*` stands for any end of it.
const BY_NAME: [(&str, Kind); 25] = [
    (".ydotool_socket", DISPLAY),
    ("buildkitd.sock", ENGINE),
    ("bus", BUS),
    ("containerd.sock*", ENGINE),
    ("crio.sock", ENGINE),
    ("dbus-*", BUS),
    ("docker.*", ENGINE),
    ("docker-*", ENGINE),
    ("gpg-agent*", KEYS),
    ("ipc-socket.*", DISPLAY),
    ("kitty*", TERMINAL),
    ("libvirt-sock*", ENGINE),
    ("nvim*", TERMINAL),
    ("openssh_agent*", KEYS),
    ("pipewire-*", SOUND),
    ("podman.sock", ENGINE),
    ("pulse-*", SOUND),
    ("S.*", KEYS),
    ("snapd*", SYSTEM),
    ("ssh-agent*", KEYS),
    ("ssh_auth_sock", KEYS),
    ("sway-ipc.*", DISPLAY),
    ("system_bus_socket", BUS),
    ("vscode-*", TERMINAL),
    ("wayland-*", DISPLAY),
];
/// By a folder that it lies in, likewise.
const BY_FOLDER: [(&str, Kind); 25] = [
    (".1password", KEYS),
    (".screen", TERMINAL),
    (".X11-unix", DISPLAY),
    ("at-spi*", BUS),
    ("com.apple.launchd.*", KEYS),
    ("containerd", ENGINE),
    ("docker", ENGINE),
    ("dockerd-rootless", ENGINE),
    ("emacs*", TERMINAL),
    ("gcr", KEYS),
    ("gnupg", KEYS),
    ("gvfsd", BUS),
    ("hypr", DISPLAY),
    ("incus", ENGINE),
    ("keyring", KEYS),
    ("libvirt", ENGINE),
    ("lxd", ENGINE),
    ("p11-kit", KEYS),
    ("podman", ENGINE),
    ("pulse", SOUND),
    ("screen", TERMINAL),
    ("screens", TERMINAL),
    ("ssh-*", KEYS),
    ("systemd", SYSTEM),
    ("tmux-*", TERMINAL),
];
/// By the end of its path: this gateway's, or that of another state directory.
const BY_END: [&str; 2] = ["run/agent/agent.sock", "run/owner/owner.sock"];
/// Variables that say where such a socket is.
const BY_VARIABLE: [(&str, Kind); 5] = [
    ("SSH_AUTH_SOCK", KEYS),
    ("DBUS_SESSION_BUS_ADDRESS", BUS),
    ("DOCKER_HOST", ENGINE),
    ("CONTAINER_HOST", ENGINE),
    ("NVIM", TERMINAL),
];

/// Why no source reaches the socket at `path`. Blocks on the disk that it lies on.
pub(crate) fn refused(path: &Path, state_dir: &Path) -> Option<String> {
    let shown = path.display();
    // What is there of the way to it.
    let there = path
        .ancestors()
        .find(|part| part.symlink_metadata().is_ok());
    if let Some(there) = there
        && let real = there.canonicalize().unwrap_or_default()
        && real != there
    {
        let real = real.join(path.strip_prefix(there).unwrap_or(path));
        return Some(format!(
            "{shown} leads through a link: name the socket where it lies, {}",
            real.display()
        ));
    }
    let state_dir = state_dir
        .canonicalize()
        .unwrap_or_else(|_| state_dir.to_owned());
    if path.starts_with(state_dir) {
        return Some(format!("{shown} lies in the gateway's own state"));
    }
    if let Some(kind) = kind(path) {
        return Some(format!(
            "{shown} is the socket {kind}: no source reaches that"
        ));
    }
    if let Ok(found) = path.symlink_metadata() {
        if !found.file_type().is_socket() {
            return Some(format!("{shown} is no socket"));
        }
        if found.uid() != nix::unistd::geteuid().as_raw() {
            return Some(format!("{shown} is another user's socket"));
        }
    }
    private::refused(path, true)
}

fn kind(path: &Path) -> Option<Kind> {
    let known = |name: &str, all: &[(&str, Kind)]| {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(begins) => name.starts_with(begins),
            None => name == pattern,
        };
        let mut all = all.iter();
        all.find_map(|(pattern, kind)| fits(pattern).then_some(*kind))
    };
    let variable = |(name, kind): &(&str, Kind)| {
        let value = std::env::var(name).ok()?;
        (named_in(&value) == path).then_some(*kind)
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let mut folders = path.parent()?.iter().filter_map(|part| part.to_str());
    let is_gateways = BY_END.iter().any(|end| path.ends_with(end));
    is_gateways
        .then_some(GATEWAY)
        .or_else(|| known(name?, &BY_NAME))
        .or_else(|| folders.find_map(|folder| known(folder, &BY_FOLDER)))
        .or_else(|| BY_VARIABLE.iter().find_map(variable))
}

/// The path in a value such as `unix:path=/run/user/1000/bus,guid=…` or `unix:///run/docker.sock`.
fn named_in(value: &str) -> PathBuf {
    let path = value
        .strip_prefix("unix:path=")
        .or_else(|| value.strip_prefix("unix://"));
    PathBuf::from(path.unwrap_or(value).split(',').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    /// Only root can give one away.
    #[test]
    fn socket_of_another_user_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap().join("app.sock");
        let _app = UnixListener::bind(&path).unwrap();
        let state = Path::new("/home/me/.plexus");
        assert_eq!(refused(&path, state), None, "the control");
        if !nix::unistd::geteuid().is_root() {
            #[expect(
                clippy::print_stderr,
                reason = "who runs the tests is told what was not run"
            )]
            {
                eprintln!(
                    "NOT RUN: sockets::socket_of_another_user_is_refused: only root can give a socket away"
                );
            }
            return;
        }
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let why = refused(&path, state).unwrap_or_default();
        assert!(why.contains("another user's socket"), "{why}");
    }

    #[test]
    fn socket_of_more_rights_is_refused_with_its_kind() {
        let state = Path::new("/home/me/.plexus");
        for (path, words) in [
            ("/run/docker.sock", "container engine"),
            ("/run/user/1000/podman/podman.sock", "container engine"),
            ("/run/user/1000/bus", "message bus"),
            ("/run/dbus/system_bus_socket", "message bus"),
            ("/tmp/ssh-XXX/agent.12", "keys"),
            ("/run/user/1000/gnupg/S.gpg-agent.ssh", "keys"),
            ("/run/user/1000/keyring/ssh", "keys"),
            ("/tmp/.X11-unix/X0", "display"),
            ("/run/user/1000/wayland-0", "display"),
            ("/run/user/1000/pipewire-0", "microphone"),
            ("/tmp/tmux-1000/default", "terminal"),
            ("/run/user/1000/systemd/private", "manager"),
            ("/home/me/.plexus/run/agent/agent.sock", "state"),
            ("/home/me/other/run/owner/owner.sock", "Plexus"),
        ] {
            let why = refused(Path::new(path), state).unwrap_or_default();
            assert!(why.contains(words), "{path}: {why:?}");
        }
        assert_eq!(refused(Path::new("/nowhere/journal/app.sock"), state), None);
        let bus = named_in("unix:path=/run/user/1000/other,guid=12");
        assert_eq!(bus, Path::new("/run/user/1000/other"));
        assert_eq!(named_in("unix:///x/y"), Path::new("/x/y"));
    }

    #[test]
    fn socket_is_judged_where_it_lies() {
        let at = tempfile::tempdir().unwrap();
        let at = at.path().canonicalize().unwrap();
        let socket = at.join("app.sock");
        let _listening = UnixListener::bind(&socket).unwrap();
        symlink(&socket, at.join("link.sock")).unwrap();
        symlink(&at, at.join("folder")).unwrap();
        symlink("nowhere", at.join("dangling.sock")).unwrap();
        std::fs::write(at.join("file"), "").unwrap();
        let why = |name: &str| refused(&at.join(name), Path::new("/state")).unwrap_or_default();
        for (name, words) in [
            ("link.sock", "through a link"),
            ("folder/app.sock", "through a link"),
            ("folder/later.sock", "through a link"),
            ("dangling.sock", "through a link"),
            ("file", "no socket"),
        ] {
            assert!(why(name).contains(words), "{name}: {}", why(name));
        }
        assert_eq!((&*why("app.sock"), &*why("later.sock")), ("", ""));
        assert!(refused(&socket, &at).unwrap().contains("own state"));
    }
}
