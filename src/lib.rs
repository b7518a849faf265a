//! Portcullis: a Kubernetes ingress controller that enforces mutual TLS per host.
//!
//! ```text
//! sources ── Change ─► world ──► compile ── Snapshot ─► ArcSwap ──► proxy
//!                                   └────── Report ───► status writer (leader)
//! ```
//! Modules are listed in the direction of that flow; docs/architecture.md tells who may import whom, and a test below
//! keeps it so.

pub mod api;
pub mod model;
pub mod resource;
pub mod source;
pub mod store;
pub mod world;

pub mod possession;
pub mod trust;

pub mod snapshot;

pub mod compile;

pub mod health;

pub mod proxy;

pub mod status;

pub mod explain;

pub mod admin;
pub mod admin_api;
pub mod app;
pub mod args;
pub mod config;
pub mod demo;
pub mod inspect;

pub mod alarm;
pub mod audit;
pub mod body;
pub mod drain;
pub mod keyring;
pub mod log;
pub mod metrics;
pub mod pool;
pub mod readiness;

#[cfg(test)]
mod layers;
