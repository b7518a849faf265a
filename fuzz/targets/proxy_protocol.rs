//! Headers of the PROXY protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::proxy_header;

fuzz_target!(|bytes: &[u8]| {
    let Some((named, length)) = proxy_header(bytes) else { return };
    let header = &bytes[..length];
    assert!(length <= 16 + (4 << 10));
    assert_eq!(proxy_header(header), Some((named, length)), "what follows does not count");
    assert_eq!(proxy_header(&header[..length - 1]), None, "nothing of it is missing");
});
