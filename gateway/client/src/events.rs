//! Server-sent events (docs/protocol/events.md): frames parted by an empty line, comments skipped.

use crate::{Failure, http::MAX_REPLY};
use http_body_util::BodyExt;
use hyper::{Response, body::Incoming};

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The word after `event:`.
    pub kind: String,
    /// The `data:` lines, joined by line breaks.
    pub data: String,
}

/// The frames of an open stream, in order.
pub struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// Reads the frames of `response`.
    #[must_use]
    pub fn of(response: Response<Incoming>) -> Self {
        Self {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }

    /// The next frame that is not only a comment; `None` when the gateway ended the stream. May be dropped while it
    /// waits: nothing is lost.
    ///
    /// # Errors
    /// [`Failure::Lost`] when the connection broke, [`Failure::TooLarge`] for a frame beyond all measure.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            while let Some(frame) = split_frame(&mut self.buffer) {
                if let Some(event) = parse(&frame) {
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > MAX_REPLY {
                return Err(Failure::TooLarge { max: MAX_REPLY });
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failure::Lost(error.to_string())),
                Some(Ok(part)) => {
                    if let Ok(data) = part.into_data() {
                        self.buffer.extend(data.iter().filter(|b| **b != b'\r'));
                    }
                }
            }
        }
    }
}

/// Takes the first whole frame off the front.
fn split_frame(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = buffer.split_off(end + 2);
    let frame = std::mem::replace(buffer, rest);
    Some(String::from_utf8_lossy(&frame).into_owned())
}

fn parse(frame: &str) -> Option<Event> {
    let (mut kind, mut data) = (String::new(), Vec::new());
    for line in frame.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut kind),
            "data" => data.push(value),
            _ => {}
        }
    }
    (!data.is_empty()).then(|| Event {
        kind,
        data: data.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let mut buffer =
            b": hello\n\nevent: a\nid: 7\ndata: {\"x\":\ndata: 1}\n\nevent: b\nda".to_vec();
        assert_eq!(parse(&split_frame(&mut buffer).unwrap()), None);
        let event = parse(&split_frame(&mut buffer).unwrap()).unwrap();
        assert_eq!(
            (event.kind.as_str(), event.data.as_str()),
            ("a", "{\"x\":\n1}")
        );
        assert_eq!(split_frame(&mut buffer), None);
        buffer.extend(b"ta: y\n\n");
        assert_eq!(parse(&split_frame(&mut buffer).unwrap()).unwrap().data, "y");
        assert!(buffer.is_empty());
    }
}
