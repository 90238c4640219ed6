//! A JSON document at a URL as a feed.

mod answer;
mod client;
mod feed;
mod redirects;

pub use feed::{HttpFeed, HttpFeedBuilder};
