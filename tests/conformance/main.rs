//! One function for each MUST of RFC 9112 that concerns a proxy, and for those of RFC 9110 on forwarding
//! messages; files are sections, names begin with the section's number.
//!
//! They run against Ringway on both I/O drivers. To run them against something else, start a proxy that
//! sends everything to 127.0.0.1:8001 and set `CONFORMANCE_ADDRESS=host:port`.
//!
//! Left out on purpose: what concerns forward proxies, caches and user agents only; `Max-Forwards`
//! (RFC 9110 7.6.2) and the `TE` connection option (10.1.4), where Ringway does as Envoy does; 414 for
//! long targets (RFC 9112 3), which Envoy and Ringway answer with 431.

mod rfc9110_s10_expect;
mod rfc9110_s15_status;
mod rfc9110_s5_fields;
mod rfc9110_s7_routing;
mod rfc9110_s8_s9_content_and_methods;
mod rfc9112_s2_message;
mod rfc9112_s3_request_line;
mod rfc9112_s4_status_line;
mod rfc9112_s5_field_syntax;
mod rfc9112_s6_message_body;
mod rfc9112_s7_transfer_codings;
mod rfc9112_s8_incomplete;
mod rfc9112_s9_connections;
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringway_test_support::config::Http;
use ringway_test_support::{Answer, Driver, Origin, Server};
use target::Target;

