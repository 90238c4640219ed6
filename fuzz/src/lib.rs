//! What the fuzz targets share: the service they ask, the texts they send, and what has to come of them.
//!
//! `fuzz/run.sh` runs all targets. Each sends requests through a whole [`FlagLayer`](tower_flags::FlagLayer) and
//! holds the response against [`model`], a second implementation of the signed texts that is written for
//! clarity and shares no code with the first. So not only panics are found, but also a text that is taken
//! and should not be, or the other way round.
//!
//! Strangers cannot sign, and a fuzzer cannot guess signatures: what is behind them is reached because the
//! targets sign payloads themselves ([`signed::Text`]).
//!
//! An input is read by `arbitrary`: four bytes choose a variant, of which `0000` is the first, one byte is
//! a switch, of which `0` is off, and the last bytes come last and as they are. The files in `seeds` are
//! written in that way and can be read.

#![forbid(unsafe_code)]

pub mod checks;
pub mod model;
pub mod service;
pub mod signed;
