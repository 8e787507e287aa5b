//! From an outbox to a feed, where the feed does what it likes, and the database too.

#![cfg(all(unix, feature = "postgres", feature = "sqlite"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

#[path = "pump/kit.rs"]
mod kit;
#[path = "../../../tests/support/postgres.rs"]
mod server;

#[path = "pump/postgres.rs"]
mod postgres;
#[path = "pump/sqlite.rs"]
mod sqlite;
#[path = "pump/suite.rs"]
mod suite;

/// The tests of the suite, over one database.
macro_rules! suite {
    ($($test:ident)*) => {
        /// Over SQLite.
        mod in_sqlite {
            $(#[test]
            fn $test() {
                crate::sqlite::kit().iter().for_each(crate::suite::$test);
            })*
        }

        /// Over PostgreSQL.
        mod in_postgres {
            $(#[test]
            fn $test() {
                crate::postgres::kit().iter().for_each(crate::suite::$test);
            })*
        }
    };
}

suite! {
    events_are_published_in_order_and_their_versions_written_down
    rows_have_the_columns_that_their_producers_know
    what_is_rolled_back_is_not_in_the_outbox_and_an_id_is_there_once
    a_feed_that_can_t_be_reached_holds_up_what_comes_after_and_nothing_dies_of_it
    where_order_does_not_matter_others_get_by
    an_event_that_is_refused_is_a_dead_letter_in_the_end_and_can_come_back
    hooks_are_told_what_is_published_and_what_is_given_up
    rows_that_no_event_comes_of_are_told_and_given_up
    what_no_consumer_would_take_does_not_get_into_a_feed
    a_feed_that_gives_no_version_has_not_published
    an_event_that_stops_the_sink_is_found_among_others_and_given_up
    a_call_that_was_ended_from_outside_is_nobodys_fault
    a_sink_that_waits_for_too_long_has_nothing_against_the_event
    a_pump_that_is_to_stop_hands_nothing_more_over
    where_order_does_not_matter_a_feed_that_is_gone_is_not_asked_for_every_row
    a_clock_that_was_set_back_holds_nothing_up
    a_version_that_was_not_written_down_is_got_again
    rows_go_some_time_after_they_were_published_and_no_others
    a_pump_publishes_at_once_and_whenever_it_is_woken
}
