//! End to end over the real binary: processes, sockets, files, signals.
//!
//! What must hold, and the test that shows it:
//!
//! | what | test |
//! |---|---|
//! | four protocols end to end, right answers, messages of the right devices | `captures::get_the_recorded_answers_and_are_read_back` |
//! | every protocol on one channel, told by its first bytes | `auto::every_protocol_is_told_by_its_first_bytes_and_stored_under_its_own_device` |
//! | messages by device and time range, by channel, as they come | the same, and `captures::messages_are_followed_as_they_come` |
//! | acked after it was durable; the audit balances | `crash::what_was_acked_survives_kills_at_any_moment` |
//! | every image that a power cut may leave of the whole data directory opens with what was answered | `power::every_image_of_the_process_opens_with_all_that_was_answered` |
//! | what the policy `drop` throws away is counted, over kills | `endurance::what_a_policy_throws_away_is_counted_over_kills_and_the_rest_is_stored_once` |
//! | the clock is set back over a restart | `endurance::a_clock_that_is_set_back_over_a_restart_puts_nothing_before_what_is_stored` |
//! | the data directory turns read-only | `endurance::a_data_directory_that_turns_read_only_ends_acking_and_loses_nothing` |
//! | backup under load, destroy, restore, trackers send again | `endurance::a_backup_under_load_brings_everything_back_that_was_acked_before_it` |
//! | a changed byte in any file | `damage::a_changed_byte_in_any_file_is_refused_healed_or_said` |
//! | SIGTERM drains: answers, exit 0 | `crash::sigterm_drains_and_ends_with_0` |
//! | a second process on the same data directory | `start::a_second_process_on_the_data_directory_is_refused` |
//! | a port in use | `start::a_port_in_use_is_told_with_its_channel` |
//! | a bad config: all mistakes, exit 64, nothing bound | `start::all_mistakes_of_a_file_are_told_and_nothing_is_bound` |
//! | a read-only data directory | `start::a_data_directory_that_cannot_be_written_is_told` |
//! | a corrupt journal | `start::a_corrupt_journal_is_refused_with_file_and_offset` |
//! | mistakes of the file with their lines, lists that are no text, certificates that are missing, expired or broken, few files, a directory in use or another user's, what is not there, data of a newer version | `operator::*` |
//! | a full disk | `disk::a_full_disk_is_told_everywhere_keeps_what_was_acked_and_heals`, `tests/full_disk.rs`; power cuts: `tests/powercut` |
//! | garbage, half frames, wrong CRC, oversize lengths | `bad_input::what_is_no_frame_is_not_acked_and_harms_nobody` |
//! | slow drips | `bad_input::a_slow_drip_is_closed_at_the_identify_deadline` |
//! | silent connections | `bad_input::a_thousand_silent_connections_are_bounded` |
//! | garbage on every protocol, flipped bits, crowds, floods of strangers: at full size by the environment | `trials::*` |
//! | unknown idents: listed, decoded, registered while connected | `limits::an_unknown_ident_is_listed_and_its_backlog_arrives_once_it_is_registered` |
//! | park and hold, limits changing live, who refused | `limits::a_used_up_limit_parks_and_a_raised_one_lets_go_on` |
//! | a disabled account is an all-zero limit | `limits::a_disabled_account_is_hung_up_on_until_it_is_enabled` |
//! | second connection with the same ident closes the first | `limits::a_second_connection_of_an_ident_closes_the_first` |
//! | and loses nothing that it had sent, where nobody sends again | `limits::a_second_connection_loses_nothing_of_the_first_where_nothing_is_sent_again` |
//! | `tollgate top`, `health`, completions and manual pages | `watch` |
//! | `tollgate doctor` names the true cause of staged failures; raw traffic becomes a capture and back | `doctor::*` |
//! | a restart turns nobody away, the service manager is told | `service::whoever_calls_during_a_restart_is_served_by_the_next_process`, `service::the_manager_hears_that_it_is_ready_alive_reloads_and_stops` |
//! | a reload touches only what has changed | `service::a_reload_touches_what_has_changed_and_a_file_with_mistakes_nothing` |
//! | a reset in a frame, no files left | `service::a_reset_in_the_middle_of_a_frame_leaves_nothing_and_what_was_not_acked_comes_again` and `service::a_gateway_short_of_files_turns_callers_away_and_serves_who_is_in` |
//! | `tollgate demo --once` | `story::the_demo_holds_all_its_checks` |

mod auto;
mod bad_input;
mod captures;
mod crash;
mod crowds;
mod damage;
mod disk;
mod doctor;
mod endurance;
mod harness;
#[path = "../powercut/image.rs"]
mod image;
mod limits;
mod operator;
mod power;
mod redecode;
mod service;
mod start;
mod statements;
mod story;
mod talk;
mod trials;
mod watch;
