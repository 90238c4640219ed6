//! What every service of a middleware has.

/// `get_ref`, `get_mut` and `into_inner` of a service with the field `inner: S`.
macro_rules! inner_accessors {
    () => {
        /// The service inside.
        #[must_use]
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// The service inside.
        #[must_use]
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// The service inside, without the layer.
        #[must_use]
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

pub(super) use inner_accessors;
