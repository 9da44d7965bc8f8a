//! How answers look, and how bodies are read.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use plexus_calls::{answer::Answer, limits::CallSlot, refusal};
use plexus_home::tasks::unless_panicked;
use plexus_ledger::SubmitError;
use plexus_protocol::{ErrorBody, ErrorCode, NextKind, json, words::ReasonTooLong};
use plexus_trust::Refusal;
use serde::Serialize;
use serde_json::{Map, Value, json as object};
use std::time::Duration;

/// Largest body of most routes (docs/protocol/README.md#limits).
pub(crate) const BODY: usize = plexus_protocol::MAX_BODY;
/// Largest body of enroll and handshake.
pub const SMALL_BODY: usize = 4 * 1024;
/// What is kept of the body of somebody whose head shows no live credential: any peer that can connect may send one, on each of
/// a thousand connections.
pub(crate) const STRANGERS_BODY: usize = 32 * 1024;
/// What most answers fit in, and what stands around an output, in bytes.
const ROOM: usize = 512;
/// An answer that may wait to be taken without holding its call's place, in bytes.
const LIGHT: usize = 64 * 1024;
/// How long a body may take to arrive.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(15);

/// The code of the error that a response is about, for the counters: an extension of the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyCode(pub(crate) ErrorCode);

/// A refusal on its way out: the standard envelope (docs/protocol/errors.md).
#[derive(Debug)]
pub struct Refused {
    status: u16,
    error: Box<ErrorBody>,
    /// Members beside `error` (docs/protocol/errors.md: `unknownCapabilities`, `rejected`).
    beside: Vec<(&'static str, Value)>,
    /// What is answered in place of all that.
    result: Option<Box<Value>>,
}

impl Refused {
    /// With the code's own status.
    pub fn new(error: ErrorBody) -> Self {
        Self {
            status: error.code.status(),
            error: Box::new(error),
            beside: Vec::new(),
            result: None,
        }
    }
    /// A result that says `ok: false` in place of the envelope (docs/protocol/errors.md).
    pub fn result(status: u16, result: Value) -> Self {
        let why = result.get("reason").and_then(Value::as_str);
        let error = ErrorBody::new(ErrorCode::InternalError, why.unwrap_or_default());
        Self {
            result: Some(Box::new(result)),
            ..Self::new(error).status(status)
        }
    }
    /// With another status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
    /// With a member beside `error`.
    pub fn beside(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.beside.push((key, value.into()));
        self
    }
    /// A malformed request on most routes: 400 `internal_error`.
    pub fn malformed(why: impl Into<String>) -> Self {
        Self::new(ErrorBody::new(ErrorCode::InternalError, why).next("fix the request"))
    }
    /// Our own failure, as an agent is told of it: 500 `internal_error`.
    pub fn failed(why: impl Into<String>) -> Self {
        let error = ErrorBody::new(ErrorCode::InternalError, why);
        let next = "stop; tell the owner: look at what plexusd printed";
        Self::new(error.then(NextKind::Stop, next)).status(500)
    }
    /// 400 with another code.
    pub fn bad(code: ErrorCode, why: impl Into<String>) -> Self {
        Self::new(ErrorBody::new(code, why).next("fix the request")).status(400)
    }
    /// About one field of a form or of a body, which its `detail` names.
    #[must_use]
    pub fn about(mut self, field: &str) -> Self {
        self.error.detail = Some(object!({ "field": field }));
        self
    }
    /// With these words in place of its own.
    #[must_use]
    pub fn worded(mut self, why: impl Into<String>) -> Self {
        self.error.message = why.into();
        self
    }
    /// Its words.
    pub fn why(&self) -> &str {
        &self.error.message
    }
    /// The reason that a source gave.
    pub fn reason(&self) -> Option<&str> {
        self.error.reason()
    }
    /// The error alone.
    pub fn into_error(self) -> ErrorBody {
        *self.error
    }
    pub(crate) fn status_code(&self) -> u16 {
        self.status
    }
    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.error.code
    }
}

impl From<SubmitError<Refusal>> for Refused {
    fn from(error: SubmitError<Refusal>) -> Self {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            other => Self::new(refusal::not_recorded(&other, None)),
        }
    }
}

impl From<ReasonTooLong> for Refused {
    fn from(error: ReasonTooLong) -> Self {
        let error = ErrorBody::new(ErrorCode::SchemaValidationFailed, error.to_string());
        Self::new(error.next("fix the request")).about("reason")
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal::refused(&refusal, None))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if let Some(result) = self.result {
            return with_status(self.status, &result);
        }
        let (retry, said) = (retry_after(&self.error), ReplyCode(self.error.code));
        let mut body = object!({ "error": self.error });
        for (key, value) in self.beside {
            body[key] = value;
        }
        let mut response = hinted(with_status(self.status, &body), retry);
        response.extensions_mut().insert(said);
        response
    }
}

