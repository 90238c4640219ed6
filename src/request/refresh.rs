//! The same caller decided again, for connections that outlive what was right when they began.

use std::any::Any;
use std::sync::{Arc, Weak};

use super::caught::{Code, Pending};
use super::layer::Config;
use super::service::force;
use crate::engine::Flags;
use crate::source::{Evaluation, Source};

/// Lets answers find their layer again. They hold it weakly.
pub(super) fn attach(flags: Flags, config: &Arc<Config>) -> Flags {
    flags.at_home(|| {
        let config: Weak<Config> = Arc::downgrade(config);
        config as Weak<dyn Any + Send + Sync>
    })
}

impl Flags {
    /// Decides the caller of these answers again, by the rules of now and at the instant of now, for
    /// websockets and streams of events that live longer than one decision should.
    ///
    /// The new answers are a value of their own: put the work that should see them in their
    /// [`scope`](Self::scope). These ones stay as they are.
    ///
    /// The same value comes back where no layer has made it, where the layer and all services of it are
    /// gone, and where the source panics or is not ready within the layer's deadline. With our own sources nothing
    /// is waited for. What the calling service has decided for the request stays decided, and so does what a
    /// tester has forced until their token expires, both as far as the new rules allow it.
    ///
    /// ```
    /// # use tower_flags::{Context, Flags};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let flags = Flags::builder().on("dark_mode").build(Context::anonymous());
    /// assert!(flags.refresh().await.ptr_eq(&flags)); // no layer has made these
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// With a source that is not ready, in a tokio runtime without timers.
    pub async fn refresh(&self) -> Self {
        let Some(config) = self.home::<Config>() else { return self.clone() };
        let now = (config.clock)();
        let evaluation = config.counters.caught(Code::Source, || config.source.evaluate(self.context(), now));
        let flags = match evaluation {
            Some(Evaluation::Ready(flags)) => Some(flags),
            Some(Evaluation::Pending(evaluation)) => {
                let evaluation = Pending::new(evaluation, &config.counters);
                tokio::time::timeout(config.deadline, evaluation).await.unwrap_or_else(|_| {
                    config.count_late("the answers of before stay");
                    None
                })
            }
            None => None,
        };
        let Some(flags) = flags else { return self.clone() };
        let flags = force(flags, self.requested());
        let flags = match self.outer() {
            // A layer inside a layer inside a layer: the depth is that of the application's routers.
            Some(outer) => flags.inside(&Box::pin(outer.refresh()).await),
            None => flags,
        };
        attach(flags.of_request(self.request()), &config)
    }
}
