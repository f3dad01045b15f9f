//! The specification: flows over real Postgres, real sockets and the sandbox. Each test's name is a sentence of it.
//!
//! Each world's end is the referee's ([`world::World::close`]): nobody was charged twice, nothing was lost, nothing moved that no attempt of ours asked
//! for, and nothing is left open.
//!
//! # Where each fault is shown to be survived
//!
//! `file::test` is a file of this folder; `tests/file.rs` lies beside it and has its own referee; `bench NAME` is `breakwater bench NAME`, a run under load with
//! the same referee at its end, of which `tests/bench_smoke.rs` keeps the short form of three going.
//!
//! | fault | where |
//! |---|---|
//! | process killed at any instant | `tests/kill_loop.rs`, `bench kill` |
//! | process killed between two named steps | `tests/bench_smoke.rs`, `bench crash_points` |
//! | Postgres killed | `bench postgres_kill` |
//! | Postgres there and silent | `watchdogs::while_the_database_hangs_…` |
//! | primary lost, or cut off, and a standby promoted | `tests/failover.rs`, `bench primary_killed`, `bench primary_cut_off` |
//! | the reply to COMMIT lost | `tests/failover.rs`: `a_commit_whose_answer_was_lost_…`; `journal::the_same_insert_again_is_our_own_success` |
//! | a COMMIT that waits for a standby that says nothing | `tests/failover/commit.rs` |
//! | connect refused | `truth_table::a_refused_connection_ends_not_sent`, `probing`, `bench refused` |
//! | reset before, and after, it was processed | `contract::payments::a_lost_request_…`, `a_lost_answer_…`, of refunds `contract::refunds::a_refund_that_was_lost_…`; `bench reset` |
//! | response lost | the same, and `unknown` of `operators` |
//! | a notification a hundred times, late, out of order | `contract::payments::notifications_that_come_often_or_late_change_nothing` |
//! | a notification that is forged | `truth_table::a_notification_with_a_bad_signature_changes_nothing`, `secrets` |
//! | a notification of another amount, currency, attempt, payment | `mismatches` |
//! | money taken in another amount | `mismatches::what_a_channel_took_…` |
//! | slow-loris: to us, and from a channel | `unheard::a_head_that_does_not_come_to_its_end_…`; `contract::payments::an_answer_that_cannot_be_believed_…` (`slow_drip`) |
//! | 5xx storms, processed and not | `contract::payments::a_lost_answer_…`, `a_lost_request_…` (`error_*`), `bench error_5xx` |
//! | malformed, truncated, unsigned answers | `contract::payments::an_answer_that_cannot_be_believed_…`; `tests/fuzz.rs` |
//! | huge answers | the same (`huge`), `faults_under_load::an_answer_beyond_all_measure_…` |
//! | TLS failures | `tests/channel_transport.rs`: `a_failed_handshake_…`; `bench tls_broken` |
//! | clock jumps | `machine::a_wall_clock_that_jumps_ahead_and_back_…` |
//! | disk full | `machine::with_a_full_disk_…`, `machine::what_was_charged_while_the_disk_was_full_…` |
//! | DNS failure | `machine::a_channel_whose_name_leads_nowhere_…` |
//! | one channel's pool exhausted | `faults_under_load::more_calls_at_once_than_a_channel_has_connections_…` |
//! | a channel that is silent, or slow | `bench black_hole`, `bench stall`, `bench slow` |
//! | it answers again: its doubts, and who may go there first | `recovery`, `probing` |
//! | the herd when it comes back | what `bench refused` and `bench black_hole` say of the healed channel |
//! | retry storms | `races::fifty_creates_with_one_key_…`, `asking::a_merchant_who_asks_all_the_time_…`; the retry budget's own tests in `src/channel/guard` |
//! | a flood | `limits`, `parts::a_flood_of_refunds_…`, `bench overload`, `bench flood` |
//! | a poison row in the poller's batch | `parts::an_attempt_that_fails_by_a_fault_of_ours_…` |
//! | the poller dying mid-batch | `faults_under_load::a_sweep_that_panics_…`; the crash point `attempts_leased` of `bench crash_points` |
//! | two pollers at once | `parts::pollers_side_by_side_…`, `races::two_processes_on_one_database_…` |
//! | an actor's panic, death, freeze | `faults_of_ours`, `faults_under_load`; one call at a time in `src/channel/supervisor/tests.rs` |
//! | a client that disconnects | `races::a_client_that_disconnects_cancels_nothing` |
//! | a channel taken out of the settings while something of it is open | `retired` |
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod alipay;
mod asking;
mod at_risk;
mod bent;
mod contract;
mod database;
#[allow(dead_code, reason = "made for another suite, which uses the rest of it")]
#[path = "../failover/proxy.rs"]
mod door;
mod faults_of_ours;
mod faults_under_load;
mod guards;
mod inbox;
mod input;
mod journal;
mod limits;
mod lists;
mod machine;
mod mismatches;
mod operations;
mod operators;
mod overrides;
mod parts;
mod probing;
mod races;
mod recovery;
mod retired;
mod review;
mod secrets;
mod tenancy;
mod timeline;
mod tls;
mod truth_table;
mod unheard;
mod watchdogs;
mod webhook_receiver;
mod webhooks;
mod wechatpay;
mod world;
