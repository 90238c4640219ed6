//! What names a flag.

use std::borrow::Cow;
use std::sync::Arc;

/// What names a flag: a text, or a flag that the code declares with
/// [`declare_flags!`](crate::declare_flags).
///
/// Every place that takes a name takes one of these.
///
/// ```
/// use tower_flags::{Context, Flags};
///
/// let flags = Flags::builder().on("dark_mode").build(Context::anonymous());
/// assert!(flags.is_enabled("dark_mode"));
/// assert!(flags.is_enabled(format!("{}_mode", "dark")));
/// ```
pub trait FlagName {
    /// The flag's name, as the definitions have it.
    fn name(&self) -> &str;

    /// The answer where no usable definition says one ([`Reason::is_default`](crate::engine::Reason::is_default)):
    /// off, unless a declaration says otherwise.
    fn default_answer(&self) -> bool {
        false
    }

    /// The variants that a declaration knows; none unless it is one with variants.
    fn variants(&self) -> &'static [&'static str] {
        &[]
    }
}

/// # Panics
///
/// If the flag is declared with variants, and this is none of them.
#[track_caller]
pub(crate) fn assert_is_variant(flag: &impl FlagName, variant: &str) {
    let known = flag.variants();
    assert!(
        known.is_empty() || known.contains(&variant),
        "expected one of the declared variants {known:?} of flag {:?}, found {variant:?}",
        flag.name()
    );
}

impl FlagName for str {
    fn name(&self) -> &str {
        self
    }
}

impl FlagName for String {
    fn name(&self) -> &str {
        self
    }
}

impl FlagName for Arc<str> {
    fn name(&self) -> &str {
        self
    }
}

impl FlagName for Cow<'_, str> {
    fn name(&self) -> &str {
        self
    }
}

impl<T: FlagName + ?Sized> FlagName for &T {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn default_answer(&self) -> bool {
        (**self).default_answer()
    }

    fn variants(&self) -> &'static [&'static str] {
        (**self).variants()
    }
}
