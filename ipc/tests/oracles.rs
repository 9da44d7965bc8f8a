//! Any bytes as a stream of frames: read to the first that breaks a rule and no further, the same however they arrive.

use plexus_ipc::frame::{FrameError, FrameReader, PREFIX, decode, encode, length};
use plexus_ipc::manifest::Manifest;
use plexus_ipc::message::{FromWorker, ToWorker};
use plexus_mutation::{Accepted, hold};
use serde::{Serialize, de::DeserializeOwned};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// Far below the bound of a worker: what is beyond must be met.
const BOUND: usize = 8 * 1024;

/// Gives so many bytes with each read.
struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = self.1.min(self.0.len()).min(buffer.remaining());
        let (now, rest) = self.0.split_at(size);
        buffer.put_slice(now);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

/// Every message up to the end or the first error.
fn read<M: DeserializeOwned>(bytes: &[u8], piece: usize) -> (Vec<M>, Option<FrameError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let mut reader = FrameReader::<_, M>::new(Pieces(bytes, piece), BOUND);
        let mut heard = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(message)) => heard.push(message),
                Ok(None) => return (heard, None),
                Err(error) => return (heard, Some(error)),
            }
        }
    })
}

fn written<M: Serialize>(messages: &[M]) -> Vec<Vec<u8>> {
    let all = messages.iter().map(|message| encode(message, usize::MAX));
    all.collect::<Result<_, _>>()
        .expect("what was read can be written")
}

/// A bounded stream of one side's messages.
fn stream<M: Serialize + DeserializeOwned>(bytes: &[u8]) -> Accepted {
    let (messages, end) = read::<M>(bytes, usize::MAX);
    let frames = written(&messages);
    for piece in [1, 7] {
        let (again, other_end) = read::<M>(bytes, piece);
        assert_eq!(
            written(&again),
            frames,
            "the same messages in pieces of {piece}"
        );
        assert_eq!(
            other_end.map(|e| e.to_string()),
            end.as_ref().map(ToString::to_string)
        );
    }
    // By hand: so many lengths and bodies, in a row, each within its bound.
    let mut rest = bytes;
    for frame in &frames {
        let size = length(rest, BOUND).expect("a length").expect("whole");
        let body = &rest[PREFIX..PREFIX + size];
        let message: M = decode(body).expect("a message");
        assert_eq!(&encode(&message, usize::MAX).expect("written"), frame);
        // What it is written as is read as the same.
        let back: M = decode(&frame[PREFIX..]).expect("reads back");
        assert_eq!(&encode(&back, usize::MAX).expect("written"), frame);
        rest = &rest[PREFIX + size..];
    }
    match end {
        None => assert!(rest.is_empty(), "an end between two frames"),
        Some(FrameError::Truncated) => {
            assert!(
                length(rest, BOUND)
                    .expect("a length or part of one")
                    .is_none_or(|size| PREFIX + size > rest.len())
            );
        }
        Some(FrameError::Length { length, bound }) => assert!(length == 0 || length > bound),
        Some(FrameError::Decode(why)) => {
            let size = length(rest, BOUND).expect("a length").expect("whole");
            let again = decode::<M>(&rest[PREFIX..PREFIX + size]).map(drop);
            let is_same = matches!(again, Err(FrameError::Decode(said)) if said == why);
            assert!(is_same, "{why}: {again:?}");
        }
        Some(other) => panic!("{other}"),
    }
    !messages.is_empty()
}

const WORDS: &[&[u8]] = &[
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x01\0\0\0",
    b"\x00\x20\0\0",
    b"\xc0",
    b"\xc3",
    b"\x80",
    b"\x90",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xa2id",
    b"\xa6output",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd9\x02\xff\xfe",
];

/// A manifest: refused with a reason, or the same when it is written and read again, with every entry to be found.
fn manifest(bytes: &[u8]) -> Accepted {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let read = match Manifest::parse(text) {
        Ok(read) => read,
        Err(why) => {
            assert!(!why.to_string().is_empty());
            return false;
        }
    };
    for capability in &read.capabilities {
        assert_eq!(read.capability(&capability.name), Some(capability));
        let limits = read.limits_of(capability);
        assert!(limits.frame_bytes > 0 && limits.call_ms > 0);
    }
    for field in &read.fields {
        assert_eq!(read.field(&field.name), Some(field));
    }
    let written = serde_json::to_string(&read).expect("JSON");
    let again = Manifest::parse(&written).expect("what was written is a manifest");
    assert_eq!(serde_json::to_string(&again).expect("JSON"), written);
    true
}

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_manifest_is_read_as_it_is_written() {
    let words: &[&[u8]] = &[
        b"\"verbs\":[\"read\"]",
        b"\"verbs\":[\"write\"]",
        b"\"egress\":[{\"host\":\"a.example\"}]",
        b"\"children\":[]",
        b"\"additionalProperties\":false",
        b"\"pattern\":\"^(a|b)*$\"",
        b"\"maxLength\":18446744073709551615",
        b"\"audience\":\"owner\"",
        b"\"undo\":\"undo\"",
        b"\"resident\":true",
        b"\"platforms\":[\"macos\"]",
        b"null",
        b"\"\"",
    ];
    hold(corpus("manifests"), words, manifest);
}

#[test]
fn what_a_worker_may_send_is_read_or_ends_it() {
    hold(corpus("frames"), WORDS, stream::<FromWorker>);
}

#[test]
fn what_a_gateway_may_send_is_read_or_ends_it() {
    hold(corpus("frames"), WORDS, stream::<ToWorker>);
}
