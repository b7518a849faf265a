//! The kinds of resource.

use std::fmt;

/// A kind of resource, in the order in which the Admin API's document lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `routes`.
    Route,
    /// `services`.
    Service,
    /// `upstreams`.
    Upstream,
    /// `ssls`.
    Ssl,
    /// `stream_routes`.
    StreamRoute,
    /// `plugin_configs`.
    PluginConfig,
    /// `global_rules`.
    GlobalRule,
    /// `consumers`.
    Consumer,
    /// `consumers/{username}/credentials`.
    Credential,
    /// `consumer_groups`.
    ConsumerGroup,
    /// `plugin_metadata`.
    PluginMetadata,
    /// `protos`.
    Proto,
    /// `secrets/{manager}`.
    Secret,
}

impl Kind {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 13] = [
        Self::Route,
        Self::Service,
        Self::Upstream,
        Self::Ssl,
        Self::StreamRoute,
        Self::PluginConfig,
        Self::GlobalRule,
        Self::Consumer,
        Self::Credential,
        Self::ConsumerGroup,
        Self::PluginMetadata,
        Self::Proto,
        Self::Secret,
    ];

    /// The name in paths and keys: `routes`. Credentials are below `consumers/{username}`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Route => "routes",
            Self::Service => "services",
            Self::Upstream => "upstreams",
            Self::Ssl => "ssls",
            Self::StreamRoute => "stream_routes",
            Self::PluginConfig => "plugin_configs",
            Self::GlobalRule => "global_rules",
            Self::Consumer => "consumers",
            Self::Credential => "credentials",
            Self::ConsumerGroup => "consumer_groups",
            Self::PluginMetadata => "plugin_metadata",
            Self::Proto => "protos",
            Self::Secret => "secrets",
        }
    }

    /// The name in APISIX's messages and schemas: `route`.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Service => "service",
            Self::Upstream => "upstream",
            Self::Ssl => "ssl",
            Self::StreamRoute => "stream_route",
            Self::PluginConfig => "plugin_config",
            Self::GlobalRule => "global_rule",
            Self::Consumer => "consumer",
            Self::Credential => "credential",
            Self::ConsumerGroup => "consumer_group",
            Self::PluginMetadata => "plugin_metadata",
            Self::Proto => "proto",
            Self::Secret => "secret",
        }
    }

    /// The kind of a name in a path.
    pub fn from_plural(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}
