//! The way to PostgreSQL: a connection string, and TLS by the words of libpq in it: `sslmode` and `sslrootcert` in the connection string.
//!
//! ```text
//! disable       none
//! prefer        what the server offers, unchecked; the default, as in libpq
//! require       TLS, unchecked without sslrootcert, else as verify-ca
//! verify-ca     the certificate leads to one of sslrootcert
//! verify-full   the same, and it is for this host
//! ```
//!
//! Our library knows neither the last two nor `sslrootcert`: they are taken out of the string before it reads it. Unix
//! sockets have no TLS, whatever is said.

use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use postgres::Config;
use postgres::config::{Host, SslMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;
pub use tokio_postgres_rustls::MakeRustlsConnect;

/// A connection string that cannot be used, and why; nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Misconfigured(&'static str);

/// Reads a connection string: how to connect, and TLS for it.
///
/// # Errors
/// When it cannot be understood, or the certificates cannot be read; never says what is in it.
pub fn read(connection: &str) -> Result<(Config, MakeRustlsConnect), Misconfigured> {
    let (rest, settings) = take_settings(connection.trim()).ok_or_else(not_understood)?;
    let mut config = Config::from_str(&rest).map_err(|_| not_understood())?;
    let roots = settings.root_certificates.as_deref().map(roots).transpose()?;
    let (mode, check) = match (settings.mode, roots) {
        (Mode::Disable, _) => (SslMode::Disable, Check::Nothing),
        (Mode::Prefer, _) => (SslMode::Prefer, Check::Nothing),
        (Mode::Require, None) => (SslMode::Require, Check::Nothing),
        (Mode::Require | Mode::VerifyCa, Some(roots)) => (SslMode::Require, Check::Authority(roots)),
        (Mode::VerifyFull, Some(roots)) => (SslMode::Require, Check::Host(roots)),
        (Mode::VerifyCa | Mode::VerifyFull, None) => {
            return Err(Misconfigured(
                "this sslmode needs sslrootcert: a file with the certificates to trust",
            ));
        }
    };
    let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    let is_by_address = !config.get_hostaddrs().is_empty();
    config.ssl_mode(if is_local && !is_by_address { SslMode::Disable } else { mode });
    Ok((config, MakeRustlsConnect::new(client_config(check)?)))
}

/// What is checked of the server.
enum Check {
    Nothing,
    Authority(RootCertStore),
    Host(RootCertStore),
}

fn client_config(check: Check) -> Result<ClientConfig, Misconfigured> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|_| Misconfigured("TLS cannot be set up"))?;
    let (roots, names) = match check {
        Check::Nothing => {
            let unchecked = Arc::new(Unchecked(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(unchecked).with_no_client_auth());
        }
        Check::Authority(roots) => (roots, Names::Any),
        Check::Host(roots) => (roots, Names::Host),
    };
    let authority = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let authority = authority.map_err(|_| Misconfigured("sslrootcert holds no certificate to trust"))?;
    let verifier: Arc<dyn ServerCertVerifier> = match names {
        Names::Host => authority,
        Names::Any => Arc::new(AnyName(authority)),
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// For which names a certificate is taken.
enum Names {
    Any,
    Host,
}

fn roots(file: &str) -> Result<RootCertStore, Misconfigured> {
    let unreadable = || Misconfigured("sslrootcert cannot be read: it is a file of certificates in PEM");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|_| unreadable())? {
        roots.add(certificate.map_err(|_| unreadable())?).map_err(|_| unreadable())?;
    }
    Ok(roots)
}

/// Takes any certificate, whose key the server has.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

/// Takes certificates of an authority for whatever host.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

type Verified<T> = Result<T, rustls::Error>;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Verified<ServerCertVerified> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Verified<ServerCertVerified> {
        // The name is looked at last: what fails by it alone is of the authority.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What of a connection string is about TLS.
#[derive(Debug, PartialEq, Eq, Default)]
struct Settings {
    mode: Mode,
    root_certificates: Option<String>,
}

impl Settings {
    /// Takes a setting that is one of these. Whether it is; nothing when its value is none.
    fn take(&mut self, name: &str, value: &str) -> Option<bool> {
        match name {
            "sslmode" => {
                self.mode = match value {
                    "disable" => Mode::Disable,
                    "prefer" => Mode::Prefer,
                    "require" => Mode::Require,
                    "verify-ca" => Mode::VerifyCa,
                    "verify-full" => Mode::VerifyFull,
                    _ => return None,
                };
            }
            "sslrootcert" => self.root_certificates = Some(value.to_owned()),
            _ => return Some(false),
        }
        Some(true)
    }
}

/// Takes what is about TLS out of a connection string of either form.
fn take_settings(connection: &str) -> Option<(String, Settings)> {
    if connection.starts_with("postgres://") || connection.starts_with("postgresql://") {
        take_from_url(connection)
    } else {
        take_from_words(connection)
    }
}

fn take_from_url(url: &str) -> Option<(String, Settings)> {
    let mut settings = Settings::default();
    let Some((before, parameters)) = url.split_once('?') else { return Some((url.to_owned(), settings)) };
    let mut rest = Vec::new();
    for parameter in parameters.split('&') {
        let (name, value) = parameter.split_once('=')?;
        if !settings.take(name, &percent_decode_str(value).decode_utf8().ok()?)? {
            rest.push(parameter);
        }
    }
    let separator = if rest.is_empty() { "" } else { "?" };
    Some((format!("{before}{separator}{}", rest.join("&")), settings))
}

/// `name = value` pairs with blanks between them; values may stand in quotes, and a backslash saves the next character.
fn take_from_words(words: &str) -> Option<(String, Settings)> {
    let mut settings = Settings::default();
    let mut rest = String::new();
    let mut left = words.trim_start();
    while !left.is_empty() {
        let (name, value) = left.split_once('=')?;
        let (name, value) = (name.trim(), value.trim_start());
        let (plain, length) = value_of(value)?;
        let (raw, next) = value.split_at_checked(length)?;
        if !settings.take(name, &plain)? {
            rest.push_str(&format!("{name}={raw} "));
        }
        left = next.trim_start();
    }
    Some((rest, settings))
}

/// A value at the beginning of a text, and how many bytes of it it takes.
fn value_of(text: &str) -> Option<(String, usize)> {
    let is_quoted = text.starts_with('\'');
    let mut plain = String::new();
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => plain.push(characters.next()?.1),
            '\'' if is_quoted => return Some((plain, at.checked_add(1)?)),
            blank if blank.is_whitespace() && !is_quoted => return Some((plain, at)),
            other => plain.push(other),
        }
    }
    (!is_quoted).then_some((plain, text.len()))
}

