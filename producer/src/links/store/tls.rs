//! TLS to PostgreSQL, with the certificates of the system or of a file.
//!
//! The URL has the parameters of PostgreSQL's own programs, of which the client library knows only
//! `sslmode`. If the URL names a file of certificates, the server is checked against them.

use std::path::{Path, PathBuf};

use native_tls::{Certificate, TlsConnector};
use percent_encoding::percent_decode_str;

use crate::links::store::error::StoreError;

/// Removes `sslrootcert=FILE` from a URL, and replaces `verify-full` by `require`, with which the client
/// library checks certificate and name.
pub(super) fn split(url: &str) -> (String, Option<PathBuf>) {
    let Some((server, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (mut kept, mut roots) = (Vec::new(), None);
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslrootcert", file)) => {
                roots = Some(percent_decode_str(file).decode_utf8_lossy().into_owned().into());
            }
            Some(("sslmode", "verify-full")) => kept.push("sslmode=require"),
            _ => kept.push(parameter),
        }
    }
    let server =
        if kept.is_empty() { server.to_owned() } else { format!("{server}?{}", kept.join("&")) };
    (server, roots)
}

/// A connector that checks the certificate of the server against these roots, and its name.
pub(super) fn connector(roots: Option<&Path>) -> Result<TlsConnector, StoreError> {
    let broken = |cause: String| StoreError::Unusable(cause);
    let mut builder = TlsConnector::builder();
    if let Some(file) = roots {
        let named = |cause: String| broken(format!("sslrootcert {}: {cause}", file.display()));
        let pem = std::fs::read(file).map_err(|error| named(error.to_string()))?;
        let found = Certificate::stack_from_pem(&pem).map_err(|error| named(error.to_string()))?;
        if found.is_empty() {
            return Err(named("holds no certificate in PEM format".to_owned()));
        }
        builder.disable_built_in_roots(true);
        for certificate in found {
            builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_named_as_postgresqls_own_programs_do() {
        for (url, server, roots) in [
            ("postgres://u@h/d", "postgres://u@h/d", None),
            ("postgres://u@h/d?sslmode=require", "postgres://u@h/d?sslmode=require", None),
            ("postgres://u@h/d?sslrootcert=a", "postgres://u@h/d", Some("a")),
            (
                "postgres://u@h/d?sslmode=verify-full&sslrootcert=%2Fa%20b&connect_timeout=3",
                "postgres://u@h/d?sslmode=require&connect_timeout=3",
                Some("/a b"),
            ),
        ] {
            assert_eq!(split(url), (server.to_owned(), roots.map(PathBuf::from)), "{url}");
        }
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        for text in ["", "nothing", "-----BEGIN CERTIFICATE-----\nx\n"] {
            std::fs::write(&file, text).unwrap();
            let error = connector(Some(&file)).unwrap_err().to_string();
            assert!(error.contains("roots.pem: "), "{error}");
        }
    }
}
