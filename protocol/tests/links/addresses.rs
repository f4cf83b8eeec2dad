//! Addresses and links in bytes and text: agent.md A.8.

use protocol::agent::connection_request::{AGENT_VERSIONS, ConnectionRequest, RequestData};
use protocol::encoding::{Decode, Encode};
use protocol::smp::address::ServerAddress;
use protocol::smp::ids::LinkId;
use protocol::smp::link_key::LinkKey;
use protocol::smp::queue_uri::{CLIENT_VERSIONS, QueueAddress, QueueMode, QueueUri};
use protocol::smp::short_link::{LinkType, ShortLink};
use protocol::version::VersionRange;

use crate::vectors::{LINKS, label, offer, queue, server, server_with_two_hosts};

fn uri(min: u16, server: ServerAddress, mode: QueueMode) -> QueueUri {
    QueueUri { versions: VersionRange::new(min, 4).unwrap(), address: queue(server, Some(mode)) }
}

#[test]
fn queue_uris() {
    use QueueMode::{Contact, Messaging};
    let texts = [
        ("queue uri 1-4 M", uri(1, server(), Messaging)),
        ("queue uri 2-4 C (2 hosts)", uri(2, server_with_two_hosts(), Contact)),
        ("queue uri 4 M", uri(4, server_with_two_hosts(), Messaging)),
    ];
    for (name, uri) in texts {
        assert_eq!(uri.to_string(), LINKS.text(name));
        assert_eq!(LINKS.text(name).parse(), Ok(uri), "{name}");
    }
    let bytes = [
        ("queue uri 1-4 M smp", uri(1, server(), Messaging)),
        ("queue uri 1-4 C smp", uri(1, server(), Contact)),
        ("queue uri 2-4 M smp (2 hosts)", uri(2, server_with_two_hosts(), Messaging)),
        ("queue uri 4 C smp", uri(4, server_with_two_hosts(), Contact)),
    ];
    for (name, mut uri) in bytes {
        assert_eq!(uri.to_bytes(), LINKS.bytes(name), "{name}");
        if name == "queue uri 1-4 C smp" {
            uri.address.mode = None; // not written while a version below 3 is offered
        }
        assert_eq!(QueueUri::from_bytes(&LINKS.bytes(name)), Ok(uri), "{name}");
    }
}

fn request(mode: QueueMode, client_data: Option<&str>) -> RequestData {
    let queue = QueueUri::new(queue(server(), Some(mode)));
    RequestData::new(queue, client_data.map(str::to_owned)).unwrap()
}

#[test]
fn connection_requests() {
    let invitation =
        ConnectionRequest::Invitation { data: request(QueueMode::Messaging, None), offer: offer() };
    let contact = ConnectionRequest::Contact(request(QueueMode::Contact, None));
    let data: ConnectionRequest = LINKS.text("contact uri with data").parse().unwrap();
    let data = data.data().client_data().expect("the vector has client data").to_owned();
    let with_data = ConnectionRequest::Contact(request(QueueMode::Contact, Some(&data)));
    for (name, request) in [("invitation", invitation), ("contact", contact)] {
        assert_request(&format!("{name} uri"), &format!("{name} smp"), &request);
    }
    assert_request("contact uri with data", "contact smp with data", &with_data);
}

fn assert_request(text: &str, bytes: &str, request: &ConnectionRequest) {
    assert_eq!(request.to_string(), LINKS.text(text));
    assert_eq!(LINKS.text(text).parse().as_ref(), Ok(request), "{text}");
    assert_eq!(request.to_bytes(), LINKS.bytes(bytes), "{bytes}");
    assert_eq!(ConnectionRequest::from_bytes(&LINKS.bytes(bytes)).as_ref(), Ok(request), "{bytes}");
}

/// Trap: identifiers and keys are escaped twice.
#[test]
fn queues_in_long_links_are_escaped_twice() {
    assert!(LINKS.text("contact uri").contains("%253D%26q%3Dc"));
}

