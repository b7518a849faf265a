//! PEM bundles of certificate authorities, and private keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::trust::{Anchors, certificates, private_key};

fuzz_target!(|pem: &[u8]| {
    let _ = private_key(pem);
    let strict = Anchors::from_pem(pem);
    let (anchors, left_out) = Anchors::read([pem]);
    assert_eq!(strict.is_ok(), left_out.is_empty());
    if let Ok(anchors) = anchors {
        assert_eq!(anchors.iter().count(), anchors.certificates().len());
        assert_eq!(anchors.subjects().count(), anchors.certificates().len());
    } else {
        assert!(!left_out.is_empty());
    }
    if certificates(pem).is_err() {
        assert!(strict.is_err());
    }
});
