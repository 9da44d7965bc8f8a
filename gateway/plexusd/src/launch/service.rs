//! What the service manager that started the daemon is told, and what its environment tells of it.

/// What systemd is told while one program gives way to another in the process that it watches.
pub(crate) fn reloading() -> Vec<sd_notify::NotifyState<'static>> {
    let mut state = vec![sd_notify::NotifyState::Reloading];
    state.extend(sd_notify::NotifyState::monotonic_usec_now().ok());
    state
}

/// Says to systemd how far we are, where it started us and asks (`NOTIFY_SOCKET`).
pub(crate) fn tell(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(name: "daemon.manager_untold", %error, "the service manager could not be notified");
    }
}

/// Who started the daemon, by what service managers leave in its environment (`systemd.exec(5)`, `launchd.plist(5)`).
pub(crate) fn started_by() -> &'static str {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        "terminal"
    } else if cfg!(target_os = "linux") && set("INVOCATION_ID") {
        "systemd"
    } else if cfg!(target_os = "macos") && set("XPC_SERVICE_NAME") {
        "launchd"
    } else {
        "program"
    }
}
