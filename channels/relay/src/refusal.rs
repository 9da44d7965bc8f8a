//! What a relay refuses, as codes of the protocol.

use axum::http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use plexus_channels::Id;
use plexus_channels::wire::{Code, ErrorBody, Refusal as Body};
use serde_json::{Value, json};

/// A refusal on its way to a client.
#[derive(Clone, Debug)]
pub struct Refusal {
    code: Code,
    message: &'static str,
    detail: Value,
    pause: u64,
    overtaken: bool,
}

impl Refusal {
    /// A code and what it means for people.
    pub(crate) const fn new(code: Code, message: &'static str) -> Self {
        Self {
            code,
            message,
            detail: Value::Null,
            pause: 0,
            overtaken: false,
        }
    }

    pub(crate) fn with(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    pub(crate) const fn invalid(message: &'static str) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    pub(crate) const fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing here that you may see")
    }

    pub(crate) const fn unauthorized() -> Self {
        Self::new(Code::Unauthorized, "no valid token; log in")
    }

    /// It says nothing of the proof: the client asks for another challenge.
    pub(crate) const fn unknown_challenge() -> Self {
        let why = "no such challenge here; ask for another one";
        Self::new(Code::UnknownChallenge, why)
    }

    pub(crate) const fn unavailable() -> Self {
        Self::new(
            Code::Unavailable,
            "it is not known whether this was saved; send the same again",
        )
    }

    /// It was decided on acts that another relay's act came behind. Decided again, it may be no refusal.
    pub(crate) const fn overtaken() -> Self {
        let message = "others changed the same all the time; send the same again";
        let mut refusal = Self::new(Code::Unavailable, message);
        refusal.overtaken = true;
        refusal
    }

    pub(crate) const fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// The store cannot be reached; another relay's may be.
    pub(crate) const fn no_store() -> Self {
        Self::new(
            Code::Unavailable,
            "this relay has lost its store; try again later, or another relay",
        )
    }

    /// Whether acts of others that are not read yet could make it another answer.
    pub(crate) const fn rests_on_acts(&self) -> bool {
        !matches!(self.code, Code::Unavailable | Code::RateLimited)
    }

    pub(crate) fn stale(key_version: u32) -> Self {
        Self::new(Code::StaleKeyVersion, "the channel has another key version")
            .with(json!({"key_version": key_version}))
    }

    pub(crate) fn devices(code: Code, message: &'static str, devices: &[Id]) -> Self {
        Self::new(code, message).with(json!({"devices": devices}))
    }

    pub(crate) const fn rate_limited(pause: u64) -> Self {
        let mut refusal = Self::new(Code::RateLimited, "too many requests");
        refusal.pause = pause;
        refusal
    }

    /// The member has asked for more than it reads.
    pub(crate) const fn unread() -> Self {
        let mut refusal = Self::rate_limited(1);
        refusal.message = "answers to you wait to be read";
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status());
        let body = ErrorBody {
            error: Body {
                code: self.code,
                message: self.message.to_owned(),
                detail: self.detail,
            },
        };
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        if self.pause > 0 {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(self.pause));
        }
        response
    }
}
