//! What browsers see, at ports of their own and at one that they share with clients (smp.md §3.2, §16.3, §18.5).

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use protocol::net::tls::ClientTls;
use protocol::smp::short_link::ShortLink;
use qrcode::bits::Bits;
use qrcode::canvas::{Canvas, MaskPattern};
use qrcode::ec::construct_codewords;
use qrcode::{Color, EcLevel, Version};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use serde_json::Value;
use smp_conformance::peer;
use smp_conformance::tls::credulous;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, MESSAGING};
use crate::program::{Program, init, run};

/// Puts a certificate for browsers into a server's directory; gives its leaf.
fn certify(directory: &Path, name: &str) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(directory.join("web.crt"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("web.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().to_vec()
}

/// A connection as browsers make it; nothing when the server refuses it.
async fn browser(address: SocketAddr, alpn: &[&[u8]]) -> Option<TlsStream<TcpStream>> {
    let mut config = credulous(alpn, default_provider(), None).unwrap();
    config.enable_sni = true;
    let socket = TcpStream::connect(address).await.ok()?;
    let name = ServerName::try_from("smp.example.org").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()
}

fn leaf(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Head and body of what is at this path.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: smp.example.org\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Some servers end TLS without a word; what came counts.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn get_plain(address: SocketAddr, path: &str) -> (String, String) {
    get(TcpStream::connect(address).await.unwrap(), path).await
}

#[tokio::test]
async fn browsers_and_clients_share_a_port() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let certificate = certify(place.path(), "smp.example.org");
    let server = Program::start(place.path(), &["--web-https", "0"]);
    let at = server.as_ref().address;
    assert_eq!(server.web(), []);

    let stream = browser(at, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(leaf(&stream), certificate);
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let stream = browser(at, alpn).await.unwrap();
        assert_eq!(leaf(&stream), certificate);
        let (head, body) = get(stream, "/").await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(body.contains("smp://") && body.contains("Messaging server"), "{body}");
    }
    assert!(browser(at, &[b"smp/1"]).await.is_none(), "who names the server is no client");

    // Clients are as before: also those that take port 443 for HTTPS, and those of old versions are refused as before.
    let mut client = Client::connect(&server).await;
    client.create(MESSAGING, true).await;
    let tls = ClientTls { alpn: vec![b"http/1.1".to_vec()], ..ClientTls::default() };
    peer::greet(server.as_ref(), tls, &Arc::default()).await.unwrap();
    let config = credulous(&[], default_provider(), None).unwrap();
    let socket = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from("server.invalid").unwrap();
    let mut old = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    assert!(matches!(old.read(&mut [0]).await, Ok(0) | Err(_)), "a client without ALPN is refused");
}

#[tokio::test]
async fn the_web_has_ports_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let certificate = certify(place.path(), "smp.example.org");
    // A port of the system's choice that is not among those of clients: theirs is a known one, at an address that only
    // this process uses.
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = format!("127.200.{high}.{low}");
    let flags = ["--bind", &own, "--port", "5223", "--web-https", "0", "--web-http", "0"];
    let server = Program::start(place.path(), &flags);
    let [http, https] = server.web() else { panic!("{:?}", server.web()) };

    let stream = browser(*https, &[b"http/1.1"]).await.unwrap();
    assert_eq!(leaf(&stream), certificate);
    let (head, page) = get(stream, "/").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(get_plain(*http, "/").await.1, page);
    // At the port of clients names mean nothing.
    let alone = browser(server.as_ref().address, &[b"smp/1"]).await.unwrap();
    assert_ne!(leaf(&alone), certificate);
}

#[tokio::test]
async fn pages_and_files_are_served_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let files = place.path().join("www");
    for (name, text) in [
        ("media/logo.svg", "<svg/>"),
        (".well-known/acme-challenge/token", "proof"),
        (".well-known/apple-app-site-association", "{}"),
        ("secret", "not served"),
    ] {
        let path = files.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let server = Program::start(place.path(), &["--web-http", "0"]);
    let [at] = server.web() else { panic!("{:?}", server.web()) };
    for (path, part) in [
        ("/", "Messaging server"),
        ("/index.html", "Messaging server"),
        ("/style.css", "color-scheme"),
        ("/link.js", "use strict"),
        ("/c", "<h1>Channel</h1>"),
        ("/G/", "<h1>Group</h1>"),
        ("/invitation", "<h1>Invitation</h1>"),
        ("/media/logo.svg", "<svg/>"),
        ("/.well-known/acme-challenge/token", "proof"),
        ("/.well-known/apple-app-site-association", "{}"),
    ] {
        let (head, body) = get_plain(*at, path).await;
        assert!(head.starts_with("HTTP/1.1 200") && body.contains(part), "{path}: {head} {body}");
        let head = head.to_lowercase();
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
        assert_eq!(head.contains("content-type: application/json"), path.ends_with("association"), "{head}");
    }
    for path in
        ["/secret", "/media/../secret", "/media/%2e%2e/secret", "/media/", "/media", "/x", "/smp-server.toml"]
    {
        let (head, body) = get_plain(*at, path).await;
        assert!(head.starts_with("HTTP/1.1 404") && !body.contains("not served"), "{path}: {head} {body}");
    }
}

#[tokio::test]
async fn a_reload_takes_up_the_certificate_and_the_information() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &["--web-https", "0"]);
    let first = certify(place.path(), "smp.example.org");
    let server = Program::start(place.path(), &[]);
    let at = server.as_ref().address;
    let seen = async || {
        let stream = browser(at, &[b"http/1.1"]).await.unwrap();
        (leaf(&stream), get(stream, "/").await.1.contains("Harbour &amp; Sons"))
    };
    let settings = place.path().join("smp-server.toml");
    let given = std::fs::read_to_string(&settings).unwrap();
    let told = |told: &str| std::fs::write(&settings, given.replace("[information]", told)).unwrap();
    let second = certify(place.path(), "smp.example.org");
    told("[information]\nsource_code = \"https://code.example\"\noperator = \"Harbour & Sons\"");
    assert_eq!(seen().await, (first, false));
    assert!(run(place.path(), &["ctl", "reload"]).status.success());
    assert_eq!(seen().await, (second.clone(), true));

    // All or nothing: the server's own certificate is renewed with the others.
    let before = std::fs::read(place.path().join("server.crt")).unwrap();
    assert!(run(place.path(), &["cert"]).status.success());
    std::fs::write(place.path().join("web.crt"), "nonsense").unwrap();
    told("[information]");
    let refused = run(place.path(), &["ctl", "reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("web.crt"), "{refused:?}");
    assert_eq!(seen().await, (second, true));
    let shown = peer::greet(server.as_ref(), ClientTls::default(), &Arc::default()).await.unwrap().chain;
    let shown = shown.iter().map(|der| smp_server_pem(der)).collect::<String>();
    assert_eq!(shown.as_bytes(), before);
}

fn smp_server_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test]
async fn browsers_count_as_connections_of_their_address() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    certify(place.path(), "smp.example.org");
    let flags =
        ["--web-https", "0", "--limit-loopback", "on", "--address-connections", "1", "--tls-timeout", "5s"];
    let server = Program::start(place.path(), &flags);
    let at = server.as_ref().address;
    let first = browser(at, &[b"http/1.1"]).await.unwrap();
    assert!(browser(at, &[b"http/1.1"]).await.is_none(), "one is all that this address may have");
    let (head, _) = get(first, "/").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Whoever says nothing loses the place again.
    let silent = loop {
        let mut silent = TcpStream::connect(at).await.unwrap();
        silent.write_all(&[22]).await.unwrap();
        match browser(at, &[b"http/1.1"]).await {
            None => break silent,
            Some(_) => tokio::task::yield_now().await,
        }
    };
    while browser(at, &[b"http/1.1"]).await.is_none() {
        tokio::task::yield_now().await;
    }
    drop(silent);
}

