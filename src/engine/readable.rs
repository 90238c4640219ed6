//! Declared flags as types: how an answer is read as a `bool` or as an enum of variants.

use crate::document::{Declaration, Variants};

/// Reads answers by names; every read is marked where reads are.
#[doc(hidden)]
pub trait Reader {
    /// Whether the flag is on, or the default where no usable definition answers.
    fn is_enabled_or(&self, name: &str, default: bool) -> bool;

    /// The name of the variant that is served.
    fn variant(&self, name: &str) -> Option<&str>;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for bool {}
    impl<T: crate::document::Variants> Sealed for T {}
}

/// What a declared flag reads as: `bool`, or an enum of its variants. Implemented for these alone.
pub trait Readable: sealed::Sealed + Copy + 'static {
    /// The caller's answer.
    #[doc(hidden)]
    fn read(flags: &dyn Reader, declaration: &'static Declaration) -> Self;

    /// The answer where nothing else says one.
    #[doc(hidden)]
    fn default_of(declaration: &'static Declaration) -> Self;
}

impl Readable for bool {
    fn read(flags: &dyn Reader, declaration: &'static Declaration) -> Self {
        flags.is_enabled_or(declaration.name, declaration.default)
    }

    fn default_of(declaration: &'static Declaration) -> Self {
        declaration.default
    }
}

impl<T: Variants> Readable for T {
    fn read(flags: &dyn Reader, declaration: &'static Declaration) -> Self {
        let served = flags.variant(declaration.name);
        let known = served.and_then(|served| T::ALL.iter().find(|(name, _)| *name == served));
        known.map_or_else(|| Self::default_of(declaration), |(_, variant)| *variant)
    }

    fn default_of(_: &'static Declaration) -> Self {
        // The macro lets no enum without variants through.
        T::ALL[0].1
    }
}
