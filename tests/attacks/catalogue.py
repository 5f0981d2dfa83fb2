"""The classes of attacks that are tried, and by which tests: the table of docs/security.md is written from here.

    python -m tests.attacks.catalogue           rewrites the table; tests/docs/test_security.py tells when that was forgotten

A class names test functions of tests/attacks by file, and tests elsewhere by path. What cannot be attacked yet because it is not built says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- attacks -->\n", "<!-- end of attacks -->"


class Class(NamedTuple):
    """One class: what it is, tests of tests/attacks (file: functions), and further tests."""

    what: str
    tests: dict[str, str]
    further: str = ""


CATALOGUE = {
    "A": Class("Smuggling: false ends of content, line discipline, chunks, early talkers, control characters", {
        "smtp": "false_ends_of_data false_ends_in_chunks an_end_cut_anywhere_is_an_end dot_at_the_end_of_the_connection half_close_behind_the_end"
                " claimed_chunk_sizes ahead_of_354_and_behind_hello who_speaks_before_the_greeting control_characters_reach_no_header"
                " a_strange_hello_stays_one_word_in_received"},
        "tests/protocol/smtp, tests/servers/smtpout/test_smtpout.py (relayed out)"),
    "B": Class("STARTTLS and STLS: injection by timing, state of before, garbage and old TLS, names; outbound: encryption taken away", {
        "smtp": "injection_behind_starttls nothing_of_before_tls_counts starttls_out_of_place_changes_nothing no_tls_where_tls_was_promised",
        "pop3": "commands_behind_stls_are_not_the_clients name_given_before_tls_is_forgotten garbage_instead_of_tls old_tls"
                " odd_names_get_the_default_certificate",
        "imap": "plain_text_behind_starttls",
        "tls": "words_in_plain_text_are_never_heard_inside_tls garbage_where_a_handshake_should_be old_versions_and_weak_ciphers"
               " names_that_clients_ask_for_open_no_file starttls_again_inside_of_tls plain_text_behind_a_hosts_220"
               " a_host_that_takes_encryption_away a_handshake_that_never_ends"}, "tests/servers/smtpout/test_destination.py"),
    "C": Class("SMTP commands and limits: endless lines, floods, huge headers, sizes, parameters, octets beyond ASCII", {
        "smtp": "endless_command_lines floods_of_commands huge_headers body_lines_are_never_folded octets_are_counted_whatever_was_declared"
                " the_same_recipient_ten_thousand_times odd_parameters octets_beyond_ascii_in_addresses"}, "tests/protocol/smtp/test_properties.py"),
    "D": Class("Addresses and paths: traversal, quoted local parts, look-alikes, slots of others, links planted under a slot's name", {
        "smtp": "addresses_are_never_paths", "auth": "odd_names_are_nobody",
        "evil": "file_names_are_slots_of_that_queue_or_nothing what_is_planted_under_a_slots_name"}, "tests/mail/test_address.py"),
    "E": Class("Open relay, by every form", {
        "relay": "no_recipient_is_relayed names_grant_nothing odd_forms_of_the_command foreign_recipients_beside_honest_ones_get_nothing"
                 " lmtp_never_relays a_proxys_word_counts_only_from_proxies behind_a_proxy_the_client_counts trusted_networks_may_relay"},
        "tests/servers/smtpin/test_submission.py (senders of others)"),
    "F": Class("Authentication: enumeration by words, clock and work, floods, odd passwords and SASL, budgets, stolen roles", {
        "auth": "the_clock_tells_nothing the_clock_tells_nothing_in_ten_thousand_pairs without_the_tick_an_old_hash_would_show"
                " the_words_tell_nothing scram_tells_nothing_before_the_proof odd_passwords_are_wrong five_hundred_logins_at_once"
                " one_network_cannot_have_the_whole_queue over_the_budget_nothing_is_hashed guesses_side_by_side_have_no_larger_budget"
                " proofs_side_by_side_have_no_larger_budget"
                " nobody_can_lock_the_owner_or_the_operator_out"
                " a_front_that_names_loopback_for_everybody_has_a_budget_too"
                " who_makes_it_crash_gets_no_new_budget a_spoofed_loopback_in_words_is_not_loopback"
                " random_sasl_is_answered_and_kept_nowhere abandoned_exchanges_do_not_pile_up sessions_of_two_roles_never_meet"
                " what_a_captured_daemon_may_say a_storm_of_aliases_never_holds_up_a_login",
        "enumeration": "the_work_tells_nothing another_hash_would_show imap_says_the_same pop3_says_the_same",
        "smtp": "odd_sasl_messages endless_sasl_responses auth_in_auth_and_commands_in_auth a_slow_auth_lets_nothing_overtake_it"
                " answers_tell_nothing_about_users",
        "pop3": "ten_thousand_guesses_in_one_connection guesses_by_every_mechanism_count_together broken_responses"}, "tests/protocol/test_sasl.py"),
    "G": Class("Connections: slow, idle, vanishing, other protocols, memory held by who does not read", {
        "smtp": "idle_clients_leave_room_for_honest_ones octet_after_octet_does_not_move_a_deadline connections_that_vanish other_protocols"
                " many_big_messages_at_once too_many_of_one_address",
        "pop3": "three_hundred_idle_connections too_many_are_told_so a_client_that_never_reads login_has_a_deadline_however_busy_the_client_is"
                " reset_at_any_point other_protocols_get_one_line half_a_million_unknown_commands",
        "imap": "who_asks_and_does_not_read_costs_no_memory", "processes": "words_at_every_port every_port_is_attacked"},
        "tests/servers/doors, tests/soak"),
    "H": Class("MIME and parser bombs", {"imap": "bombs nothing_said_by_others_breaks_a_response"},
               "tests/mail, tests/core/imap, tests/servers/doors/test_deflate.py, tests/fuzz"),
    "I": Class("IMAP: literals, depth, patterns, half messages, other people's mailboxes", {
        "imap": "no_command what_ends_a_session the_tree_of_mailboxes_stays_whole patterns_that_want_to_backtrack half_a_message_is_none"
                " one_bad_message_spoils_them_all a_mailbox_copied_and_moved_into_itself nobody_reads_the_mail_of_others noise"},
        "tests/protocol/imap"),
    "J": Class("POP3: numbers, lengths, early ends", {
        "pop3": "numbers_that_are_no_message a_line_without_end long_user_and_password no_message_ends_early"}, "tests/protocol/pop3"),
    "K": Class("Loops, bounces, notifications", {
        "loops": "two_servers_that_forward_to_each_other a_host_that_gives_back_what_it_gets those_who_have_not_had_it_get_it"
                 " a_mailbox_of_ours_ends_every_way marks_tell_nobody_of_others_and_stand_only_where_an_alias_leads_away too_many_hops"
                 " circles_of_aliases an_alias_that_stands_for_too_many a_bounce_for_nobody_is_refused_in_the_session"
                 " a_bounce_that_bounces_goes_nowhere a_bounce_that_does_not_arrive_ends_there notifications_go_to_the_envelope_sender_only"
                 " many_failures_make_one_notification what_strangers_say_forges_nothing"
                 " taken_but_never_confirmed_is_repeated_and_not_bounced many_who_are_late_are_told_of_once"}, "tests/mail/test_dsn.py"),
    "L": Class("Webmail and gateway", {}, "not built yet"),
    "M": Class("DNS, MX and routing", {
        "dns": "a_forged_answer_before_the_true_one_is_ignored an_answer_from_another_port_is_not_even_heard"
               " records_that_nobody_asked_for_are_not_taken another_class_is_not_taken a_malformed_answer_is_a_temporary_error"
               " 64_kib_of_text_and_500_strings random_octets_behind_our_question mx_that_leads_inside no_hostile_answer_leads_inside"
               " mx_that_leads_back_to_us hosts_better_than_us_are_asked_all_the_same our_own_ports_even_where_private_networks_are_allowed"
               " a_named_host_that_is_ourselves_defers_until_the_settings_are_put_right address_literals what_is_final_and_what_is_not"
               " silence_and_cut_answers_defer null_mx_among_others_is_ignored a_thousand_mx_with_a_hundred_addresses_each"
               " the_address_that_was_checked_is_the_one_that_is_connected_to a_dead_resolver_does_not_pile_anything_up owned hosts_file"},
        "tests/servers/smtpout/test_resolver.py"),
    "N": Class("SPF, DKIM, DMARC, ARC", {}, "not built yet"),
    "O": Class("The conversation and the machine: keys, roles, garbage on sockets, evil daemons, what a process may touch", {
        "ipc": "garbage_on_the_socket doors_are_closed_to_others another_uid_is_refused_even_inside a_key_that_others_may_read_is_not_used"
               " a_withdrawn_key_is_refused a_flood_of_short_lived_peers a_peer_that_asks_and_never_reads"
               " hostile_messages_are_answered_or_dropped subscriptions_are_bounded",
        "evil": "every_verb_with_every_key the_table_knows_every_verb a_role_has_its_queues_and_no_other"
                " an_accepted_message_cannot_be_changed_unseen no_answer_holds_a_secret a_key_of_nobody_is_refused_by_all",
        "traces": "what_is_made_is_closed_to_others_whatever_the_umask no_way_from_octets_to_code", "processes": "garbage_at_every_socket"},
        "tests/servers/containment, tests/live/test_containment.py, tests/live/test_own_users.py, tests/ipc"),
    "P": Class("Logs, secrets, numbers, resources", {
        "traces": "smtp_words_in_the_log login_names_in_the_log no_password_and_no_token_in_any_file numbers_are_ascii_digits_everywhere"},
        "tests/base/test_log.py, tests/base/settings, tests/faults"),
    "-": Class("The attacks themselves: each protection taken away makes its attack succeed, and the test notice; canaries that are silenced", {
        "mutants": "a_missing_protection_is_noticed a_missing_protection_among_daemons_is_noticed a_missing_protection_of_mailboxes_is_noticed"
                   " every_class_has_a_mutant",
        "canaries": "in_good_health_all_of_them_sing who_ended_is_missed who_does_not_answer_is_missed who_is_wedged_is_noticed"
                    " a_queue_that_takes_nothing_over a_server_that_takes_no_mail who_stumbled_and_stood_up_again_is_noticed"
                    " a_traceback_in_the_log_is_noticed a_resolver_that_finds_nothing a_sender_that_sends_nothing"
                    " an_attack_after_which_nobody_sang_fails an_attack_that_does_without_is_not_collected",
        "processes": "another_process_is_noticed a_process_that_stands_still_is_noticed"}),
}


def render() -> str:
    """The table, in Markdown."""
    lines = ["| class | what | tests in tests/attacks | and |", "|---|---|---|---|"]
    for letter, entry in CATALOGUE.items():
        tests = "; ".join(f"{file}: {len(names.split())}" for file, names in entry.tests.items())
        lines.append(f"| {letter} | {entry.what} | {tests or '-'} | {entry.further or '-'} |")
    return "\n".join(lines) + "\n"


def rewritten(page: str) -> str:
    """The page with the table of now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + render() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
