//! The handlers. Only these read flags.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tower_flags::{Flags, flag};

use crate::service::{Prices, Quotes};

/// The usual prices in cents, by product.
pub type PriceList = BTreeMap<&'static str, u32>;

/// A shop that knows the prices of now.
#[derive(Debug)]
pub struct Shop {
    prices: watch::Receiver<PriceList>,
}

impl Shop {
    /// A shop with the newest of these prices. Streams end when the sender is gone.
    pub fn new(prices: watch::Receiver<PriceList>) -> Self {
        Self { prices }
    }
}

impl Prices for Shop {
    async fn quote(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let offer = offer(&self.prices.borrow(), request.get_ref())?;
        // The answers are also in the request, for code that has it at hand.
        let flags = request.extensions().get::<Flags>();
        let is_shipped_free = flags.is_some_and(|flags| flags.is_enabled("free_shipping"));
        Ok(Response::new(if is_shipped_free { format!("{offer}, shipped free") } else { offer }))
    }

    async fn watch(&self, request: Request<String>) -> Result<Response<Quotes>, Status> {
        let product = request.into_inner();
        // Before the stream begins, so that a wrong name is the status of the call.
        offer(&self.prices.borrow(), &product)?;
        // Made one by one, long after this function has returned, and still with the answers of the
        // call. A task that made them and sent them through a channel would need `tower_flags::spawn`.
        let prices = WatchStream::new(self.prices.clone());
        Ok(Response::new(Box::pin(prices.map(move |prices| offer(&prices, &product)))))
    }
}

/// Any function below the layer can ask. Nothing is handed down to it.
fn offer(prices: &PriceList, product: &str) -> Result<String, Status> {
    let usual = prices.get(product).ok_or_else(|| Status::not_found(format!("no product is called {product:?}")))?;
    let cents = if flag("sale") { usual * 9 / 10 } else { *usual };
    Ok(format!("{cents} cents"))
}
