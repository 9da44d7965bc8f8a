//! What a failure means to an agent.

use plexus_channels::account::AccountError;
use plexus_channels::api::ApiError;
use plexus_channels::wire::Code;
use plexus_ipc::worker::SourceError;
use plexus_protocol::Effect;
use serde_json::json;

/// The error of a read or a plan.
#[must_use]
pub fn told(error: &AccountError) -> SourceError {
    match error {
        AccountError::Relay(error) | AccountError::Kept(error) | AccountError::Doubtful(error) => {
            of_relay(error)
        }
        AccountError::Text | AccountError::Name => SourceError::invalid(error.to_string()),
        AccountError::Trouble(why) => SourceError::transport("not_safe", why.to_string()),
        AccountError::Unsettled => SourceError::transport("conflict", error.to_string()),
        AccountError::Unseen => SourceError::transport("outbox_full", error.to_string()),
        AccountError::Disk(_) | AccountError::KeptHere(_) => {
            SourceError::internal("the identity's files cannot be used")
        }
    }
}

/// The relay does not know the key, and no invitation brings a removed one back.
const GONE: &str = "the relay does not know this source's identity: it was removed, or the relay has another store; its owner asks \
     the relay's operator";
/// The same to the owner of a source of this kind.
pub(crate) const REMOVED: &str = "the relay does not know this identity: it was removed, or the relay has another store; ask its operator \
     first, and if it was removed: plexusctl channels join RELAY --name NAME --source NEW";

/// Whether the relay does not know this identity. A token that has ended says nothing of it: the relay knew the key.
pub(crate) fn is_removed(error: &ApiError) -> bool {
    error.code() == Some(Code::InvalidProof)
}

/// Why a message waits in the outbox that the disk holds up.
const KEPT_HERE: &str = "the identity's files cannot be written; the message is kept and is sent once when they can: do not \
     send it again, and tell the owner to look at the disk";

/// The error of an effect, with what was done. A message that `is_sent` and not kept has not left.
pub(crate) fn of_effect(error: &AccountError, is_sent: bool) -> SourceError {
    match error {
        AccountError::Kept(why) => SourceError::transport("kept", of_kept(why)).effect(Effect::Unknown),
        AccountError::KeptHere(_) => SourceError::transport("kept", KEPT_HERE).effect(Effect::Unknown),
        AccountError::Doubtful(_) => SourceError::transport(
            "doubtful",
            "the relay refuses the message now, and may have taken it when its answer was lost: this source is no \
             member of the channel any more; ask one what is there",
        )
        .effect(Effect::Unknown),
        AccountError::Relay(why) if why.may_have_acted() && !is_sent => {
            told(error).effect(Effect::Unknown)
        }
        _ => told(error),
    }
}

/// Why a message waits in the outbox.
fn of_kept(why: &ApiError) -> String {
    let why = match why {
        ApiError::Malformed(_) => "the relay's answer cannot be read",
        ApiError::RateLimited(_) => "the relay asks to wait",
        ApiError::Unreachable { .. } => "the relay did not answer",
        ApiError::Refused(refusal) => match refusal.code {
            Code::InvalidProof => GONE,
            _ => "the relay could not save it",
        },
    };
    format!(
        "{why}; the message is kept and is sent once when the relay takes it: do not send it again"
    )
}

fn of_relay(error: &ApiError) -> SourceError {
    match error {
        // Words of this process, its egress and its libraries.
        ApiError::Unreachable { why, .. } => {
            SourceError::unavailable(format!("the relay was not reached: {why}; try again later"))
        }
        ApiError::RateLimited(pause) => {
            let seconds = pause.as_secs().max(1);
            let why = format!("the relay is busy: wait {seconds} s, and try again");
            SourceError::transport("rate_limited", why)
                .detail(json!({"retryAfterSeconds": seconds}))
        }
        ApiError::Malformed(_) => {
            SourceError::transport("bad_answer", "the relay's answer cannot be read")
        }
        ApiError::Refused(refusal) => match refusal.code {
            Code::NotFound => SourceError::transport(
                "not_found",
                "there is no such channel or user here, or this identity is no member of the channel any more; list them",
            ),
            Code::Archived => SourceError::transport(
                "archived",
                "the channel is archived: it can be read, and takes no message",
            ),
            Code::Unavailable | Code::UnknownChallenge => {
                SourceError::unavailable("the relay could not save it; try again later")
            }
            Code::InvalidProof => SourceError::unavailable(GONE),
            // Words of the relay's, which is not trusted.
            _ => SourceError::transport("refused", "the relay refuses it"),
        },
    }
}
