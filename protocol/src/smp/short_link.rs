//! Short links: where a link's data is, and the key to it (smp.md §16.3, agent.md §3.5).
//!
//! ```text
//! text   https://HOST/i#LINKID/LINKKEY[?params]      one-time invitation
//!        https://HOST/a#LINKKEY[?params]             contact address; c channel, g group, r relay
//!        simplex:/a#LINKKEY?params                   all hosts are in h
//! params h = hosts   p = port   c = key hash         each only if it says something; base64url unpadded
//! bytes  "I" server short(link id) short(link key)
//!        "C" ("A" / "C" / "G" / "R") server short(link key)
//! ```
//!
//! A group link is written with the letter `c`, by older software with `g`; relay addresses have `r`, and the
//! links that relays make for groups `g`. The letter is a hint for people and programs: it is not authenticated.

use std::str::FromStr;

use super::address::{KeyHash, ServerAddress, host_list, parse_host_list, parse_port};
use super::host::Host;
use super::ids::LinkId;
use super::link_key::LinkKey;
use super::query_string::{QueryString, escape};
use crate::base64url;
use crate::encoding::{Decode, DecodeError, Encode, Reader};

/// What a contact link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkType {
    /// `a`: a contact address.
    Contact,
    /// `c`: a channel, that is a group with relays.
    Channel,
    /// `g`: a group; also the link of one relay for one group.
    Group,
    /// `r`: the address of a relay.
    Relay,
}

impl LinkType {
    /// The letter in texts.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Contact => 'a',
            Self::Channel => 'c',
            Self::Group => 'g',
            Self::Relay => 'r',
        }
    }

    fn from_letter(letter: char) -> Option<Self> {
        match letter.to_ascii_lowercase() {
            'a' => Some(Self::Contact),
            'c' => Some(Self::Channel),
            'g' => Some(Self::Group),
            'r' => Some(Self::Relay),
            _ => None,
        }
    }
}

/// The letter in capitals.
impl Encode for LinkType {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Contact => b'A',
            Self::Channel => b'C',
            Self::Group => b'G',
            Self::Relay => b'R',
        });
    }
}

impl Decode for LinkType {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'A' => Ok(Self::Contact),
            b'C' => Ok(Self::Channel),
            b'G' => Ok(Self::Group),
            b'R' => Ok(Self::Relay),
            _ => Err(DecodeError::Invalid("link type")),
        }
    }
}

/// A short link. It is a secret: who has it can read the data, and for an invitation use it up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShortLink {
    /// For one connection.
    Invitation {
        /// Where the data is.
        server: ServerAddress,
        /// The queue's link data, as the server named it.
        link_id: LinkId,
        /// The key to it.
        link_key: LinkKey,
    },
    /// For anybody.
    Contact {
        /// What it is for.
        link_type: LinkType,
        /// Where the data is.
        server: ServerAddress,
        /// The key to it; the link id follows from it.
        link_key: LinkKey,
    },
}

impl ShortLink {
    /// Where the data is.
    #[must_use]
    pub fn server(&self) -> &ServerAddress {
        match self {
            Self::Invitation { server, .. } | Self::Contact { server, .. } => server,
        }
    }

    /// The key to the data.
    #[must_use]
    pub fn link_key(&self) -> &LinkKey {
        match self {
            Self::Invitation { link_key, .. } | Self::Contact { link_key, .. } => link_key,
        }
    }

    /// The id to ask the server for.
    #[must_use]
    pub fn link_id(&self) -> LinkId {
        match self {
            Self::Invitation { link_id, .. } => *link_id,
            Self::Contact { link_key, .. } => link_key.contact().0,
        }
    }

    /// Whether the link only names a well-known server, which must be looked up before anything connects to it.
    #[must_use]
    pub fn is_shortened(&self) -> bool {
        let server = self.server();
        server.hosts().len() == 1 && server.port().is_none() && server.key_hash().as_bytes().is_empty()
    }

    /// The full link: a shortened one gets the address of the known server with the same first host. Unchanged
    /// when it is full already, or no such server is known.
    #[must_use]
    pub fn completed(mut self, known: &[ServerAddress]) -> Self {
        if self.is_shortened() {
            let found = known.iter().find(|known| known.first_host() == self.server().first_host());
            if let Some(known) = found {
                *self.server_mut() = known.clone();
            }
        }
        self
    }

    /// The form with the app's own scheme, which browsers do not open: all hosts stand in a parameter.
    #[must_use]
    pub fn to_simplex_uri(&self) -> String {
        self.to_text("simplex:", self.server().hosts())
    }