fn not_understood() -> Misconfigured {
    Misconfigured("the connection string cannot be understood")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(connection: &str) -> Option<(String, Mode, Option<String>)> {
        let (rest, Settings { mode, root_certificates }) = take_settings(connection)?;
        Some((rest.trim_end().to_owned(), mode, root_certificates))
    }

    fn some(rest: &str, mode: Mode, roots: Option<&str>) -> Option<(String, Mode, Option<String>)> {
        Some((rest.to_owned(), mode, roots.map(str::to_owned)))
    }

    #[test]
    fn what_is_about_tls_is_taken_out_of_both_forms() {
        for (connection, expected) in [
            ("host=/run dbname=smp", some("host=/run dbname=smp", Mode::Prefer, None)),
            (
                "host=a sslmode = verify-full sslrootcert='/etc/my ca.pem' dbname=smp",
                some("host=a dbname=smp", Mode::VerifyFull, Some("/etc/my ca.pem")),
            ),
            (
                r"password='a\'b sslmode=x\\' user=smp sslrootcert=/a\ b sslmode=require",
                some(r"password='a\'b sslmode=x\\' user=smp", Mode::Require, Some("/a b")),
            ),
            ("password='' sslmode='disable'", some("password=''", Mode::Disable, None)),
            ("postgresql://smp@a/smp", some("postgresql://smp@a/smp", Mode::Prefer, None)),
            (
                "postgres://smp:p%3Fw@a:5433/smp?sslmode=verify-ca&application_name=x&sslrootcert=/etc/my%20ca.pem",
                some(
                    "postgres://smp:p%3Fw@a:5433/smp?application_name=x",
                    Mode::VerifyCa,
                    Some("/etc/my ca.pem"),
                ),
            ),
            ("postgres://a/smp?sslmode=require", some("postgres://a/smp", Mode::Require, None)),
            ("", some("", Mode::Prefer, None)),
            ("sslmode=never", None),
            ("host", None),
            ("password='open", None),
            (r"password=a\", None),
            ("postgres://a/smp?sslmode", None),
        ] {
            assert_eq!(taken(connection), expected, "{connection}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_and_nothing_of_the_string() {
        for (connection, said) in [
            ("host=a password=hunter2 sslmode=verify-full", "sslrootcert"),
            ("host=a password=hunter2 sslmode=verify-full sslrootcert=/nowhere/hunter2", "PEM"),
            ("host=a password=hunter2 port=hunter2", "understood"),
            ("host=a password='hunter2", "understood"),
        ] {
            let failure = read(connection).err().unwrap();
            let text = format!("{failure} {failure:?}");
            assert!(text.contains(said) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_unix_socket_has_no_tls() {
        let mode = |connection: &str| read(connection).map(|(config, _)| config.get_ssl_mode()).unwrap();
        assert_eq!(mode("host=/run/postgresql sslmode=require"), SslMode::Disable);
        assert_eq!(mode("host=db.example.org sslmode=require"), SslMode::Require);
        assert_eq!(mode("host=/run/postgresql hostaddr=127.0.0.1 sslmode=require"), SslMode::Require);
        assert_eq!(mode("host=db.example.org sslmode=disable"), SslMode::Disable);
    }
}
