//! The layer around a tonic server, called by a tonic client.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tower_flags::{Context, FlagLayer, Flags, flag, spawn};
use tower_flags_grpc_example::{PriceList, Prices, PricesServer, Quotes};

use support::{BOTH, Client, QUOTE, WATCH, active, listen, next, rules, shop, teapot, with_layer, without_layer};

/// A method that the service does not have, and a service that the server does not have.
const UNKNOWN: [&str; 2] = ["/shop.v1.Prices/Haggle", "/shop.v1.Orders/Place"];

#[tokio::test]
async fn a_unary_handler_reads_the_flags_of_the_caller() {
    let (_prices, shop) = shop();
    let client = with_layer(&rules(), shop).await;
    for (user, said, header) in [("alice", "2700 cents, shipped free", BOTH), ("bob", "3000 cents", None)] {
        let reply = client.quote("teapot", user).await.unwrap();
        assert_eq!((reply.get_ref().as_str(), active(reply.metadata())), (said, header), "{user}");
    }
}

/// Says what it reads: in the request, in the scope, and in tasks of its own.
struct Reader;

impl Prices for Reader {
    async fn quote(&self, request: Request<String>) -> Result<Response<String>, Status> {
        fn scope() -> Result<(bool, Flags), Status> {
            let flags = Flags::current().ok_or_else(|| Status::internal("there are no flags in scope"))?;
            Ok((flag("sale"), flags))
        }
        let flags = request.extensions().get::<Flags>();
        let flags = flags.ok_or_else(|| Status::internal("there are no flags in the request"))?;
        let (here, current) = scope()?;
        let (spawned, carried) = spawn(async { scope() }).await.unwrap()?;
        let is_one_value = flags.ptr_eq(&current) && flags.ptr_eq(&carried);
        let said = format!("{} {here} {spawned}, one value: {is_one_value}", flags.is_enabled("sale"));
        Ok(Response::new(said))
    }

