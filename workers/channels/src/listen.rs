//! The writer's connection to the relay: it pins devices as they appear, sends what waits, and tells of new messages and keys.
//!
//! Invariant: a message is told of once, also over a lost connection and a restart: the watermark of its channel says so. Only a
//! message that opened moves it: of any other the id is the relay's word alone, and it is told of once in the life of a process.

use crate::failed::REMOVED;
use plexus_channels::Id;
use plexus_channels::account::{Account, AccountError, KeyNews, Opened, Unopened};
use plexus_channels::api::Cursor;
use plexus_channels::chain::StateView;
use plexus_channels::events::{EventsError, Listener, Notice};
use plexus_channels::limits::LARGEST_PAGE;
use plexus_channels::state::{Once, WriteStatus};
use plexus_channels::wire::{Code, Event, Message};
use plexus_ipc::worker::{Host, Touched, Verdict};
use plexus_protocol::AuditId;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// The kind under which channels are recorded.
pub const KIND: &str = "channel";
/// The manifest's topics.
const TOPIC: &str = "message";
const KEYS: &str = "keys";
/// Of an event of a message.
const NEW: &str = "a new message";
/// From one try to send what waits to the next.
const SEND_AGAIN: Duration = Duration::from_secs(5);
/// From one connection to the next where the relay does not know the identity: at first, and at most.
const BIND_AGAIN: Duration = Duration::from_secs(10);
const BIND_AGAIN_LATEST: Duration = Duration::from_secs(30);
/// Messages that did not open and are remembered.
const MOST_UNOPENED: usize = 1_000;

/// What is wrong with the connection; `None` while it stands.
pub(crate) type Ailing = Arc<Mutex<Option<String>>>;

/// Takes note of how the connection is.
pub(crate) fn note(ailing: &Ailing, why: Option<String>) {
    *ailing.lock().unwrap_or_else(PoisonError::into_inner) = why;
}

/// Hears what comes in, and sends what waits, until another process holds the connection: that one sends it too.
pub(crate) async fn listen(account: Arc<Account>, host: Host, ailing: Ailing) {
    tokio::select! {
        () = hear(&account, &host, &ailing) => {}
        () = send_again(&account) => {}
    }
}

/// A message whose answer was lost is sent again, with the same bytes, also where the connection stands.
async fn send_again(account: &Account) {
    loop {
        sleep(SEND_AGAIN).await;
        // If the relay is still away, the next round tries.
        let _ = flush(account).await;
    }
}

/// Until another process holds the connection: each would end the other's.
async fn hear(account: &Account, host: &Host, ailing: &Ailing) {
    let mut pause = BIND_AGAIN;
    let mut unopened = Unopened::new(MOST_UNOPENED);
    let mut listener = Listener::new(Arc::clone(account.api()));
    loop {
        match listener.next().await {
            Ok(Notice::Bound { .. }) => {
                note(ailing, None);
                pause = BIND_AGAIN;
                // What it missed is met with the next message, or at the next connection.
                if let Err(error) = catch_up(account, host, &mut unopened).await {
                    tracing::warn!(%error, "what happened meanwhile could not be taken in");
                }
            }
            Ok(Notice::Event(event)) => {
                match heard(account, host, &mut unopened, event).await {
                    // No member any more, when it was looked at: the relay says that too.
                    Err(AccountError::Relay(gone)) if gone.code() == Some(Code::NotFound) => {}
                    Err(error) => {
                        tracing::warn!(%error, "what the relay pushed could not be taken in");
                    }
                    Ok(()) => {}
                }
            }
            Ok(Notice::Lost(why)) => {
                let relay = account.api().endpoint();
                note(ailing, Some(format!("no connection to {relay}: {why}")));
            }
            // Another relay may have answered for a while.
            Err(EventsError::Unknown | EventsError::Removed) => {
                note(ailing, Some(REMOVED.to_owned()));
                sleep(pause).await;
                pause = (pause * 2).min(BIND_AGAIN_LATEST);
            }
            Err(over @ EventsError::Replaced) => {
                note(ailing, Some(over.to_string()));
                return;
            }
        }
        for refused in account.take_refused_devices() {
            let (user, device) = (refused.user_id, refused.device_id);
            tracing::warn!(%user, %device, change = "refused", "the relay shows another device of a user");
        }
        for news in account.take_key_news() {
            tell_of_keys(host, news).await;
        }
    }
}

/// Tells of a key that was renewed, of who came and left with it, and of what the relay shows and is refused.
async fn tell_of_keys(host: &Host, news: KeyNews) {
    let signed = |state: &StateView| {
        let fingerprint = state.key.map(|key| key.to_string());
        let by = json!({"id": state.user_id, "fingerprint": fingerprint});
        json!({"version": state.key_version, "by": by, "state": state.state.to_string()})
    };
    let (channel, summary, mut payload) = match news {
        KeyNews::Began(channel, state) => {
            (channel, "the key is signed from now on", signed(&state))
        }
        KeyNews::Renewed {
            channel_id,
            state,
            added,
            removed,
        } => {
            let mut payload = signed(&state);
            (payload["added"], payload["removed"]) = (json!(added), json!(removed));
            (channel_id, "key_rotated", payload)
        }
        KeyNews::Refused(channel, why) => {
            tracing::warn!(%channel, %why, "the relay shows a key that is not used");
            let payload = json!({"refused": why.to_string()});
            (channel, "the relay shows a key that is not used", payload)
        }
    };
    payload["channel"] = json!(channel);
    tell(host, (KEYS, summary), channel, payload).await;
}