    fn server_mut(&mut self) -> &mut ServerAddress {
        match self {
            Self::Invitation { server, .. } | Self::Contact { server, .. } => server,
        }
    }

    fn to_text(&self, start: &str, hosts: &[Host]) -> String {
        let key = base64url::encode_unpadded(self.link_key().as_bytes());
        let mut text = match self {
            Self::Invitation { link_id, .. } => {
                format!("{start}/i#{}/{key}", base64url::encode_unpadded(link_id.as_bytes()))
            }
            Self::Contact { link_type, .. } => format!("{start}/{}#{key}", link_type.letter()),
        };
        let server = self.server();
        let key_hash = server.key_hash().as_bytes();
        let parameters = [
            (!hosts.is_empty()).then(|| format!("h={}", escape(&host_list(hosts)))),
            server.port().map(|port| format!("p={port}")),
            (!key_hash.is_empty()).then(|| format!("c={}", base64url::encode_unpadded(key_hash))),
        ];
        for (separator, parameter) in
            std::iter::once('?').chain(std::iter::repeat('&')).zip(parameters.into_iter().flatten())
        {
            text.push(separator);
            text.push_str(&parameter);
        }
        text
    }
}

/// The `https` form, with the first host as the web server.
impl std::fmt::Display for ShortLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, others) = self.server().split_hosts(1);
        f.write_str(&self.to_text(&format!("https://{}", first.first_host().to_uri()), others))
    }
}

impl FromStr for ShortLink {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid(
            "short link: expected https://HOST/LETTER#KEY or simplex:/LETTER#KEY?h=HOST",
        );
        let (place, fragment) = text.split_once('#').ok_or(invalid)?;
        let (host, letter) = match (place.strip_prefix("https://"), place.strip_prefix("simplex:/")) {
            (Some(rest), _) => {
                rest.split_once('/').map(|(host, letter)| (Some(host), letter)).ok_or(invalid)?
            }
            (None, Some(letter)) => (None, letter),
            (None, None) => return Err(invalid),
        };
        let letter = letter.strip_suffix('/').unwrap_or(letter);
        let (secret, query) = fragment.split_once('?').unwrap_or((fragment, ""));
        let server = read_server(host, QueryString(query))?;
        let read_key = |text: &str| LinkKey::try_from(base64url::decode(text)?.as_slice());
        if letter == "i" {
            let (link_id, link_key) = secret.split_once('/').ok_or(invalid)?;
            let link_id = LinkId::try_from(base64url::decode(link_id)?.as_slice())?;
            return Ok(Self::Invitation { server, link_id, link_key: read_key(link_key)? });
        }
        let mut letters = letter.chars();
        match (letters.next().and_then(LinkType::from_letter), letters.next()) {
            (Some(link_type), None) => Ok(Self::Contact { link_type, server, link_key: read_key(secret)? }),
            _ => Err(DecodeError::Invalid(
                "short link: its letter is none of i, a, c, g, r; update to open it",
            )),
        }
    }
}

fn read_server(host: Option<&str>, query: QueryString<'_>) -> Result<ServerAddress, DecodeError> {
    let mut hosts: Vec<Host> = host.map(str::parse).into_iter().collect::<Result<_, _>>()?;
    if let Some(others) = query.value("h")?.filter(|others| !others.is_empty()) {
        hosts.extend(parse_host_list(&others)?);
    }
    if hosts.is_empty() {
        return Err(DecodeError::Invalid("short link: it names no host (h=)"));
    }
    let port = query.value("p")?.filter(|port| !port.is_empty());
    let key_hash = match query.value("c")?.filter(|key_hash| !key_hash.is_empty()) {
        Some(key_hash) => KeyHash::try_from(base64url::decode(&key_hash)?.as_slice())?,
        None => KeyHash::absent(),
    };
    ServerAddress::new(hosts, port.map(|port| parse_port(&port)).transpose()?, key_hash)
}

impl Encode for ShortLink {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Invitation { server, link_id, link_key } => {
                out.push(b'I');
                server.encode(out);
                link_id.encode(out);
                link_key.encode(out);
            }
            Self::Contact { link_type, server, link_key } => {
                out.push(b'C');
                link_type.encode(out);
                server.encode(out);
                link_key.encode(out);
            }
        }
    }
}

