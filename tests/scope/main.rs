//! Where a request's flags can be read, over a real server: wherever its handler, its services and its
//! body run, and while they are dropped; and where they cannot.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod body;
mod carry;
mod drops;
mod handler;
mod lost;
mod names;
mod nested;
mod order;
mod response;
mod routes;
mod skip;
#[path = "../support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::UnboundedSender;
use tower::Service;
use tower_flags::{FlagLayer, flag, try_flag};

use support::{get_as, mine, serve};

/// Asserts that a path of a router with a layer around it says `true` to the one caller for whom the
/// flag `mine` is on, and `false` to others.
async fn assert_callers_see_their_own_flags(router: Router, path: &str) {
    let address = serve(router.layer(FlagLayer::new(mine("alice")))).await;
    assert_eq!(get_as(address, path, "alice").await.text(), "true");
    assert_eq!(get_as(address, path, "bob").await.text(), "false");
}

/// Answers what it reads, at once, within `call`.
#[derive(Clone)]
struct Eager;

impl Service<Request> for Eager {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(flag("mine").to_string().into_response()))
    }
}

/// Reports what `mine` is while it is dropped; `None` out of scope.
struct Guard(UnboundedSender<Option<bool>>);

impl Drop for Guard {
    fn drop(&mut self) {
        // A test that no longer listens has what it wanted.
        let _ = self.0.send(try_flag("mine").ok());
    }
}