    async fn watch(&self, _: Request<String>) -> Result<Response<Quotes>, Status> {
        let (send, receive) = mpsc::channel(1);
        spawn(async move {
            for _ in 0..3 {
                send.send(Ok(flag("sale").to_string())).await.unwrap();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }
}

#[tokio::test]
async fn the_request_the_scope_and_a_spawned_task_hold_one_value() {
    let client = with_layer(&rules(), Reader).await;
    for (user, said) in [("alice", "true true true, one value: true"), ("bob", "false false false, one value: true")] {
        assert_eq!(client.quote("teapot", user).await.unwrap().into_inner(), said, "{user}");
    }
}

#[tokio::test]
async fn a_stream_that_a_spawned_task_feeds_has_the_flags_of_the_caller() {
    let client = with_layer(&rules(), Reader).await;
    for (user, said) in [("alice", "true"), ("bob", "false")] {
        let mut stream = client.watch("teapot", user).await.unwrap().into_inner();
        for _ in 0..3 {
            assert_eq!(next(&mut stream).await.unwrap().unwrap(), said, "{user}");
        }
        assert_eq!(next(&mut stream).await.unwrap(), None);
    }
}

#[tokio::test]
async fn every_message_of_a_stream_has_the_answers_its_call_began_with() {
    let rules = rules();
    let (prices, shop) = shop();
    let client = with_layer(&rules, shop).await;
    // Two streams at once over one connection.
    let alice = client.watch("teapot", "alice").await.unwrap();
    let bob = client.watch("teapot", "bob").await.unwrap();
    assert_eq!((active(alice.metadata()), active(bob.metadata())), (BOTH, None));
    let (mut alice, mut bob) = (alice.into_inner(), bob.into_inner());
    assert_eq!(next(&mut alice).await.unwrap().unwrap(), "2700 cents");
    assert_eq!(next(&mut bob).await.unwrap().unwrap(), "3000 cents");

    for (is_on_sale, price, with_sale) in [(false, 2000, 1800), (true, 1000, 900), (false, 500, 450)] {
        // For everybody, and in force for the calls that begin now.
        rules.set("sale", is_on_sale).unwrap();
        prices.send_replace(teapot(price));
        let now = format!("{} cents", if is_on_sale { with_sale } else { price });
        assert_eq!(client.quote("teapot", "bob").await.unwrap().into_inner(), now);
        // The messages at this price are made after the rules have changed.
        assert_eq!(next(&mut alice).await.unwrap().unwrap(), format!("{with_sale} cents"));
        assert_eq!(next(&mut bob).await.unwrap().unwrap(), format!("{price} cents"));
    }

    drop(prices);
    for mut stream in [alice, bob] {
        assert_eq!(next(&mut stream).await.unwrap(), None);
        let trailers = stream.trailers().await.unwrap().unwrap().into_headers();
        assert_eq!(trailers, ok());
    }
}

/// The trailers of a call that went well.
fn ok() -> HeaderMap {
    HeaderMap::from_iter([(Status::GRPC_STATUS, "0".parse().unwrap())])
}

#[tokio::test]
async fn an_error_arrives_as_it_is_with_the_header() {
    let (_prices, shop) = shop();
    let client = with_layer(&rules(), shop).await;
    for (user, header) in [("alice", BOTH), ("bob", None)] {
        for status in
            [client.quote("coat", user).await.unwrap_err(), client.watch("coat", user).await.map(drop).unwrap_err()]
        {
            assert_eq!((status.code(), status.message()), (Code::NotFound, r#"no product is called "coat""#));
            assert_eq!(active(status.metadata()), header, "{user}");
        }
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_arrives_as_it_is() {
    let (prices, shop) = shop();
    let client = with_layer(&rules(), shop).await;
    let reply = client.watch("teapot", "alice").await.unwrap();
    assert_eq!(active(reply.metadata()), BOTH);
    let mut stream = reply.into_inner();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "2700 cents");
    prices.send_replace(PriceList::new());
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, r#"no product is called "teapot""#));
    assert_eq!(next(&mut stream).await.unwrap(), None);
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented_and_have_the_header() {
    let (_prices, shop) = shop();
    let client = with_layer(&rules(), shop).await;
    for method in UNKNOWN {
        for (user, header) in [("alice", BOTH), ("bob", None)] {
            let status = client.call(method, "teapot", user).await.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::Unimplemented, ""), "{method}");
            assert_eq!(active(status.metadata()), header, "{method} {user}");
        }
    }
}

#[tokio::test]
async fn the_layer_changes_nothing_but_its_own_header() {
    let (prices, with) = shop();
    let with = with_layer(&rules(), with).await;
    // Streams end after the price of now.
    drop(prices);
    let (prices, without) = shop();
    let without = without_layer(without).await;
    drop(prices);

    let calls = [QUOTE, WATCH].map(|method| [(method, "teapot"), (method, "coat")]);
    for (method, product) in calls.into_iter().flatten().chain(UNKNOWN.map(|method| (method, "teapot"))) {
        let status = async |client: &Client, user| {
            let reply = client.call(method, product, user).await;
            reply.map(drop).map_err(|status| (status.code(), status.message().to_owned()))
        };
        for user in ["alice", "bob"] {
            assert_eq!(status(&with, user).await, status(&without, user).await, "{method} {product} {user}");
        }

        // Nothing is on for bob, so that even the messages are the same, and there is no header.
        let (with, without) = (with.wire(method, product, "bob").await, without.wire(method, product, "bob").await);
        assert_eq!(with, without, "{method} {product}");
    }
}

#[tokio::test]
async fn an_interceptor_around_the_layer_names_the_caller() {
    fn authenticate(mut call: Request<()>) -> Result<Request<()>, Status> {
        let token = call.metadata().get("authorization").and_then(|token| token.to_str().ok());
        if token != Some("Bearer alice-token") {
            return Err(Status::unauthenticated("expected a token"));
        }
        call.extensions_mut().insert(Context::user("alice"));
        Ok(call)
    }

    let (_prices, shop) = shop();
    let (address, incoming) = listen();
    let server = Server::builder()
        .layer(InterceptorLayer::new(authenticate))
        .layer(FlagLayer::new(rules()).ignore_headers())
        .add_service(PricesServer::new(shop));
    tokio::spawn(server.serve_with_incoming(incoming));
    let client = Client::open(address).await;

    let status = client.quote("teapot", "alice").await.unwrap_err();
    assert_eq!((status.code(), active(status.metadata())), (Code::Unauthenticated, None));
    let client = client.with_token("Bearer alice-token");
    let reply = client.quote("teapot", "bob").await.unwrap();
    assert_eq!((reply.get_ref().as_str(), active(reply.metadata())), ("2700 cents, shipped free", BOTH));
}

#[tokio::test]
async fn as_part_of_an_axum_router_it_is_no_different() {
    let (prices, shop) = shop();
    let services = tonic::service::Routes::new(PricesServer::new(shop));
    let layer = FlagLayer::new(rules()).trust_headers().leave_cache_headers();
    let router = services.into_axum_router().route("/", axum::routing::get(|| async { "a page" })).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    let client = Client::open(client).await;

    let reply = client.quote("teapot", "alice").await.unwrap();
    assert_eq!((reply.get_ref().as_str(), active(reply.metadata())), ("2700 cents, shipped free", BOTH));
    let mut stream = client.watch("teapot", "alice").await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "2700 cents");
    drop(prices);
    assert_eq!(next(&mut stream).await.unwrap(), None);
    assert_eq!(stream.trailers().await.unwrap().unwrap().into_headers(), ok());
    let status = client.quote("coat", "alice").await.unwrap_err();
    assert_eq!((status.code(), active(status.metadata())), (Code::NotFound, BOTH));
    for method in UNKNOWN {
        let status = client.call(method, "teapot", "alice").await.unwrap_err();
        assert_eq!((status.code(), active(status.metadata())), (Code::Unimplemented, BOTH), "{method}");
    }
}
