use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n";

fn keyring(entries: &[&str]) -> Result<Keyring, String> {
    Keyring::new(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
}

/// `openssl enc -aes-128-cbc -K hex(entry) -iv hex(entry) -a -A`, which is what APISIX calls by way of lua-resty-string.
#[test]
fn the_form_is_apisix_own() {
    let keyring = keyring(&["0123456789abcdef"]).unwrap();
    assert_eq!(keyring.seal("secret"), "MI7tW+ZiM630s7engBaaTg==");
    assert_eq!(keyring.open("MI7tW+ZiM630s7engBaaTg==").unwrap(), "secret");
    assert_eq!(keyring.open("COpyH5JDkbewEUE9BOa3Fw==").unwrap(), "secret", "APISIX's first default");
    assert_eq!(keyring.open("3KxZfy/YIZ/ejJTEIbS09g==").unwrap(), "secret", "APISIX's second default");
}

#[test]
fn the_first_entry_seals_and_every_entry_opens() {
    let old = keyring(&["0123456789abcdef"]).unwrap();
    let new = keyring(&["fedcba9876543210", "0123456789abcdef"]).unwrap();
    assert_eq!(new.open(&old.seal(PEM)).unwrap(), PEM);
    assert_eq!(old.open(&new.seal(PEM)), Err(NotOpened));
    assert_eq!(new.open(PEM).unwrap(), PEM, "plain");
    for text in ["", "no base64!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(new.open(text), Err(NotOpened), "{text}");
    }
}

#[test]
fn public_entries_never_seal() {
    let own = keyring(&["0123456789abcdef"]).unwrap();
    let mixed = keyring(&["qeddd145sfvddff3", "0123456789abcdef"]).unwrap();
    assert_eq!(mixed.seal(PEM), own.seal(PEM));
    for entries in [&[][..], &["qeddd145sfvddff3"], &["edd1c9f0985e76a2", "qeddd145sfvddff3"]] {
        assert!(keyring(entries).unwrap_err().contains("public default keys"), "{entries:?}");
    }
}

#[test]
fn an_entry_of_another_length_is_named_and_not_shown() {
    let error = keyring(&["0123456789abcdef", "short-secret"]).unwrap_err();
    assert_eq!(error, "data_encryption.keyring[1] must have 16 bytes and has 12");
    let debug = format!("{:?}", keyring(&["0123456789abcdef"]).unwrap());
    assert!(!debug.contains("0123456789abcdef"), "{debug}");
}

#[test]
fn a_folder_keeps_its_own_entry() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let public = PUBLIC.map(str::to_owned);
    let sealed = Keyring::in_folder(&data, &public).unwrap().seal(PEM);
    assert_eq!(Keyring::in_folder(&data, &[]).unwrap().open(&sealed).unwrap(), PEM);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join(FILE))), (0o700, 0o600));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing unfinished is left");

    fs::write(data.join(FILE), "cut").unwrap();
    let error = Keyring::in_folder(&data, &[]).unwrap_err();
    assert!(error.starts_with(&data.join(FILE).display().to_string()) && !error.contains("cut"), "{error}");
}

#[test]
fn gateways_that_start_together_agree_on_the_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let made: Vec<_> = std::thread::scope(|scope| {
        let make = |n: u8| {
            let path = &path;
            scope.spawn(move || kept(path, || Ok(vec![n; LENGTH])))
        };
        let threads: Vec<_> = (1..=8).map(make).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert!(made.iter().all(|entry| *entry == made[0] && entry.len() == LENGTH), "{made:?}");
}
