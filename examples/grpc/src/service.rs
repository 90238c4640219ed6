//! The service `shop.v1.Prices`, in the form that `tonic-build` gives to services. It knows of no flags.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tower::{Service, service_fn};

use crate::codec::Text;

/// The messages of a streamed response.
pub type Quotes = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// What an implementation of `shop.v1.Prices` answers. Every request names a product.
pub trait Prices: Send + Sync + 'static {
    /// What the product costs now.
    fn quote(&self, request: Request<String>) -> impl Future<Output = Result<Response<String>, Status>> + Send;

    /// What the product costs now, and again whenever that changes.
    fn watch(&self, request: Request<String>) -> impl Future<Output = Result<Response<Quotes>, Status>> + Send;
}

/// Hands the calls of `shop.v1.Prices` to an implementation.
#[derive(Debug)]
pub struct PricesServer<P> {
    prices: Arc<P>,
}

impl<P> PricesServer<P> {
    /// A service for [`Server::add_service`](tonic::transport::Server::add_service).
    pub fn new(prices: P) -> Self {
        Self { prices: Arc::new(prices) }
    }
}

impl<P> Clone for PricesServer<P> {
    fn clone(&self) -> Self {
        Self { prices: Arc::clone(&self.prices) }
    }
}

impl<P> NamedService for PricesServer<P> {
    const NAME: &'static str = "shop.v1.Prices";
}

impl<P: Prices> Service<http::Request<Body>> for PricesServer<P> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let prices = Arc::clone(&self.prices);
        Box::pin(async move {
            let mut grpc = Grpc::new(Text);
            Ok(match request.uri().path() {
                "/shop.v1.Prices/Quote" => grpc.unary(service_fn(|request| prices.quote(request)), request).await,
                "/shop.v1.Prices/Watch" => {
                    grpc.server_streaming(service_fn(|request| prices.watch(request)), request).await
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}
