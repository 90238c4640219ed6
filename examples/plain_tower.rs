//! Flags around any tower service, without axum: `cargo run --example plain_tower`.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_flags::{Flag, FlagLayer, Flags, Memory, flag};

async fn answer(request: Request<String>) -> Result<Response<String>, Infallible> {
    // The answers are in the request, for code that has it, and in scope for all other code.
    let version = request.extensions().get::<Flags>().map_or(0, Flags::version);
    let shout = if flag("shout") { request.body().to_uppercase() } else { request.into_body() };
    Ok(Response::new(format!("{shout} (rules version {version})")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let memory = Memory::new();
    memory.set("shout", r#"{"allowed_users": ["alice"]}"#.parse::<Flag>()?)?;
    let mut service =
        ServiceBuilder::new().layer(FlagLayer::new(memory.clone()).trust_headers()).service(service_fn(answer));

    for user in ["alice", "bob"] {
        let request = Request::builder().header("X-User-ID", user).body(format!("hello {user}"))?;
        let (head, body) = service.ready().await?.call(request).await?.into_parts();
        let text = String::from_utf8(body.collect().await?.to_bytes().into())?;
        println!("{text}, X-Active-Flags: {:?}", head.headers.get("X-Active-Flags"));
    }
    Ok(())
}
