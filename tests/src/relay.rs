//! A real relay of channels, with its store in a folder of its own.

use crate::binaries;
use crate::gateway::Gateway;
use crate::programs::{Said, command, run};
use crate::waiting::lines;
use serde_json::Value;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A relay that serves; it goes with the value.
pub struct Relay {
    process: Child,
    folder: TempDir,
    address: String,
}

impl Relay {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not serve.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut serve = command(&binaries::path("plexus-relay"), folder.path());
        serve
            .arg("serve")
            .args(Self::store(&folder))
            .args(["--listen", "127.0.0.1:0"])
            .args(["--device-rate", "0", "--address-rate", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = serve.spawn().expect("it starts");
        let stdout = process.stdout.take().expect("a pipe");
        let line = lines(stdout).next().unwrap_or_default();
        let ready = line.strip_prefix("PLEXUS_RELAY_READY ").expect("ready");
        let ready: Value = serde_json::from_str(ready).expect("JSON");
        Self {
            process,
            folder,
            address: ready["endpoint"].as_str().expect("an address").to_owned(),
        }
    }

    fn store(folder: &TempDir) -> [String; 2] {
        let file = folder.path().join("store");
        ["--store".to_owned(), format!("redb:{}", file.display())]
    }

    /// Has the owner of a gateway join it by an invitation; the source is `channels`.
    #[track_caller]
    pub fn joined_by(&self, gateway: &Gateway, name: &str) -> Said {
        let mut invite = command(&binaries::path("plexus-relay"), self.folder.path());
        invite.arg("invite").args(Self::store(&self.folder)).args([
            "--organization",
            "Acme",
            "--kind",
            "human",
        ]);
        let invitation = self.folder.path().join("invitation");
        std::fs::write(&invitation, run(invite).expect_ok().trim()).expect("written");
        let invitation = invitation.display().to_string();
        gateway.cli([
            "channels",
            "join",
            &self.address,
            "--name",
            name,
            "--invitation",
            &invitation,
        ])
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // One that has ended is reaped already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
