//! A server on a free port, and a client that names the caller.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::{Service, ServiceExt};
use tower_flags::{Flag, FlagLayer, Memory};
use tower_flags_grpc_example::{PriceList, Prices, PricesServer, Shop, Text};

/// Far longer than anything here takes: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const QUOTE: &str = "/shop.v1.Prices/Quote";
pub(crate) const WATCH: &str = "/shop.v1.Prices/Watch";

/// Memory in which both flags of the shop are on for alice alone.
pub(crate) fn rules() -> Memory {
    let rules = Memory::new();
    for name in ["free_shipping", "sale"] {
        rules.set(name, r#"{"allowed_users": ["alice"]}"#.parse::<Flag>().unwrap()).unwrap();
    }
    rules
}

/// What the header says to alice, who sees both.
pub(crate) const BOTH: Option<&str> = Some("free_shipping,sale");

/// A shop that has one product, and what sets its price.
pub(crate) fn shop() -> (watch::Sender<PriceList>, Shop) {
    let (prices, newest) = watch::channel(teapot(3000));
    (prices, Shop::new(newest))
}

pub(crate) fn teapot(cents: u32) -> PriceList {
    BTreeMap::from([("teapot", cents)])
}

/// A free port of 127.0.0.1.
pub(crate) fn listen() -> (SocketAddr, TcpIncoming) {
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    (incoming.local_addr().unwrap(), incoming)
}

/// Serves with the layer for as long as the test's runtime lives.
pub(crate) async fn with_layer(rules: &Memory, prices: impl Prices) -> Client {
    let (address, incoming) = listen();
    let layer = FlagLayer::new(rules.clone()).trust_headers().leave_cache_headers();
    let server = Server::builder().layer(layer).add_service(PricesServer::new(prices));
    tokio::spawn(server.serve_with_incoming(incoming));
    Client::open(address).await
}

/// The same without the layer.
pub(crate) async fn without_layer(prices: impl Prices) -> Client {
    let (address, incoming) = listen();
    tokio::spawn(Server::builder().add_service(PricesServer::new(prices)).serve_with_incoming(incoming));
    Client::open(address).await
}

pub(crate) struct Client {
    channel: Channel,
    token: Option<&'static str>,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        Self { channel: endpoint.connect().await.unwrap(), token: None }
    }

    /// Sends this as `authorization` with every call.
    pub(crate) fn with_token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Calls a method that answers once.
    pub(crate) async fn call(&self, method: &str, product: &str, user: &str) -> Result<Response<String>, Status> {
        let mut grpc = self.ready().await;
        let reply = grpc.unary(self.request(product, user), method.parse().unwrap(), Text);
        timeout(PATIENCE, reply).await.expect("the server answers")
    }

    pub(crate) async fn quote(&self, product: &str, user: &str) -> Result<Response<String>, Status> {
        self.call(QUOTE, product, user).await
    }

    pub(crate) async fn watch(&self, product: &str, user: &str) -> Result<Response<Streaming<String>>, Status> {
        let mut grpc = self.ready().await;
        let reply = grpc.server_streaming(self.request(product, user), PathAndQuery::from_static(WATCH), Text);
        timeout(PATIENCE, reply).await.expect("the server answers")
    }

    fn request(&self, product: &str, user: &str) -> Request<String> {
        let mut request = Request::new(product.to_owned());
        request.metadata_mut().insert("x-user-id", user.parse().unwrap());
        if let Some(token) = self.token {
            request.metadata_mut().insert("authorization", MetadataValue::from_static(token));
        }
        request
    }

    async fn ready(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        grpc
    }

    /// A whole answer as it came over the wire.
    pub(crate) async fn wire(&self, method: &str, product: &str, user: &str) -> Wire {
        let length = u8::try_from(product.len()).unwrap();
        let message = [&[0, 0, 0, 0, length], product.as_bytes()].concat();
        let request = http::Request::post(method)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-user-id", user)
            .body(Body::new(Full::from(message)))
            .unwrap();
        let mut channel = self.channel.clone();
        let reply = channel.ready().await.unwrap().call(request);
        let response = timeout(PATIENCE, reply).await.expect("the server answers").unwrap();
        let (mut head, body) = response.into_parts();
        // The time of the answer, which is another one each time.
        head.headers.remove("date");
        let is_head_only = body.is_end_stream();
        let body = timeout(PATIENCE, body.collect()).await.expect("the server ends").unwrap();
        let trailers = body.trailers().cloned();
        let body = body.to_bytes().into();
        Wire { status: head.status.as_u16(), headers: head.headers, is_head_only, body, trailers }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Whether the head ended it, as it does where an error stands in place of an answer.
    pub(crate) is_head_only: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// The next message of a stream; `None` at its end, if its status is OK.
pub(crate) async fn next(stream: &mut Streaming<String>) -> Result<Option<String>, Status> {
    timeout(PATIENCE, stream.message()).await.expect("the server goes on")
}

/// The header's value.
pub(crate) fn active(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("x-active-flags").map(|value| value.to_str().unwrap())
}