/// What happened while nobody listened.
async fn catch_up(
    account: &Account,
    host: &Host,
    unopened: &mut Unopened,
) -> Result<(), AccountError> {
    account.pin_directory().await?;
    flush(account).await?;
    let channels = account.channels(None).await?;
    account.keep_channels(&channels)?;
    for channel in channels {
        let known = account.watermark(channel.id).await;
        if channel.last_message_id <= known {
            continue;
        }
        let newest = match newest(account, channel.id, known).await {
            Ok(newest) => newest,
            Err(away) if away.is_kept() => return Err(away),
            // No member any more.
            Err(_) => continue,
        };
        let Some(newest) = newest else { continue };
        let message = newest.message.message_id;
        let is_opened = newest.content.is_ok();
        let is_new = is_opened || unopened.is_first(channel.id, message);
        if is_new && known.is_some_and(|known| known < message) {
            let payload = json!({"channel": channel.id, "message": message});
            tell(host, (TOPIC, NEW), channel.id, payload).await;
        }
        if is_opened {
            account.advance(&[(channel.id, message)]).await?;
        }
    }
    Ok(())
}

/// The newest message of a channel that opened, else the newest. All behind the watermark are read on the way, so that none of
/// them is new again later.
async fn newest(
    account: &Account,
    channel: Id,
    known: Option<Id>,
) -> Result<Option<Opened>, AccountError> {
    let Some(mut after) = known else {
        let (page, _) = account.unread(channel, Cursor::Newest, 1).await?;
        return Ok(page.into_iter().next_back());
    };
    let mut newest = None;
    loop {
        let cursor = Cursor::After(after);
        let (mut page, more) = account.unread(channel, cursor, LARGEST_PAGE).await?;
        let last = page.last().map(|last| last.message.message_id);
        let proven = page.iter().rposition(|opened| opened.content.is_ok());
        match proven {
            Some(at) => newest = Some(page.swap_remove(at)),
            None => newest = newest.or(page.pop()),
        }
        match last {
            // If nothing opens, a relay could go on for ever.
            Some(last) if more && proven.is_some() => after = last,
            _ => return Ok(newest),
        }
    }
}

/// What became of the message of a call; one that waits is tried.
pub async fn settled(account: &Account, intent: &AuditId) -> Verdict {
    let call = Once::call(intent.as_str());
    if account.fate(&call) == Some(WriteStatus::Waiting) {
        // If the relay stays away, the next connection sends it.
        let _ = flush(account).await;
    }
    match account.fate(&call) {
        Some(WriteStatus::Taken(..)) => Verdict::Happened,
        Some(WriteStatus::Refused) => Verdict::DidNot,
        Some(WriteStatus::Waiting | WriteStatus::Doubtful) | None => Verdict::CannotTell,
    }
}

/// Sends what waits, and passes over what the relay refuses.
pub(crate) async fn flush(account: &Account) -> Result<(), AccountError> {
    let before = account.unsent().len();
    let flushed = account.flush().await;
    for unsent in account.unsent().into_iter().skip(before) {
        let (channel, why) = (unsent.channel_id, unsent.why);
        tracing::warn!(%channel, why, "a message that waited was refused");
    }
    match flushed {
        Err(why) if why.is_kept() => Err(why),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn heard(
    account: &Account,
    host: &Host,
    unopened: &mut Unopened,
    event: Event,
) -> Result<(), AccountError> {
    let (channel_id, message) = match event {
        Event::MessageCreated {
            channel_id,
            message,
        } => (channel_id, message),
        Event::KeyRotated { channel_id, .. }
        | Event::MemberAdded { channel_id, .. }
        | Event::MemberRemoved { channel_id, .. } => {
            return account.look_at_keys(channel_id).await;
        }
        Event::ChannelAdded { channel, .. } => return account.look_at_keys(channel.id).await,
        _ => return Ok(()),
    };
    let known = account.watermark(channel_id).await;
    if known.is_some_and(|known| message.message_id <= known) {
        return Ok(());
    }
    let Message {
        message_id,
        sender_id,
        ref sender_name,
        ..
    } = message;
    let payload = json!({
        "channel": channel_id, "message": message_id,
        "sender": {"id": sender_id, "name": sender_name},
    });
    let is_own = sender_id == account.identity().facts.agent_id;
    // Opening it pins the sender's device.
    let Some(opened) = account.receive(channel_id, message).await? else {
        return Ok(());
    };
    let is_opened = opened.content.is_ok();
    let is_new = is_opened || unopened.is_first(channel_id, message_id);
    if is_new && !is_own {
        tell(host, (TOPIC, NEW), channel_id, payload).await;
    }
    if is_opened {
        account.advance(&[(channel_id, message_id)]).await?;
    }
    Ok(())
}

async fn tell(host: &Host, (topic, summary): (&str, &str), channel: Id, payload: Value) {
    let touched = vec![Touched::read(KIND, channel.to_string(), None)];
    let told = host.event(topic, summary, &payload, touched).await;
    if let Err(error) = told {
        tracing::warn!(?error, "an event could not be sent");
    }
}
