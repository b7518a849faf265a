//! Tests on a real cluster, driven as its users do it: with kubectl, curl and openssl.
//!
//! `e2e/cluster/up` and `e2e/cluster/images` come first, then `cargo test --test cluster -- --test-threads=1`.

mod api;
mod certificates;
mod cluster;
mod lifecycle;
mod replicas;
mod scene;
mod seed_002;
mod seed_004;
mod upstreams;
