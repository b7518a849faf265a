//! The first bytes of a client, from the socket to the host that they name: what the proxy does with them before it has chosen
//! a configuration. They come in pieces, as a network may deliver them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::model::HostName;
use rustls::server::Acceptor;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, data)) = data.split_first() else { return };
    let mut acceptor = Acceptor::default();
    for mut bytes in data.chunks(usize::from(piece) + 1) {
        while !bytes.is_empty() {
            if acceptor.read_tls(&mut bytes).is_err() {
                return;
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    if let Some(host) = hello.server_name().and_then(HostName::parse) {
                        assert_eq!(HostName::parse(host.as_str()), Some(host), "one form");
                    }
                    return;
                }
                Err(_) => return,
            }
        }
    }
});