#[test]
fn check_config_asks_for_the_certificate_and_the_source_code() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    std::fs::remove_file(place.path().join("ca.key")).unwrap();
    let checked = |flags: &[&str]| run(place.path(), &[&["check-config"], flags].concat());
    let refused = checked(&["--web-https", "443"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("web.crt"), "{refused:?}");
    certify(place.path(), "smp.example.org");
    assert!(checked(&["--web-https", "443"]).status.success());
    std::fs::write(place.path().join("web.key"), "nonsense").unwrap();
    assert!(!checked(&["--web-https", "443"]).status.success());

    let refused = checked(&["--operator", "A"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("source_code"), "{refused:?}");
    let sound = checked(&["--operator", "A", "--source-code", "https://code.example"]);
    assert!(String::from_utf8_lossy(&sound.stderr).contains("shown nowhere"), "{sound:?}");
    assert_eq!(checked(&["--website", "http://a.example"]).status.code(), Some(2));
}

/// What the script of the link pages makes of its input, by Node.js; nothing where there is none.
fn script(call: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/assets/link.js");
    let program = format!("console.log(JSON.stringify({call}))");
    let output = Command::new("node").env("LINK", &path).arg("-e").arg(program).output();
    let Ok(output) = output else {
        eprintln!("not run: there is no Node.js here");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_link_for_the_app_is_the_same_link() {
    let key = "A".repeat(43);
    for fragment in [
        key.clone(),
        format!("{key}?p=5223"),
        format!("{key}?h=a.onion%2Cb.example&p=5223&c={key}"),
        format!("{key}?c={key}&h=a.onion"),
    ] {
        let call = format!("require(process.env.LINK).appLink('c', 'smp.example.org', '{fragment}')");
        let Some(made) = script(&call) else { return };
        let made: ShortLink = made.as_str().unwrap().parse().unwrap();
        let opened: ShortLink = format!("https://smp.example.org/c#{fragment}").parse().unwrap();
        assert_eq!(made, opened, "{fragment}");
    }
}

#[test]
fn codes_are_as_another_encoder_makes_them() {
    // Of one block, of blocks of two lengths, with and without the version in the code, and a long one.
    for length in [1, 17, 18, 60, 130, 200, 300, 500, 1000, 2953] {
        let text: String =
            (0..length).map(|at| char::from(b"abcdefghij:/#?=-_"[(at * 7 + at / 5) % 17])).collect();
        let Some(made) = script(&format!("require(process.env.LINK).qrCode('{text}')")) else { return };
        let version = Version::Normal(made["version"].as_i64().unwrap().try_into().unwrap());
        let mut bits = Bits::new(version);
        bits.push_byte_data(text.as_bytes()).unwrap();
        bits.push_terminator(EcLevel::L).unwrap();
        let (data, correction) = construct_codewords(&bits.into_bytes(), version, EcLevel::L).unwrap();
        let mut canvas = Canvas::new(version, EcLevel::L);
        canvas.draw_all_functional_patterns();
        canvas.draw_data(&data, &correction);
        canvas.apply_mask(
            [
                MaskPattern::Checkerboard,
                MaskPattern::HorizontalLines,
                MaskPattern::VerticalLines,
                MaskPattern::DiagonalLines,
                MaskPattern::LargeCheckerboard,
                MaskPattern::Fields,
                MaskPattern::Diamonds,
                MaskPattern::Meadow,
            ][usize::try_from(made["mask"].as_u64().unwrap()).unwrap()],
        );
        let wanted: Vec<bool> = canvas.into_colors().into_iter().map(|color| color == Color::Dark).collect();
        let rows = made["rows"].as_array().unwrap().iter();
        let shown: Vec<bool> =
            rows.flat_map(|row| row.as_array().unwrap()).map(|is| is.as_bool().unwrap()).collect();
        assert!(shown == wanted, "the code of {length} bytes, version {version:?}");
    }
    assert_eq!(script("require(process.env.LINK).qrCode('a'.repeat(2954))"), Some(Value::Null));
}
