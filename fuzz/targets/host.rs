//! Names of hosts, as the handshake (SNI), `Host` and `:authority` bring them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::model::{HostName, HostPattern};

fuzz_target!(|text: &str| {
    if let Some(host) = HostName::parse(text) {
        assert_eq!(HostName::parse(host.as_str()).as_ref(), Some(&host), "one form for every spelling");
        assert!(
            !host.as_str().bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_control() || byte == b' ')
        );
    }
    let _ = HostPattern::parse(text);
});
