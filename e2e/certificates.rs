//! Certificates as people make them: with openssl, in a folder.

use std::path::Path;

use tempfile::TempDir;

use crate::cluster::shell;

/// Keys and certificates as NAME.key and NAME.pem.
#[derive(Debug)]
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A root authority.
    pub(crate) fn authority(&self, name: &str) {
        let subject = format!("-subj '/O=Portcullis tests/CN={name}'");
        self.openssl(&format!("openssl req -x509 {EC} -keyout {name}.key -out {name}.pem {subject} -days 2"));
    }

    /// A server's certificate.
    pub(crate) fn server(&self, name: &str, authority: &str, host: &str) {
        self.issue(name, authority, host, &format!("subjectAltName=DNS:{host}"));
    }

    /// A client's certificate.
    pub(crate) fn client(&self, name: &str, authority: &str) {
        self.issue(name, authority, name, "extendedKeyUsage=clientAuth");
    }

    /// The serial number of a certificate, as openssl prints it.
    pub(crate) fn serial(&self, name: &str) -> String {
        self.openssl(&format!("openssl x509 -noout -serial -in {name}.pem"))
    }

    fn issue(&self, name: &str, authority: &str, subject: &str, extension: &str) {
        self.openssl(&format!(
            "openssl req {EC} -keyout {name}.key -subj '/CN={subject}' | openssl x509 -req -CA {authority}.pem \
             -CAkey {authority}.key -CAcreateserial -days 2 -extfile <(echo '{extension}') -out {name}.pem"
        ));
    }

    fn openssl(&self, command: &str) -> String {
        shell(self.folder(), command).ok()
    }
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
