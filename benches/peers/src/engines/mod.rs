//! The other engines, one file each: the workload in their terms, and a loop over all flags that
//! counts those that are on. Their hashes differ from ours, so the users of a partial rollout do too.

pub mod flagsmith;
pub mod growthbook;
pub mod launchdarkly;
pub mod open_feature;
pub mod unleash;