/// The answer of a call on its way out, with the call's slot.
pub(crate) fn answered(answer: &Answer, place: Option<CallSlot>) -> Response {
    let output = answer.body.output.as_ref().map_or(0, |o| o.get().len());
    let retry = answer.body.error.as_deref().and_then(retry_after);
    let body = sized(answer.status, &answer.body, output + ROOM, place);
    let mut response = hinted(body, retry);
    if let Some(error) = &answer.body.error {
        response.extensions_mut().insert(ReplyCode(error.code));
    }
    response
}

impl From<Box<ErrorBody>> for Refused {
    fn from(error: Box<ErrorBody>) -> Self {
        Self::new(*error)
    }
}

/// `retryAfterMs` of a refusal in whole seconds, as HTTP counts them.
fn retry_after(error: &ErrorBody) -> Option<u64> {
    let ms = error.more.get("retryAfterMs")?.as_u64()?;
    Some(ms.div_ceil(1_000))
}

/// The same hint where programs look that know HTTP and not us.
fn hinted(mut response: Response, seconds: Option<u64>) -> Response {
    if let Some(seconds) = seconds {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// 200 with a JSON body.
pub fn ok(body: &impl Serialize) -> Response {
    with_status(200, body)
}

/// 202 with a JSON body: it is asked for, and not done yet.
pub fn accepted(body: &impl Serialize) -> Response {
    with_status(202, body)
}

/// 200 with a JSON body that may hold an output, and the slot of the call that asks for it.
pub(crate) fn leaving(body: &impl Serialize, place: Option<CallSlot>) -> Response {
    sized(200, body, ROOM, place)
}

/// Any status with a JSON body. `content-type` has no charset parameter (docs/protocol/README.md#limits).
pub fn with_status(status: u16, body: &impl Serialize) -> Response {
    sized(status, body, ROOM, None)
}

/// Bytes that wait to be taken, and the place that they hold meanwhile.
struct Leaving {
    bytes: Vec<u8>,
    _place: CallSlot,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same for a body of about `room` bytes: one that is larger costs a copy or two. If it is no [`LIGHT`] one, `place`
/// is given back when the last of it was taken: an agent has so many places, and with them so much memory.
fn sized(status: u16, body: &impl Serialize, room: usize, place: Option<CallSlot>) -> Response {
    let mut bytes = Vec::with_capacity(room);
    let (status, bytes) = match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => (
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            bytes,
        ),
        Err(error) => {
            tracing::error!(name: "http.unserialisable", %error, "a body does not serialise");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                br#"{"error":{"code":"internal_error","message":"a body does not serialise"}}"#
                    .to_vec(),
            )
        }
    };
    let mut response = made_holding(bytes, place);
    *response.status_mut() = status;
    response
}

/// 200 with JSON that is written already, and the place that it holds as [`sized`] says.
pub(crate) fn made_holding(bytes: Vec<u8>, place: Option<CallSlot>) -> Response {
    made(match place.filter(|_| bytes.len() > LIGHT) {
        Some(_place) => Bytes::from_owner(Leaving { bytes, _place }),
        None => Bytes::from(bytes),
    })
}

/// 200 with JSON that is written already.
pub(crate) fn made(json: Bytes) -> Response {
    let mut response = Response::new(Body::from(json));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
/// 413 `payload_too_large`; 400 where it does not arrive whole or in time.
pub(crate) async fn body(request: Request, most: usize) -> Result<Bytes, Refused> {
    let read = read(request, most, most).await?;
    // What is not too large is kept whole.
    Ok(read.unwrap_or_default())
}

pub(crate) async fn read(
    request: Request,
    most: usize,
    kept: usize,
) -> Result<Option<Bytes>, Refused> {
    let too_large = || {
        Refused::new(
            ErrorBody::new(
                ErrorCode::PayloadTooLarge,
                format!("The body is larger than {most} bytes."),
            )
            .next("send less"),
        )
    };
    if declared(&request).is_some_and(|announced| announced > most as u64) {
        return Err(too_large());
    }
    let mut body = request.into_body();
    let (mut bytes, mut came) = (BytesMut::new(), 0);
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refused::malformed("the body did not arrive whole"))?;
            if let Some(data) = frame.data_ref() {
                came += data.len();
                if came > most {
                    break;
                }
                if came > kept {
                    bytes = BytesMut::new();
                } else {
                    bytes.extend_from_slice(data);
                }
            }
        }
        Ok::<(), Refused>(())
    };
    let arrived = tokio::time::timeout(BODY_TIME, reading).await;
    if came > most {
        return Err(too_large());
    }
    match arrived {
        Ok(whole) => whole.map(|()| (came <= kept).then(|| bytes.freeze())),
        Err(_) => {
            let why = "the body did not arrive in time";
            let late = ErrorBody::new(ErrorCode::InternalError, why);
            Err(Refused::new(late.then(NextKind::Retry, "send it again")).status(408))
        }
    }
}

