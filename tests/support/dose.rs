//! How much of it a test does: what every run of the tests does, or the large dose of `tests/faults.sh`.

pub(crate) fn dose(small: usize, large: usize) -> usize {
    match std::env::var("TOWER_FLAGS_DOSE").as_deref() {
        Ok("large") => large,
        Err(_) => small,
        Ok(other) => panic!("TOWER_FLAGS_DOSE: expected \"large\" or nothing, found {other:?}"),
    }
}
