//! The same caller decided again, for connections that outlive the answers that they began with.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ask::decide_again;
use super::config::Config;
use super::flags::Flags;
use super::resolve::Resolver;

impl Flags {
    /// Decides the caller of these answers again, by the flag set and at the instant of now, for websockets and streams of
    /// events that live longer than one decision should.
    ///
    /// The new answers are a value of their own: put the work that should see them in their [`scope`](Self::scope). These
    /// ones stay as they are.
    ///
    /// The same value comes back where no layer has made it, where the layer and all services of it are gone, and where
    /// the source panics. The body of a response keeps its layer until its end. Answers of a
    /// [`ResolveLayer`](crate::request::ResolveLayer) are awaited, within its deadline; with other sources nothing is
    /// waited for. What the calling service has decided for the request stays decided, and so does what a tester has forced
    /// until their token expires, both as far as the new flag set allows it.
    ///
    /// ```
    /// # use tower_flags::{Context, Flags};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let flags = Flags::builder().on("dark_mode").build(Context::anonymous());
    /// assert!(flags.refresh().await.ptr_eq(&flags)); // no layer has made these
    /// # }
    /// ```
    #[must_use = "these answers stay as they were"]
    pub async fn refresh(&self) -> Self {
        let around = match self.around() {
            // A layer inside a layer inside a layer: the depth is that of the application's routers.
            Some(around) => Some(Box::pin(around.refresh()).await),
            None => None,
        };
        let refreshed = match self.layer() {
            None => None,
            Some(layer) => match layer.downcast::<Config>() {
                Ok(config) => decide_again(self, around, &config),
                Err(layer) => match layer.downcast::<Resolver>() {
                    Ok(resolver) => resolver.resolve_again(self, around).await,
                    Err(_) => None,
                },
            },
        };
        refreshed.unwrap_or_else(|| self.clone())
    }

    /// The layer that has made these answers, as long as it is there.
    fn layer(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        static HAS_WARNED: AtomicBool = AtomicBool::new(false);

        let layer = self.level().home.as_ref()?.upgrade();
        if layer.is_none() && !HAS_WARNED.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "flags were not refreshed: the layer that decided them and all its services are gone. Keep a clone of the \
                 `FlagLayer` or of the router for as long as connections are open. Said once"
            );
        }
        layer
    }
}
