//! `plexusctl channels join`: registers with a relay, in one step with the source that it makes.

use crate::{
    owner::Desk,
    sources::add::{Add, AddedSource, OwnFlags},
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_owner::{
    channels::{Identity, List},
    sources::Remove,
};
use plexus_protocol::SourceId;
use serde::Serialize;
use std::path::PathBuf;

/// A relay to register with.
#[derive(Args)]
pub(super) struct Join {
    /// Relay, as https://HOST; http only on this machine
    relay: String,
    /// Name that others see: a first name; the last name stays empty
    #[arg(long)]
    name: String,
    /// File with the invitation, or - for standing input [default: typed at the terminal]
    #[arg(long, value_name = "FILE")]
    invitation: Option<String>,
    /// File (PEM) with the authority that signed the relay's certificate, for a relay of your own
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// The source, and who its owner is at the relay.
#[derive(Serialize)]
struct JoinResult<'y> {
    #[serde(flatten)]
    added: AddedSource,
    you: &'y Identity,
}

impl Join {
    pub(super) async fn run(self, desk: &Desk, source: Option<SourceId>) -> Result<Exit, Stop> {
        let mut fields = vec![
            format!("relay={}", self.relay),
            format!("displayName={}", self.name),
        ];
        if let Some(file) = &self.ca {
            fields.push(format!("ca={}", file.display()));
        }
        let secret = self.invitation.map(|file| format!("invitation={file}"));
        let flags = OwnFlags {
            id: "--source",
            secret: "--invitation",
        };
        let add = Add::of(
            "channels",
            flags,
            source,
            fields,
            secret.into_iter().collect(),
        );
        add.judge(desk)?;
        if !add.has_secrets() && !desk.can_ask() {
            let why = "nobody can be asked for the invitation here: give --invitation FILE";
            return Err(Stop::usage(why));
        }
        let mut owner = desk.open().await?;
        let (added, said) = add.add(desk, &mut owner).await?;
        let id = added.added.source.id.clone();
        let listed = owner.call(&List {}).await;
        let channels = listed.map_err(|stop| {
            let why = format!(
                "{id} is added, and who you are there is not known yet: {}",
                stop.why
            );
            Stop { why, ..stop }.next("plexusctl channels list")
        })?;
        let mut you = channels.you.iter();
        let Some(you) = you.find(|you| you.source == id) else {
            let removed = owner.call(&Remove { id: id.to_string() }).await;
            let away = channels.away.iter().find(|away| away.source == id);
            let why = away.map_or("it does not say who you are at the relay", |away| &away.why);
            let stop = |what: &str| {
                let why = format!("{what}: {}", text::line(why));
                Stop::new(Exit::Failed, "source_unavailable", why)
            };
            return Err(match removed {
                Ok(_) => stop("not added").next("put that right and run this again"),
                Err(_) => {
                    stop("added, and of no use").next(format!("plexusctl sources remove {id}"))
                }
            });
        };
        desk.show(&JoinResult { added, you }, || {
            format!(
                "{said}\nyou are {} at {}; others compare your key: {}",
                text::line(&you.name),
                text::line(&you.relay),
                text::line(&you.fingerprint),
            )
        })
    }
}
