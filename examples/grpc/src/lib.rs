//! Flags under tonic: a small gRPC service whose prices depend on who asks.
//!
//! | file | holds |
//! |---|---|
//! | `shop.rs` | the handlers, which read flags: what an application writes |
//! | `service.rs` | what `tonic-build` would write from a `.proto` file |
//! | `codec.rs` | messages of plain text in place of protobuf, so that neither protoc nor a special client is needed |
//! | `main.rs` | the server, with the layer around all services |

mod codec;
mod service;
mod shop;

pub use codec::Text;
pub use service::{Prices, PricesServer, Quotes};
pub use shop::{PriceList, Shop};
