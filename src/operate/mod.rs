//! Flags over time: [`rollout`]s by plans.

pub mod rollout;
