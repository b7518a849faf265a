//! Attacks on client authentication, with real sockets, on hosts that are set up by the objects a user would write. In each of
//! them the upstream sees nothing that it should not.
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
