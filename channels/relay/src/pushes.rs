//! What members hear of an act, whichever relay appended it.
//!
//! Invariant: a push carries what the answer to the act carries.

use crate::cell::Cell;
use crate::channel::{Act, Channel};
use crate::hub::Hub;
use crate::organization::{Organization, moment};
use plexus_channels::Id;
use plexus_channels::wire::{self, Event};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The events of an act, and to whom.
pub(crate) struct Pushes {
    act: Id,
    events: Vec<(Arc<Vec<Id>>, Event)>,
}

impl Pushes {
    /// Those of an act, whose channel's fold has it.
    pub(crate) fn of(
        channel_id: Id,
        fold: &Channel,
        (id, act): (Id, &Act),
        directory: &Cell<Organization>,
    ) -> Self {
        let members = Arc::clone(fold.members());
        let but = |user: Id| {
            let others = members.iter().copied().filter(|member| *member != user);
            Arc::new(others.collect())
        };
        let member = |user: Id| directory.peek(|users| users.member(user));
        let message = |posted: &crate::channel::Posted| {
            let name = directory.peek(|users| users.name_of(posted.by()));
            let message = posted.clone().wire(channel_id, id, name);
            Event::MessageCreated {
                channel_id,
                message,
            }
        };
        let mut events = Vec::new();
        match act {
            Act::Created {
                by,
                message: opening,
                ..
            } => {
                if let Some(channel) = view(fold, channel_id, directory) {
                    let by = *by;
                    events.push((but(by), Event::ChannelAdded { channel, by }));
                }
                events.extend(
                    opening
                        .iter()
                        .map(|posted| (members.clone(), message(posted))),
                );
            }
            Act::Posted(posted) => events.push((members.clone(), message(posted))),
            Act::Renamed { by, name } => {
                let (by, name) = (*by, name.clone());
                let event = Event::ChannelRenamed {
                    channel_id,
                    name,
                    by,
                };
                events.push((members.clone(), event));
            }
            Act::Archived { by } => {
                let by = *by;
                events.push((members.clone(), Event::ChannelArchived { channel_id, by }));
            }
            Act::Unarchived { by } => {
                let by = *by;
                events.push((members.clone(), Event::ChannelUnarchived { channel_id, by }));
            }
            Act::MemberAdded { by, user, .. } => {
                if let (Some(channel), Some(added)) =
                    (view(fold, channel_id, directory), member(*user))
                {
                    let by = *by;
                    let event = Event::ChannelAdded { channel, by };
                    events.push((Arc::new(vec![*user]), event));
                    let event = Event::MemberAdded {
                        channel_id,
                        user: added,
                        by,
                    };
                    events.push((but(*user), event));
                }
            }
            Act::MemberRemoved { by, user } => {
                let by = *by;
                let event = Event::ChannelRemoved { channel_id, by };
                events.push((Arc::new(vec![*user]), event));
                if let Some(user) = member(*user) {
                    let event = Event::MemberRemoved {
                        channel_id,
                        user,
                        by,
                        rotation_due: true,
                    };
                    events.push((members.clone(), event));
                }
            }
            Act::Rotated { by, .. } => {
                let event = Event::KeyRotated {
                    channel_id,
                    key_version: fold.key_version(),
                    by: *by,
                };
                events.push((members.clone(), event));
            }
            Act::JoinRequested { user } => {
                let user = member(*user);
                let event = user.map(|user| Event::JoinRequested { channel_id, user });
                events.extend(event.map(|event| (members.clone(), event)));
            }
        }
        Self { act: id, events }
    }

    /// Queues them for those who are connected here. The act is durable.
    pub(crate) fn send(self, hub: &Hub) {
        for (to, event) in self.events {
            hub.push(&to, || frame(&event, self.act));
        }
    }
}

/// A channel as its members see it.
pub(crate) fn view(
    fold: &Channel,
    id: Id,
    directory: &Cell<Organization>,
) -> Option<wire::Channel> {
    let (created_by, at, name) = fold.made()?;
    let members = directory.peek(|users| {
        let members = fold.members().iter();
        members.filter_map(|user| users.member(*user)).collect()
    });
    Some(wire::Channel {
        id,
        status: fold.status(),
        name: name.clone(),
        created_by,
        created_at: moment(at.millis()),
        key_version: fold.key_version(),
        rotation_due: fold.rotation_due(),
        members,
        left: BTreeSet::new(),
        last_message_id: fold.last_message(),
    })
}

/// A frame: the event, the id of its act, and when that was.
pub(crate) fn frame(event: &Event, act: Id) -> String {
    let at = moment(act.millis());
    // Nearly every frame is a message: written once, without a tree of values.
    if let Event::MessageCreated {
        channel_id,
        message,
    } = event
        && let Ok(message) = serde_json::to_string(message)
    {
        return format!(
            r#"{{"type":"message.created","event_id":"{act}","at":"{at}","channel_id":"{channel_id}","message":{message}}}"#
        );
    }
    let mut frame = json!(event);
    frame["event_id"] = json!(act);
    frame["at"] = json!(at);
    frame.to_string()
}
