//! Attacks on client authentication, with real sockets, on hosts that are set up by the objects a user would write. In each of
//! them the upstream sees nothing that it should not.
//!
//! The ways in which others have let clients in, and the tests that try them:
//!
//! | way | test |
//! | --- | --- |
//! | a TLS 1.3 session of one host is resumed on another (CVE-2025-23419, CVE-2025-23048) | `class_a_resumption` |
//! | a session outlives the policy, the CA or the CRL that it was made under (CVE-2025-68121) | `class_b_trust_changed` |
//! | a session outlives the client's certificate | `class_b_a_session_ends_with_the_certificate_that_it_was_made_with`, `…_with_the_revocation_of_its_certificate` |
//! | SNI of one host, `Host` or `:authority` of another, in a first or a later request | `class_c_sni_and_host`, `gateway_api` |
//! | HTTP/2 connections shared under a certificate of several hosts | `class_c_a_connection_of_an_open_host_reaches_no_protected_host` |
//! | exact, wildcard and mixed-case look-ups that differ between TLS and routes | `class_d_lookup` |
//! | a final dot | `class_c_sni_and_host`, `class_d_lookup` |
//! | a `ClientHello` in pieces (CVE-2026-32305) | `class_e_client_hello` |
//! | no SNI, an address or an unknown name | `class_c_no_sni_an_unknown_one_or_an_address_completes_no_handshake` |
//! | a CA that is missing, empty or broken (CVE-2026-27586) | `class_f_bad_configuration` |
//! | a moment between two configurations in which a host has no policy | `class_f_a_host_is_never_open_while_objects_change` |
//! | identity headers of the client's own | `class_g_header_spoof` |
//! | skipped paths matched before they are normalised | `m08_the_path_that_is_checked_is_the_path_that_is_served` |
//! | another SNI after a `HelloRetryRequest`, early data, renegotiation | `class_n_after_the_handshake` |
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../proxy/client.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod client;
#[path = "../proxy/lines.rs"]
mod lines;
#[path = "../proxy/pki.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod pki;
#[path = "../proxy/upstream.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod upstream;

mod apisix;
mod attacker;
mod bad_input;
mod forger;
mod frames;
mod hello;
mod objects;
mod s_client;
mod sessions;
mod stage;

mod class_a_resumption;
mod class_b_trust_changed;
mod class_c_sni_and_host;
mod class_d_lookup;
mod class_e_client_hello;
mod class_f_bad_configuration;
mod class_g_header_spoof;
mod class_h_certificates;
mod class_j_revocation;
mod class_k_injection;
mod class_l_namespaces;
mod class_m_http2_floods;
mod class_n_after_the_handshake;
mod class_o_upstream_connections;
mod class_p_size;
mod gateway_api;
