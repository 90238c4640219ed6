//! `Flags` as an argument of axum handlers.

use std::convert::Infallible;
use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use super::flags::Flags;
use super::scope;

/// The same value that `flag()` reads.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Send + Sync> FromRequestParts<S> for Flags {
    type Rejection = FlagsRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, FlagsRejection> {
        scope::of(&parts.extensions).ok_or(FlagsRejection)
    }
}

/// `None` where no layer is around the route.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Send + Sync> OptionalFromRequestParts<S> for Flags {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(scope::of(&parts.extensions))
    }
}

/// No [`FlagLayer`](crate::FlagLayer) is around the route: a mistake in the application, answered
/// with 500.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagsRejection;

impl fmt::Display for FlagsRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no flags in the request: add `.layer(FlagLayer::new(source))` to the router, after the routes that use \
             `Flags`, or take `Option<Flags>` where its `skip` leaves requests out",
        )
    }
}

impl std::error::Error for FlagsRejection {}

impl IntoResponse for FlagsRejection {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