/// Reads a body and parses it strictly (docs/design.md#the-life-of-a-call).
///
/// # Errors
/// The body did not arrive whole, or in time; 400 `code` where it is not strict JSON.
pub async fn json_body(request: Request, most: usize, code: ErrorCode) -> Result<Value, Refused> {
    parsed(&body(request, most).await?, code)
}

/// A body's bytes, parsed strictly.
///
/// # Errors
/// 400 `code`.
pub(crate) fn parsed(bytes: &[u8], code: ErrorCode) -> Result<Value, Refused> {
    json::parse(bytes).map_err(|why| Refused::bad(code, format!("invalid JSON body: {why}")))
}

/// The same of a body that holds inputs: whether an input may have integers of 64 bits, its capability says.
///
/// # Errors
/// 400 `code`.
pub(crate) fn parsed_wide(bytes: &[u8], code: ErrorCode) -> Result<Value, Refused> {
    json::parse_wide(bytes).map_err(|why| Refused::bad(code, format!("invalid JSON body: {why}")))
}

/// Reads a body that must be a JSON object, as most owner routes do.
///
/// # Errors
/// 400 `internal_error`.
pub async fn object_body(request: Request) -> Result<Map<String, Value>, Refused> {
    members(json_body(request, BODY, ErrorCode::InternalError).await?)
}

/// The members of a body that must be an object.
///
/// # Errors
/// 400 `internal_error`.
pub(crate) fn members(body: Value) -> Result<Map<String, Value>, Refused> {
    match body {
        Value::Object(members) => Ok(members),
        _ => Err(Refused::malformed("invalid JSON body: an object is wanted")),
    }
}

/// One query parameter, percent-decoded.
pub fn query(request: &Request, key: &str) -> Option<String> {
    query_of(request.uri(), key)
}

/// The same of an address.
pub fn query_of(uri: &Uri, key: &str) -> Option<String> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.0.into_iter().find(|(k, _)| k == key).map(|(_, v)| v)
}

/// One handler's panic is a 500 in the wire's shape, not the end of every agent's session.
pub(crate) async fn or_panicked<E>(
    path: &str,
    answering: impl Future<Output = Result<Response, E>>,
) -> Result<Response, E> {
    unless_panicked(answering).await.unwrap_or_else(|| {
        tracing::error!(name: "http.panicked", path, "a handler panicked");
        let error = ErrorBody::new(
            ErrorCode::InternalError,
            "The gateway failed on this request.",
        )
        .effect(plexus_protocol::Effect::Unknown)
        .then(
            NextKind::Stop,
            "stop; tell the owner: look at what plexusd printed",
        );
        Ok(Refused::new(error).status(500).into_response())
    })
}

/// How long a body says that it is.
pub(crate) fn declared(request: &Request) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use axum::body::HttpBody;
    use hyper::body::Frame;
    use plexus_calls::limits::Limits;
    use plexus_protocol::{AgentId, body::InvokeResponse};
    use serde_json::value::RawValue;
    use std::task::Poll;
    use std::{pin::Pin, task::Context};

    /// So many pieces of a body that are still to come; with the most that there can be, they never come.
    pub(crate) struct Pieces(pub(crate) usize);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.0 == usize::MAX {
                return Poll::Pending;
            }
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or_default();
            Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::from(vec![b' '; 16 * 1024])))))
        }
    }

    #[tokio::test]
    async fn what_is_too_long_to_keep_is_read_to_its_end_and_let_go() {
        let kept = async |pieces| {
            let request = Request::new(Body::new(Pieces(pieces)));
            read(request, BODY, STRANGERS_BODY).await
        };
        let two = kept(2).await.unwrap();
        assert_eq!(two.map(|b| b.len()), Some(STRANGERS_BODY));
        for pieces in [3, 64] {
            assert_eq!(kept(pieces).await.unwrap(), None);
        }
        let refused = kept(65).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::PayloadTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_is_to_be_sent_again() {
        let late = Request::new(Body::new(Pieces(usize::MAX)));
        let refused = body(late, BODY).await.unwrap_err();
        assert_eq!(refused.status_code(), 408);
        assert_eq!(refused.into_error().next, "send it again");
    }

    #[tokio::test]
    async fn a_large_answer_holds_its_place_until_it_is_taken() {
        let limits = Limits::default();
        let agent = AgentId::parse("one").unwrap();
        let response = |bytes: usize| {
            let output = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes)));
            let mut body = InvokeResponse::ok("notes.read", None);
            body.output = Some(output.unwrap());
            answered(&Answer { status: 200, body }, limits.enter(&agent))
        };
        let large = response(LIGHT);
        let small = response(LIGHT / 2);
        assert_eq!(limits.under_way(), 1, "a small one holds none");
        let mut body = large.into_body();
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert!(bytes.len() > LIGHT);
        assert_eq!(limits.under_way(), 1, "it waits to be taken");
        drop(bytes);
        assert_eq!(limits.under_way(), 0);
        drop(small);
    }
}
