//! gRPC with flags: `cargo run -p tower-flags-grpc-example`.
//!
//! It serves `ADDR` (127.0.0.1:50051) by rules in memory, and prints calls to try with curl.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower_flags::{Flag, FlagLayer, Memory};
use tower_flags_grpc_example::{PriceList, PricesServer, Shop};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rules = Memory::new();
    rules.set("sale", r#"{"percentage": 50, "allowed_users": ["alice"]}"#.parse::<Flag>()?)?;
    rules.set("free_shipping", r#"{"allowed_users": ["alice"]}"#.parse::<Flag>()?)?;

    let (prices, newest) = watch::channel(BTreeMap::from([("teapot", 3000), ("cup", 900), ("saucer", 400)]));
    tokio::spawn(raise(prices));

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:50051".into());
    let listener = TcpListener::bind(address).await?;
    print_calls_to_try(listener.local_addr()?);
    Server::builder()
        // Around all services, and around the answer that there is no such service. The layer that is
        // added first is the outermost here, so an auth layer comes before this one.
        //
        // Whoever can reach this port says who they are. An example on 127.0.0.1 may trust that.
        // No cache stands before gRPC.
        .layer(FlagLayer::new(rules).trust_headers().leave_cache_headers())
        .add_service(PricesServer::new(Shop::new(newest)))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

/// Everything gets dearer by a cent every second.
async fn raise(prices: watch::Sender<PriceList>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        prices.send_modify(|prices| prices.values_mut().for_each(|cents| *cents += 1));
    }
}

fn print_calls_to_try(address: SocketAddr) {
    // Each message has five bytes in front of it: not compressed, and the length of "teapot".
    let call = |method: &str, user: &str| {
        println!(
            r"  printf '\0\0\0\0\6teapot' | curl -siN --http2-prior-knowledge http://{address}/shop.v1.Prices/{method} \
    -H 'content-type: application/grpc' -H 'x-user-id: {user}' --data-binary @- | cat -v"
        );
    };
    println!("listening on http://{address}; try");
    call("Quote", "alice");
    call("Quote", "bob");
    call("Watch", "alice");
    call("Nothing", "alice");
}
