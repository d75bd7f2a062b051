//! Certificates for one test: an authority, a server on loopback, a client.

use std::fs;
use std::path::{Path, PathBuf};

use alluvium_metadata::store::etcd::TlsOptions;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

#[derive(Debug)]
pub(super) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    pub(super) fn make(folder: &Path) -> Self {
        let certificates = Self {
            folder: folder.to_owned(),
        };
        certificates.authority("ca", &[("server", true), ("client", false)]);
        certificates.authority("other-ca", &[("other-client", false)]);
        certificates
    }

    fn authority(&self, name: &str, leaves: &[(&str, bool)]) {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        self.write(&format!("{name}.pem"), issuer.pem());
        for (leaf, server) in leaves {
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
            // etcd's gateway to itself uses the server's certificate as a client's.
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            if *server {
                let usage = ExtendedKeyUsagePurpose::ServerAuth;
                params.extended_key_usages.push(usage);
            }
            let key = KeyPair::generate().expect("a key");
            let signed = params.signed_by(&key, &issuer).expect("a certificate");
            self.write(&format!("{leaf}.pem"), signed.pem());
            self.write(&format!("{leaf}-key.pem"), key.serialize_pem());
        }
    }

    fn write(&self, name: &str, pem: String) {
        fs::write(self.folder.join(name), pem).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn server_flags(&self) -> [String; 4] {
        let path = |name| self.path(name).display().to_string();
        [
            format!("--cert-file={}", path("server.pem")),
            format!("--key-file={}", path("server-key.pem")),
            format!("--trusted-ca-file={}", path("ca.pem")),
            "--client-cert-auth".to_owned(),
        ]
    }

    pub(super) fn client(&self) -> TlsOptions {
        TlsOptions {
            ca: Some(self.path("ca.pem")),
            identity: Some((self.path("client.pem"), self.path("client-key.pem"))),
        }
    }
}