/// A function of the suite and its name.
type Check = (&'static str, fn(&Target));

macro_rules! checks {
    ($($section:ident: $($name:ident)*;)*) => {
        const CHECKS: &[Check] = &[$($((concat!(stringify!($section), "::", stringify!($name)), $section::$name),)*)*];
    };
}

checks! {
    rfc9112_s2_message:
        s2_2_empty_lines_before_a_request_are_ignored s2_2_bare_cr_does_not_pass s2_2_blank_before_the_first_field_does_not_pass
        s2_2_octets_pass_unchanged s2_3_own_version_to_the_origin s2_3_own_version_to_the_client;
    rfc9112_s3_request_line:
        s3_malformed_request_line_is_refused s3_whitespace_in_the_target_is_refused s3_1_method_is_case_sensitive
        s3_2_host_missing_is_400 s3_2_two_hosts_are_400 s3_2_invalid_host_is_400 s3_2_long_target_is_refused
        s3_2_1_path_and_query_are_unchanged s3_2_2_absolute_form_is_accepted s3_2_2_absolute_form_replaces_host
        s3_2_3_authority_form_is_for_connect_only s3_2_4_asterisk_form_is_for_options_only
        s3_2_4_options_in_absolute_form_reaches_the_origin_with_an_asterisk;
    rfc9112_s4_status_line:
        s4_reason_phrase_may_be_missing s4_reason_phrase_is_not_needed_to_be_known s4_malformed_status_line_is_502
        s4_status_code_has_three_digits;
    rfc9112_s5_field_syntax:
        s5_1_space_before_colon_in_a_request_is_400 s5_1_space_before_colon_in_a_response_does_not_pass
        s5_1_blanks_around_a_value_are_no_part_of_it s5_2_folded_line_in_a_request s5_2_folded_line_in_a_response
        s5_5_invalid_name_is_refused s5_5_nul_is_refused;
    rfc9112_s6_message_body:
        s6_1_length_and_transfer_encoding_in_a_request s6_1_length_and_transfer_encoding_in_a_response
        s6_1_chunked_is_not_applied_twice s6_1_unknown_coding_is_refused s6_1_chunked_must_be_last
        s6_1_transfer_encoding_in_http_1_0_closes s6_2_content_length_is_forwarded s6_2_never_both_framings
        s6_3_invalid_length_in_a_request_is_400 s6_3_different_lengths_in_a_request_are_400
        s6_3_invalid_length_in_a_response_is_502 s6_3_different_lengths_in_a_response_are_502
        s6_3_request_without_framing_has_no_body s6_3_response_without_framing_ends_at_close
        s6_3_response_to_head_has_no_body s6_3_204_and_304_have_no_body;
    rfc9112_s7_transfer_codings:
        s7_1_chunked_request_is_decoded s7_1_chunked_response_is_decoded s7_1_chunk_size_is_any_case_and_may_have_zeros
        s7_1_chunk_size_overflow_is_refused s7_1_chunk_data_must_end_in_crlf s7_1_invalid_chunk_size_is_refused
        s7_1_1_unknown_chunk_extensions_are_ignored s7_1_1_chunk_extensions_are_bounded s7_1_2_trailers_are_not_merged;
    rfc9112_s8_incomplete:
        s8_cut_request_is_not_complete_at_the_origin s8_cut_chunked_request_is_not_complete_at_the_origin
        s8_cut_response_is_not_complete_at_the_client s8_cut_chunked_response_is_not_complete_at_the_client
        s8_response_cut_in_its_head_is_an_error;
    rfc9112_s9_connections:
        s9_2_response_bytes_beyond_the_message_are_not_used s9_3_connections_persist s9_3_1_post_is_not_sent_again
        s9_3_2_pipelined_requests_are_answered_in_order s9_3_2_pipelined_behind_a_body s9_6_close_is_honoured
        s9_6_nothing_is_served_after_close s9_6_close_of_the_origin_is_its_own s9_6_half_closed_client_gets_its_response;
    rfc9110_s5_fields:
        s5_1_unknown_fields_are_forwarded s5_3_order_of_equal_names_is_kept s5_3_set_cookie_is_not_joined
        s5_5_values_are_unchanged;
    rfc9110_s7_routing:
        s7_6_1_fields_named_by_connection_end_here s7_6_1_fields_named_by_connection_of_a_response_end_here
        s7_6_1_connection_fields_are_not_forwarded s7_7_content_is_unchanged s7_8_upgrade_is_not_forwarded;
    rfc9110_s8_s9_content_and_methods:
        s8_6_length_of_a_response_to_head_is_kept s8_6_no_length_in_204 s9_2_2_post_is_not_retried s9_3_2_head_reaches_the_origin
        s9_3_8_trace_has_no_body;
    rfc9110_s10_expect:
        s10_1_1_expecting_client_gets_100_or_an_answer s10_1_1_no_100_after_the_final_response s10_1_1_body_sent_at_once_is_forwarded;
    rfc9110_s15_status:
        s15_2_unknown_interim_responses_are_understood s15_2_interim_responses_are_forwarded s15_2_many_interim_responses
        s15_2_2_no_unasked_switch s15_4_5_304_keeps_its_fields s15_unknown_status_of_a_class_is_forwarded;
}

/// Runs every function and reports all that fail.
fn run(target: &Target) {
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let failed: Vec<&str> = CHECKS
        .iter()
        .filter(|(name, _)| name.contains(&only))
        .filter(|(name, check)| {
            target.origin.expect([]);
            target.origin.take_requests();
            let failed = catch_unwind(AssertUnwindSafe(|| check(target))).is_err();
            if failed {
                eprintln!("^^^ {name}\n");
            }
            failed
        })
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), CHECKS.len());
}

fn run_on(server: Server) {
    let origin = Origin::start(Answer::status(200, "", "ok"));
    let proxy = server.start(&Http::to_origin(origin.port()).hcm("delayed_close_timeout: 0.05s").yaml());
    run(&Target { address: proxy.address(), origin: &origin });
    proxy.stop();
}

#[test]
fn ring() {
    run_on(Server::ringway(Driver::Ring));
}

#[test]
fn epoll() {
    run_on(Server::ringway(Driver::Epoll));
}

#[test]
fn any_address() {
    let Ok(address) = std::env::var("CONFORMANCE_ADDRESS") else {
        return eprintln!("no CONFORMANCE_ADDRESS: only Ringway itself is tested");
    };
    let origin = Origin::start_named("origin", "127.0.0.1:8001", Answer::status(200, "", "ok"));
    run(&Target { address: address.parse().expect("CONFORMANCE_ADDRESS is host:port"), origin: &origin });
}
