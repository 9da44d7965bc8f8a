//! A client for a person: registers, lists channels, says, and shows what comes.
//!
//! `cargo run -p plexus-channels --example talk -- --help`. `plexus-relay invite` gives the invitation.

#![expect(clippy::print_stdout, reason = "it shows messages to a person")]

use clap::{Parser, Subcommand};
use plexus_channels::account::{Account, Opened};
use plexus_channels::api::Cursor;
use plexus_channels::crypto::Content;
use plexus_channels::dial::{Direct, Endpoint};
use plexus_channels::events::{Listener, Notice};
use plexus_channels::identity::{Home, Registration};
use plexus_channels::wire::Event;
use plexus_channels::{Id, PublicKey};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Parser)]
#[command(about = "Talk on end-to-end encrypted channels")]
struct Cli {
    /// Where identities are kept
    #[arg(long, default_value = "talk-home")]
    home: PathBuf,
    /// Which identity; the only one where this is left out
    #[arg(long)]
    identity: Option<String>,
    /// Certificate authorities to trust beside the usual ones, PEM
    #[arg(long)]
    ca: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Register with a relay; the invitation is read from PLEXUS_INVITATION
    Register {
        server: String,
        first_name: String,
        #[arg(env = "PLEXUS_INVITATION", hide_env_values = true)]
        invitation: String,
    },
    /// Show the users of your organization, with the fingerprints of their devices
    Users,
    /// Show your channels
    Channels,
    /// Make a channel with users
    Open { name: String, users: Vec<Id> },
    /// Add a user to a channel
    Add { channel: Id, user: Id },
    /// Say something in a channel
    Say { channel: Id, text: String },
    /// Show the last messages of a channel, then what comes
    Tail { channel: Id },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    let home = Home::at(&cli.home)?;
    let dial = match &cli.ca {
        Some(file) => Arc::new(Direct::trusting(&std::fs::read(file)?)?),
        None => Arc::new(Direct::default()),
    };
    if let Command::Register {
        server,
        first_name,
        invitation,
    } = cli.command
    {
        let registration = Registration {
            endpoint: Endpoint::parse(&server)?,
            invitation: invitation.into(),
            first_name: Some(first_name),
            last_name: None,
            skills: Vec::new(),
        };
        let identity = home.register(dial, &registration).await?;
        println!("{}", identity.folder().display());
        return Ok(());
    }
    let names = home.identities()?;
    let name = match (&cli.identity, names.as_slice()) {
        (Some(name), _) | (None, [name]) => name,
        _ => return Err(format!("name one with --identity: {}", names.join(", ")).into()),
    };
    let account = Account::open(home.open(name)?, dial)?;
    match cli.command {
        Command::Register { .. } => {}
        Command::Users => {
            for user in account.api().users().await? {
                println!("{} {}", user.id, shown(&user.name));
                for device in user.devices {
                    let key = PublicKey::from_bytes(&device.public_key.0)?;
                    println!("    {}", key.shown_fingerprint());
                }
            }
        }
        Command::Channels => {
            for channel in account.channels(None).await? {
                let name = account.name_of(&channel).await;
                let name = name.unwrap_or_else(|why| format!("[{why}]"));
                println!(
                    "{} {} ({} members)",
                    channel.id,
                    shown(&name),
                    channel.members.len()
                );
            }
        }
        Command::Open { name, users } => {
            println!("{}", account.create(&name, &users, None).await?.id);
        }
        Command::Add { channel, user } => drop(account.add_member(channel, user).await?),
        Command::Say { channel, text } => {
            println!("{}", account.send(channel, &text).await?.message_id);
        }
        Command::Tail { channel } => tail(&account, channel).await?,
    }
    Ok(())
}

async fn tail(account: &Account, channel: Id) -> Result<(), Box<dyn Error>> {
    let mut listener = Listener::new(Arc::clone(account.api()));
    let mut last = None;
    loop {
        match listener.next().await? {
            Notice::Lost(why) => println!("[{why}; trying again]"),
            Notice::Bound { .. } => loop {
                let cursor = last.map_or(Cursor::Newest, Cursor::After);
                let (page, more) = account.history(channel, cursor, 20).await?;
                for opened in page {
                    last = Some(opened.message.message_id);
                    show(&opened);
                }
                if !more || matches!(cursor, Cursor::Newest) {
                    break;
                }
            },
            Notice::Event(Event::MessageCreated {
                channel_id,
                message,
            }) if channel_id == channel => {
                if last.is_some_and(|last| message.message_id <= last) {
                    continue;
                }
                last = Some(message.message_id);
                if let Some(opened) = account.receive(channel_id, message).await? {
                    show(&opened);
                }
            }
            Notice::Event(_) => {}
        }
    }
}

fn show(opened: &Opened) {
    let text = match &opened.content {
        Ok(Content::Text(text)) => shown(text),
        Ok(Content::Unsupported) => "[unsupported message]".to_owned(),
        Err(trouble) => format!("[{trouble}]"),
    };
    println!("{}: {text}", shown(&opened.message.sender_name));
}

/// A text of somebody else: a terminal obeys none of it, and it stays in its line.
fn shown(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() || ('\u{202a}'..='\u{2069}').contains(&c) {
            ' '
        } else {
            c
        }
    };
    text.chars().map(plain).collect()
}
