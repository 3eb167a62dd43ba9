//! A status and a body of JSON.

use std::fmt;

use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes, header::CONTENT_TYPE};
use serde::Serialize;

use super::wire::Refused;
use crate::audit::witness::Refusal;

const JSON: &str = "application/json";

/// What a request is answered with.
pub(super) struct Answer {
    status: StatusCode,
    body: String,
    /// The word and the sentence, where it was refused.
    pub(super) refused: Option<(String, String)>,
}

impl Answer {
    pub(super) fn of(body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self { status: StatusCode::OK, body, refused: None },
            Err(error) => Self::refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error),
        }
    }

    pub(super) fn refused(status: StatusCode, what: &str, error: &dyn fmt::Display) -> Self {
        let refused = Refused { error: error.to_string(), what: what.to_owned() };
        let body = serde_json::to_string(&refused).unwrap_or_default();
        Self { status, body, refused: Some((refused.what, refused.error)) }
    }

    pub(super) fn malformed(error: &dyn fmt::Display) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, "malformed", error)
    }

    /// To a batch that does not go on from what is known.
    pub(super) fn unfit(refusal: &Refusal) -> Self {
        Self::refused(status(refusal), refusal.word(), refusal)
    }

    pub(super) fn certificate() -> Self {
        let error = "this needs a certificate of the sink; enroll with a token";
        Self::refused(StatusCode::FORBIDDEN, "certificate", &error)
    }

    pub(super) fn unavailable() -> Self {
        let error = "the sink is stopping";
        Self::refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error)
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Full::from(answer.body));
        *response.status_mut() = answer.status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(JSON));
        response
    }
}

const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Bounds { .. } | Refusal::Behind { .. } => StatusCode::BAD_REQUEST,
        Refusal::Gap { .. }
        | Refusal::Lost { .. }
        | Refusal::Rewind { .. }
        | Refusal::Fork { .. }
        | Refusal::Root { .. } => StatusCode::CONFLICT,
        Refusal::Note(_) | Refusal::Key { .. } => StatusCode::FORBIDDEN,
    }
}
