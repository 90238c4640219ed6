//! The macro that declares flags.

/// Declares flags: a constant each, and a list of them all.
///
/// A misspelt constant does not compile, whereas a misspelt text is a flag that is off. Constants are
/// taken wherever a name is, and their doc comment, owner and expiry are there for tools.
///
/// ```
/// use tower_flags::{Context, Flags, declare_flags};
///
/// declare_flags! {
///     /// Every flag of the shop.
///     pub static SHOP_FLAGS;
///
///     /// One-page checkout.
///     pub NEW_CHECKOUT: bool = "new_checkout" {
///         owner: "payments",
///         expires_at: "2027-03-01",
///     };
///
///     /// Mail after an order; on where no rules say otherwise.
///     pub ORDER_MAIL: bool = "order_mail" { kind: Ops, default: true };
///
///     /// What the pricing page shows.
///     pub PRICING: enum Pricing {
///         Control = "control",
///         Higher = "higher",
///     } = "pricing_page" { kind: Experiment, owner: "growth" };
/// }
///
/// let flags = Flags::builder().on("new_checkout").build(Context::user("alice"));
/// assert!(flags.is_enabled(NEW_CHECKOUT));
/// assert!(flags.is_enabled(ORDER_MAIL), "nothing says otherwise");
/// let price = match flags.get(PRICING) {
///     Pricing::Control => 10.0,
///     Pricing::Higher => 12.0,
/// };
/// assert_eq!(price, 10.0);
/// assert_eq!(SHOP_FLAGS.len(), 3);
/// assert_eq!(SHOP_FLAGS[0].description, "One-page checkout.");
/// ```
///
/// # Grammar
///
/// First the list: doc comment, visibility, `static NAME;`. Then flags, each ended by `;`: doc comment,
/// visibility, constant, type, `=`, name, and in braces any of these:
///
/// | key | value | default |
/// |---|---|---|
/// | `kind` | `Release`, `Experiment`, `Ops` or `Permission` | `Release` |
/// | `owner` | a text | none |
/// | `expires_at` | a day, `"2027-03-01"` | none |
/// | `default` | `true` or `false`: the answer where no usable definition says one | `false` |
///
/// The type is `bool`, or `enum` with a name and variants, the first of which is the default.
///
/// Names that no flag can have, days that no calendar has, and constants that are misspelt do not
/// compile:
///
/// ```compile_fail,E0425
/// tower_flags::declare_flags! {
///     static ALL;
///     /// One-page checkout.
///     NEW_CHECKOUT: bool = "new_checkout";
/// }
/// let _ = tower_flags::flag(NEW_CHEKOUT);
/// ```
///
/// ```
/// tower_flags::declare_flags! {
///     static ALL;
///     /// One-page checkout.
///     NEW_CHECKOUT: bool = "new_checkout";
/// }
/// let _ = tower_flags::flag(NEW_CHECKOUT);
/// ```
///
/// ```compile_fail,E0004
/// tower_flags::declare_flags! {
///     static ALL;
///     /// What the pricing page shows.
///     PRICING: enum Pricing { Control = "control", Higher = "higher" } = "pricing_page";
/// }
/// # let flags = tower_flags::Flags::builder().build(tower_flags::Context::anonymous());
/// let price = match flags.get(PRICING) {
///     Pricing::Control => 10.0, // and the higher one?
/// };
/// ```
///
/// ```
/// tower_flags::declare_flags! {
///     static ALL;
///     /// What the pricing page shows.
///     PRICING: enum Pricing { Control = "control", Higher = "higher" } = "pricing_page";
/// }
/// # let flags = tower_flags::Flags::builder().build(tower_flags::Context::anonymous());
/// let price = match flags.get(PRICING) {
///     Pricing::Control => 10.0,
///     Pricing::Higher => 12.0,
/// };
/// ```
///
/// ```compile_fail,E0080
/// tower_flags::declare_flags! {
///     static ALL;
///     /// One-page checkout.
///     NEW_CHECKOUT: bool = "new checkout";
/// }
/// ```
///
/// ```compile_fail,E0080
/// tower_flags::declare_flags! {
///     static ALL;
///     /// One-page checkout.
///     NEW_CHECKOUT: bool = "new_checkout" { expires_at: "2027-02-29" };
/// }
/// ```
///
/// ```
/// tower_flags::declare_flags! {
///     static ALL;
///     /// One-page checkout.
///     NEW_CHECKOUT: bool = "new_checkout" { expires_at: "2028-02-29" };
/// }
/// ```
#[macro_export]
macro_rules! declare_flags {
    (
        $(#[doc = $list_doc:expr])* $list_vis:vis static $list:ident;
        $(
            $(#[doc = $doc:expr])* $vis:vis $flag:ident: $kind:ident $($type:ident { $($variants:tt)* })?
                = $name:literal $({ $($keys:tt)* })?;
        )*
    ) => {
        $($crate::__declare_flag! {
            ($($doc)*) ($vis) $flag $kind $(($type { $($variants)* }))? $name { $($($keys)*)? }
        })*

        $(#[doc = $list_doc])*
        #[allow(dead_code, reason = "only some applications hand it in")]
        $list_vis static $list: &[&$crate::document::Declaration] =
            &const { $crate::document::distinct([$($flag.declaration()),*]) };
    };
}

/// One flag. What does not fit ends in a message of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! __declare_flag {
    (($($doc:expr)*) ($vis:vis) $flag:ident bool $name:literal { $($key:ident: $value:tt),* $(,)? }) => {
        $(#[doc = $doc])*
        #[allow(dead_code, reason = "a flag may be there for tools alone")]
        $vis const $flag: $crate::document::DeclaredFlag = {
            const DECLARATION: $crate::document::Declaration =
                $crate::document::Declaration::new($name, concat!("", $($doc),*), file!(), line!())
                $(.$key($crate::__declared!($key $value)))*;
            $crate::document::DeclaredFlag::new(&DECLARATION)
        };
    };
    (($($doc:expr)*) ($vis:vis) $flag:ident enum ($type:ident {
        $($(#[doc = $variant_doc:expr])* $variant:ident = $variant_name:literal),+ $(,)?
    }) $name:literal { $($key:ident: $value:tt),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(dead_code, reason = "which variants there are is up to the rules")]
        $vis enum $type {
            $($(#[doc = $variant_doc])* #[doc = concat!("`", $variant_name, "`")] $variant),+
        }

        impl $crate::document::Variants for $type {
            const ALL: &'static [(&'static str, Self)] = &[$(($variant_name, Self::$variant)),+];
        }

        impl ::core::convert::AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                match self {
                    $(Self::$variant => $variant_name),+
                }
            }
        }

        $(#[doc = $doc])*
        #[allow(dead_code, reason = "a flag may be there for tools alone")]
        $vis const $flag: $crate::document::DeclaredFlag<$type> = {
            const DECLARATION: $crate::document::Declaration =
                $crate::document::Declaration::new($name, concat!("", $($doc),*), file!(), line!())
                .variants(&[$($variant_name),+])
                $(.$key($crate::__declared!($key $value)))*;
            $crate::document::DeclaredFlag::new(&DECLARATION)
        };
    };
    ($docs:tt $vis:tt $flag:ident enum ($type:ident {}) $($rest:tt)*) => {
        compile_error!(concat!("flag `", stringify!($flag), "`: an enum of variants has at least one"));
    };
    ($docs:tt $vis:tt $flag:ident enum ($type:ident { $($variants:tt)* }) $name:literal { $($keys:tt)* }) => {
        compile_error!(concat!(
            "flag `", stringify!($flag), "`: expected variants as in `{ Control = \"control\", Higher = \"higher\" }` \
             and keys as in `{ owner: \"payments\" }`, found `", stringify!({ $($variants)* }), "` and `",
            stringify!({ $($keys)* }), "`"
        ));
    };
    ($docs:tt $vis:tt $flag:ident bool $name:literal { $($keys:tt)* }) => {
        compile_error!(concat!(
            "flag `", stringify!($flag), "`: expected keys as in `{ owner: \"payments\", default: true }`, found `",
            stringify!({ $($keys)* }), "`"
        ));
    };
    ($docs:tt $vis:tt $flag:ident $kind:ident $($rest:tt)*) => {
        compile_error!(concat!(
            "flag `", stringify!($flag), "`: expected the type `bool` or `enum Name { .. }`, found `",
            stringify!($kind), "`"
        ));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __declared {
    (kind $kind:ident) => {
        $crate::document::Kind::$kind
    };
    (owner $owner:literal) => {
        $owner
    };
    (expires_at $day:literal) => {
        $day
    };
    (default $default:literal) => {
        $default
    };
    ($key:ident $value:tt) => {
        compile_error!(concat!(
            "expected `kind`, `owner`, `expires_at` or `default` with a value that fits, found `",
            stringify!($key),
            ": ",
            stringify!($value),
            "`"
        ))
    };
}
