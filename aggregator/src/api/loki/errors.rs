//! Why a request failed, with Loki's statuses and plain text.

use hyper::StatusCode;
use kansoku_model::select::SelectError;
use kansoku_query::logql::{ParseError, QueryError};

use crate::api::gate::Interrupted;
use crate::http::Reply;
use crate::tenants::NoStore;

/// A status and what is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

impl ApiError {
    /// The request is wrong.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// The answer.
    #[must_use]
    pub fn reply(self) -> Reply {
        // Without an end of line, which logcli would print.
        Reply::new(self.status, "text/plain; charset=utf-8", self.message).unsniffed()
    }
}

impl From<NoStore> for ApiError {
    fn from(why: NoStore) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: why.to_string(),
        }
    }
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let status = match error {
            QueryError::Parse(_)
            | QueryError::BadRequest(_)
            | QueryError::Pipeline(_)
            | QueryError::Limit(_) => StatusCode::BAD_REQUEST,
            QueryError::Cancelled(_) => client_closed(),
            QueryError::Evaluation(_) | QueryError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            message: error.to_string(),
        }
    }
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<Interrupted> for ApiError {
    fn from(why: Interrupted) -> Self {
        let (status, message) = match why {
            Interrupted::TimedOut | Interrupted::TimedOutInQueue => (
                StatusCode::GATEWAY_TIMEOUT,
                "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed",
            ),
            Interrupted::Abandoned => (client_closed(), "The request was cancelled by the client."),
            Interrupted::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, why.message()),
        };
        Self {
            status,
            message: message.into(),
        }
    }
}

/// 499, as Loki answers it.
fn client_closed() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits")
}
