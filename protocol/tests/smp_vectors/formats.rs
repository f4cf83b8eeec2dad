//! Cases of bytes alone.

use protocol::agent::queue_layer::SentBody;
use protocol::encoding::Encode as _;
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::Command;
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use protocol::transport::block::PLAIN_CONTENT_BYTES_MAX;
use protocol::transport::hello::{ClientHello, ServerHello, ServiceResponse};

use crate::case::{Case, bytes};
use crate::crypto::wire_text;

/// The bytes that our own writer makes of a value that was read.
fn assert_written(case: &Case, ours: Vec<u8>) {
    let expected = case.maybe_bytes("reencodes").unwrap_or_else(|| case.bytes("bytes"));
    case.assert_eq(ours, expected);
}

fn assert_length(case: &Case) {
    if let Some(length) = case.maybe("length") {
        case.assert_eq(case.bytes("bytes").len().to_string(), length.to_owned());
    }
}

pub(crate) fn transmission(case: &Case) {
    let bytes = case.bytes("bytes");
    assert_length(case);
    for version in case.versions() {
        let outcome = Transmission::parse(&bytes, version);
        let correlation_id = match &outcome {
            Ok(transmission) => transmission.correlation_id,
            Err(malformed) => malformed.correlation_id,
        };
        case.assert_eq(correlation_id, &case.bytes("corr"));
        let Some(transmission) = case.expect_format(outcome) else { continue };
        case.assert_eq(
            transmission.authenticator.as_bytes(),
            &case.maybe_bytes("authenticator").unwrap_or_default(),
        );
        case.assert_eq(transmission.service_signature.map(Vec::from), case.maybe_bytes("service_signature"));
        case.assert_eq(transmission.entity_id, &case.bytes("entity"));
        case.assert_eq(transmission.command, &case.bytes("command"));
        let mut ours = Vec::new();
        transmission.encode_into(version, &mut ours);
        case.assert_eq(&ours, &bytes);
    }
}

pub(crate) fn batch(case: &Case) {
    let content = case.bytes("content");
    let Some(batch) = case.expect_format(Batch::parse(&content)) else { return };
    let expected: Vec<_> = case.all("transmission").map(bytes).collect();
    case.assert_eq(batch.len(), expected.len());
    case.assert_eq(batch.map(Vec::from).collect::<Vec<_>>(), expected.clone());
    let mut writer = BlockWriter::new(PLAIN_CONTENT_BYTES_MAX);
    for transmission in expected {
        case.assert_eq(writer.push(|out| out.extend(transmission)), Ok(None));
    }
    case.assert_eq(writer.take(), Some(content));
}

pub(crate) fn command(case: &Case) {
    let bytes = case.bytes("bytes");
    for version in case.versions() {
        let outcome = Command::parse(&bytes, version);
        let Some(command) = case.expect(outcome.map_err(|error| wire_text(&error.into()))) else { continue };
        assert!(bytes.starts_with(command.tag().as_bytes()), "{}", case.name);
        if let (Command::Send { body, .. }, Some(expected)) = (&command, case.maybe_bytes("body")) {
            case.assert_eq(&body[..], &expected);
        }
        assert_written(case, command.encode(version));
        case.assert_eq(command.clone().into_owned(), command);
    }
}

pub(crate) fn credentials(case: &Case) {
    let bytes = case.bytes("bytes");
    let command = Command::parse(&bytes, 18).unwrap();
    for (field, authenticator, entity) in [
        ("none", false, false),
        ("authenticator", true, false),
        ("entity", false, true),
        ("both", true, true),
    ] {
        let outcome = command.check_credentials(authenticator, entity);
        let text = outcome.map_or_else(|error| wire_text(&error.into()), |()| "ok".to_owned());
        assert_eq!(text, case.text(field), "{}: {field}", case.name);
    }
}

pub(crate) fn message(case: &Case) {
    let bytes = case.bytes("bytes");
    for version in case.versions() {
        let Some(message) = case.expect_format(BrokerMessage::parse(&bytes, version)) else { continue };
        assert!(bytes.starts_with(message.tag().as_bytes()), "{}", case.name);
        assert_written(case, message.encode(version));
        case.assert_eq(message.clone().into_owned(), message.clone());
        // smp.md §5.4, the check of clients.
        let (without, with) = match message.tag() {
            "IDS" | "ERR" => (Ok(()), Ok(())),
            "PONG" | "PKEY" | "RRES" => (Ok(()), Err(CommandError::HasAuth)),
            _ => (Err(CommandError::NoEntity), Ok(())),
        };
        case.assert_eq((message.check_entity(false), message.check_entity(true)), (without, with));
    }
}

pub(crate) fn error(case: &Case) {
    let bytes = case.bytes("bytes");
    for version in case.versions() {
        let Some(error) = case.expect_format(ErrorType::parse(&bytes)) else { continue };
        let mut ours = Vec::new();
        error.encode(version, &mut ours);
        assert_written(case, ours);
    }
}

pub(crate) fn client_hello(case: &Case) {
    assert_length(case);
    let Some(hello) = case.expect_format(ClientHello::parse(&case.bytes("bytes"))) else { return };
    case.assert_eq(hello.version, case.number("version"));
    case.assert_eq(hello.session_key.is_some(), case.text("session_key") == "yes");
    case.assert_eq(hello.is_proxy, case.text("proxy") == "yes");
    assert_written(case, hello.to_bytes());
}

pub(crate) fn server_hello(case: &Case) {
    let Some(hello) = case.expect_format(ServerHello::parse(&case.bytes("bytes"))) else { return };
    case.assert_eq(hello.versions.to_string(), case.text("versions").to_owned());
    case.assert_eq(hello.certified_key.is_some(), case.text("certified_key") == "yes");
    assert_written(case, hello.to_bytes());
}

pub(crate) fn service_response(case: &Case) {
    if let Some(response) = case.expect_format(ServiceResponse::parse(&case.bytes("bytes"))) {
        assert_written(case, response.to_bytes());
    }
}

pub(crate) fn envelope(case: &Case) {
    assert_length(case);
    let bytes = case.bytes("bytes");
    let Some(sent) = case.expect_format(SentBody::parse(&bytes)) else { return };
    case.assert_eq(sent.sender_key.is_some(), case.text("sender_key") == "yes");
    assert_written(case, sent.to_bytes());
}