#[test]
fn long_links_of_any_host_are_one_request() {
    let link = LINKS.text("invitation uri");
    let request: ConnectionRequest = link.parse().unwrap();
    let rest = link.strip_prefix("simplex:/invitation#").unwrap();
    for other in [
        format!("https://simplex.chat/invitation#{rest}"),
        format!("https://simplex.chat:8443/invitation/#{rest}"),
        format!("simplex:/invitation/#{rest}"),
        format!("simplex:/invitation#{}", rest.replace('&', ";")),
        format!("simplex:/invitation#/?x=y&{}&v=9&unknown", &rest[2..]),
    ] {
        let parsed: ConnectionRequest = other.parse().expect(&other);
        assert_eq!(parsed.to_string(), request.to_string(), "{other}");
    }
}

#[test]
fn bad_long_links_are_refused() {
    let contact = LINKS.text("contact uri");
    for link in [
        "",
        "simplex:/contact",
        "simplex:/contact#/?v=2-7",
        "http://simplex.chat/contact#/?v=2-7",
        &contact.replace("contact", "contacts"),
        &contact.replace("contact#", "invitation#"), // no ratchet keys
        &contact.replace("v=2-7", "v=7-2"),
        &contact.replace("v=2-7&", ""),
        &contact.replace("v%23%2F", "v%2F"),
        &contact.replace("simplex:/", "https:///"),
        &contact.replace("simplex:/", ""),
    ] {
        assert_ne!(link, contact);
        assert!(link.parse::<ConnectionRequest>().is_err(), "{link}");
    }
}

#[test]
fn contact_links_of_the_first_version_are_lifted() {
    let contact = LINKS.text("contact uri");
    for (written, read) in [("1", "2"), ("1-7", "2-7"), ("1-2", "2"), ("3-9", "3-9")] {
        let link = contact.replace("v=2-7", &format!("v={written}"));
        let request: ConnectionRequest = link.parse().unwrap();
        assert_eq!(request.data().versions().to_string(), read);
    }
    let invitation = LINKS.text("invitation uri").replace("v=2-7", "v=1");
    let request: ConnectionRequest = invitation.parse().unwrap();
    assert_eq!(request.data().versions(), VersionRange::single(1), "one-time links are not");
}

/// Trap: in bytes, an unknown mode of a request's queue means contact.
#[test]
fn an_unknown_mode_in_a_request_is_contact() {
    let address = QueueAddress { mode: None, ..queue(server(), None) };
    let request = RequestData::new(QueueUri { versions: CLIENT_VERSIONS, address }, None).unwrap();
    let read = RequestData::from_bytes(&request.to_bytes()).unwrap();
    assert_eq!(read.queue().address.mode, Some(QueueMode::Contact));
    assert_eq!(read.versions(), AGENT_VERSIONS);
}

#[test]
fn short_links() {
    let link_key = LinkKey::from(label("linkKey"));
    for (letter, link_type) in
        [("a", LinkType::Contact), ("c", LinkType::Channel), ("g", LinkType::Group), ("r", LinkType::Relay)]
    {
        let link =
            ShortLink::Contact { link_type, server: server_with_two_hosts(), link_key: link_key.clone() };
        assert_short_link(&format!("short {letter}"), &link);
        if link_type == LinkType::Contact {
            assert_eq!(link.to_simplex_uri(), LINKS.text("short a simplex:"));
            assert_eq!(LINKS.text("short a simplex:").parse(), Ok(link));
        }
    }
    let link_id = LinkId(label("linkId"));
    let link = ShortLink::Invitation { link_id, server: server_with_two_hosts(), link_key: link_key.clone() };
    assert_short_link("short i", &link);

    let shortened: ShortLink = LINKS.text("short a host only").parse().unwrap();
    assert!(shortened.is_shortened());
    assert_eq!(shortened.to_string(), LINKS.text("short a host only"));
    assert_eq!(shortened.completed(&[server_with_two_hosts()]).to_string(), LINKS.text("short a"));
}

fn assert_short_link(name: &str, link: &ShortLink) {
    assert_eq!(link.to_string(), LINKS.text(name));
    assert_eq!(LINKS.text(name).parse().as_ref(), Ok(link), "{name}");
    let bytes = LINKS.bytes(&format!("{name} smp"));
    assert_eq!(link.to_bytes(), bytes, "{name}");
    assert_eq!(ShortLink::from_bytes(&bytes).as_ref(), Ok(link), "{name}");
}
