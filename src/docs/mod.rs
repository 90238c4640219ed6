//! Longer texts.

pub mod limitations {
    #![doc = include_str!("limitations.md")]
}
