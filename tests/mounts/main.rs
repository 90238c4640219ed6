//! Files on file systems of their own: mounted alone, full, read-only, and with a quota.
//!
//! Mounts are made in a mount namespace that ends with this program. Where none can be had, all tests are reported as
//! ignored; so is a single one whose file system the kernel does not have. That is why it has a harness of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod disks;
mod harness;
mod in_place;
mod place;
mod race;
#[cfg(feature = "admin")]
#[path = "../support/mod.rs"]
mod support;

use harness::test;

fn main() -> std::process::ExitCode {
    harness::run(
        &[
            test("in_place::a_json_file_that_is_mounted_alone_keeps_the_contract", || in_place::contract("json")),
            test("in_place::a_toml_file_that_is_mounted_alone_keeps_the_contract", || in_place::contract("toml")),
            test("in_place::an_edit_is_seen_outside_and_leaves_nothing_beside_it", in_place::seen_outside),
            test("in_place::a_file_that_is_mounted_after_the_start_is_edited_too", in_place::mounted_later),
            test("in_place::a_mount_that_the_system_does_not_tell_of_is_found_by_the_first_edit", in_place::untold),
            test("in_place::the_status_says_that_readers_may_see_a_partial_file", in_place::status),
            test("in_place::an_edit_that_died_at_any_point_is_finished_or_was_not_made", in_place::crash_points),
            test("in_place::what_was_edited_by_hand_after_a_crash_is_not_written_over", in_place::by_hand_after_crash),
            test("in_place::a_file_that_was_replaced_outside_is_stale_and_not_edited", in_place::replaced_outside),
            test("in_place::two_mounts_of_one_file_take_turns", in_place::two_mounts),
            test("race::processes_that_race_and_are_killed_lose_no_acknowledged_edit", race::killed_at_random),
            test("disks::a_full_disk_rejects_edits_and_nothing_is_changed", disks::full),
            test("disks::a_full_disk_below_a_file_that_is_mounted_alone_changes_nothing", disks::full_in_place),
            test("disks::a_history_that_cannot_grow_rejects_edits", disks::full_history),
            test("disks::a_file_system_that_is_read_only_rejects_edits_for_good", disks::read_only),
            test("disks::a_quota_that_is_used_up_rejects_edits", disks::quota),
            test("disks::an_edit_that_can_never_be_made_leaves_no_line_in_the_history", disks::never_made),
            test("disks::a_backup_on_a_full_disk_is_a_problem_until_there_is_space", disks::backup),
            test("disks::edits_of_one_process_wait_for_each_other_on_a_slow_disk", disks::edits_on_a_slow_disk),
            test("disks::a_backup_on_a_disk_that_hangs_holds_up_neither_kills_nor_loading", disks::hanging_backup),
            #[cfg(feature = "admin")]
            test("disks::the_answer_to_a_kill_does_not_wait_for_a_backup_that_hangs", disks::kill_over_hanging_backup),
            test("disks::a_backup_file_that_is_mounted_alone_is_written_in_place", disks::mounted_backup),
            test("disks::a_mounted_backup_on_a_full_disk_is_left_as_it_is", disks::full_mounted_backup),
        ],
        &[
            test("racer", race::racer),
            test("edit", disks::edit_as_another_user),
            test("untold", in_place::edit_of_an_untold_mount),
        ],
    )
}
