//! Certificate revocation lists, in PEM and DER.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::model::RevocationSettings;
use portcullis_fuzz::trust::{Revocation, crls};

fuzz_target!(|data: &[u8]| {
    let read = |lists: Vec<Vec<u8>>| {
        let count = lists.len();
        if let Ok(revocation) = Revocation::new(lists, RevocationSettings::default()) {
            assert_eq!(revocation.iter().count(), count);
            assert_eq!(revocation.next_update(), revocation.iter().map(|list| list.next_update()).min());
        }
    };
    if let Ok(lists) = crls(data) {
        read(lists);
    }
    read(vec![data.to_vec()]);
});