impl Decode for ShortLink {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'I' => Ok(Self::Invitation {
                server: Decode::decode(reader)?,
                link_id: Decode::decode(reader)?,
                link_key: Decode::decode(reader)?,
            }),
            b'C' => Ok(Self::Contact {
                link_type: Decode::decode(reader)?,
                server: Decode::decode(reader)?,
                link_key: Decode::decode(reader)?,
            }),
            _ => Err(DecodeError::Invalid("short link")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
    const ID: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
    const PARAMETERS: &str =
        "?h=jjbyvoemxysm7qxap7m5d5m35jzv5qq6gnlv7s4rsn7tdwwmuqciwpid.onion&p=5223&c=1234-w";

    /// smp.md §21.
    #[test]
    fn sample_texts_round_trip() {
        for text in [
            format!("https://smp.simplex.im/a#{KEY}{PARAMETERS}"),
            format!("https://smp.simplex.im/c#{KEY}{PARAMETERS}"),
            format!("https://smp.simplex.im/g#{KEY}?p=5223"),
            format!("https://smp.simplex.im/r#{KEY}"),
            format!("https://smp.simplex.im/i#{ID}/{KEY}{PARAMETERS}"),
            format!("https://[::1]/a#{KEY}?h=10.0.0.1%2C%5B%3A%3A2%5D"),
        ] {
            let link: ShortLink = text.parse().expect(&text);
            assert_eq!(link.to_string(), text);
            assert_eq!(link.link_key().as_bytes(), b"0123456789abcdef0123456789abcdef");
            assert_eq!(link.to_simplex_uri().parse(), Ok(link.clone()));
            assert_eq!(ShortLink::from_bytes(&link.to_bytes()), Ok(link));
        }
        let text = format!("simplex:/i#{ID}/{KEY}?h=smp.simplex.im");
        assert_eq!(text.parse::<ShortLink>().unwrap().to_simplex_uri(), text);
    }

    #[test]
    fn freer_texts_are_read() {
        let link: ShortLink = format!("https://a.example/a#{KEY}?p=1&c=1234-w").parse().unwrap();
        for text in [
            format!("https://a.example/A#{KEY}?p=1&c=1234-w"),
            format!("https://a.example/a/#{KEY}=?c=1234-w==;x=y;p=1;p=2"),
            format!("simplex:/a#{KEY}?c=1234-w&p=1&h=a.example"),
            format!("simplex:/A/#{KEY}?c=1234-w&p=1&h=a.example"),
            format!("https://a.example/a#{KEY}?h=&p=1&c=1234-w"),
        ] {
            assert_eq!(text.parse(), Ok(link.clone()), "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in [
            String::new(),
            format!("https://a.example/a{KEY}"),
            format!("http://a.example/a#{KEY}"),
            format!("https://a.example:443/a#{KEY}"),
            format!("https://a.example/x#{KEY}"),
            format!("https://a.example/ac#{KEY}"),
            format!("https://a.example/#{KEY}"),
            format!("https://a.example/I#{ID}/{KEY}"),
            format!("https://a.example/i#{KEY}"),
            format!("https://a.example/i#{KEY}/{ID}"),
            format!("https://a.example/a#{ID}"),
            format!("https://a.example/a#{ID}/{KEY}"),
            format!("https://a.example/a#{KEY}?p=x"),
            format!("simplex:/a#{KEY}"),
            format!("simplex:a#{KEY}?h=a.example"),
        ] {
            assert!(text.parse::<ShortLink>().is_err(), "{text}");
        }
        assert!(ShortLink::from_bytes(b"CX").is_err());
    }

    #[test]
    fn a_shortened_link_is_completed_from_known_servers() {
        let link: ShortLink = format!("https://a.example/c#{KEY}").parse().unwrap();
        assert!(link.is_shortened());
        let known: ServerAddress = "smp://1234-w@a.example,b.onion:443".parse().unwrap();
        let other: ServerAddress = "smp://1234-w@b.example".parse().unwrap();
        assert_eq!(link.clone().completed(std::slice::from_ref(&other)), link);
        let completed = link.completed(&[other.clone(), known.clone()]);
        assert_eq!(completed.server(), &known);
        assert_eq!(completed.clone().completed(&[other]), completed, "a full link stays");
    }

    /// The letter is not authenticated: the same data is behind every letter.
    #[test]
    fn the_letter_does_not_enter_the_keys() {
        let id = |letter| format!("https://a.example/{letter}#{KEY}").parse::<ShortLink>().unwrap().link_id();
        assert!(['c', 'g', 'r'].into_iter().all(|letter| id(letter) == id('a')));
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let link: ShortLink = format!("https://a.example/a#{KEY}").parse().unwrap();
        assert!(!format!("{link:?}").contains(KEY));
    }
}
