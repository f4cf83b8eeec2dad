//! Connection requests: what a long link says, and the fixed data of a short one (smp.md §15.1 and §16.2,
//! agent.md §3.4).
//!
//! ```text
//! bytes  "I" data offer  /  "C" data
//!        data = range(4) list1 queue-uri maybe large(client data)
//! text   SCHEME "/invitation#/?v=" range "&smp=" queues "&e2e=" offer ["&data=" text]
//!        SCHEME "/contact#/?v="    range "&smp=" queues               ["&data=" text]
//!        SCHEME = "simplex:" / "https://" host         queues are joined by ";" and escaped once more
//! ```

use std::str::FromStr;

use crate::crypto::ratchet::parameters::RatchetOffer;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large, put_list, put_maybe};
use crate::smp::address::ServerAddress;
use crate::smp::query_string::{QueryString, escape};
use crate::smp::queue_uri::{QueueMode, QueueUri};
use crate::version::VersionRange;

/// The agent versions that we write in links: as the reference does, so that ours look the same.
pub const AGENT_VERSIONS: VersionRange = match VersionRange::new(2, 7) {
    Some(range) => range,
    None => panic!("the range is not empty"),
};

/// Longest client data in bytes: it is sent as a large string.
const CLIENT_DATA_BYTES_MAX: usize = 65_535;
/// Most queues: the list's count is one byte.
const QUEUES_MAX: usize = 255;
/// The lowest agent version that a contact link may name; older ones are lifted to it.
const CONTACT_VERSION_MIN: u16 = 2;

/// What both kinds of requests hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestData {
    versions: VersionRange,
    queues: Vec<QueueUri>,
    client_data: Option<String>,
}

impl RequestData {
    /// A request as we write it: for one queue.
    ///
    /// # Errors
    /// When the client data is longer than 65,535 bytes.
    pub fn new(queue: QueueUri, client_data: Option<String>) -> Result<Self, DecodeError> {
        Self::of_parts(AGENT_VERSIONS, vec![queue], client_data)
    }

    fn of_parts(
        versions: VersionRange,
        queues: Vec<QueueUri>,
        client_data: Option<String>,
    ) -> Result<Self, DecodeError> {
        if queues.is_empty() || queues.len() > QUEUES_MAX {
            return Err(DecodeError::Invalid("connection request: list of queues"));
        }
        if client_data.as_ref().is_some_and(|data| data.len() > CLIENT_DATA_BYTES_MAX) {
            return Err(DecodeError::Invalid("connection request: the client data is too long"));
        }
        Ok(Self { versions, queues, client_data })
    }

    /// The agent versions of who made it.
    #[must_use]
    pub fn versions(&self) -> VersionRange {
        self.versions
    }

    /// The queue to use. Others may be listed, but nobody uses them.
    ///
    /// # Panics
    /// Never: a request is made with a queue.
    #[must_use]
    pub fn queue(&self) -> &QueueUri {
        self.queues.first().expect("a request is made with a queue")
    }

    /// What the application put into the request, such as the id of a group.
    #[must_use]
    pub fn client_data(&self) -> Option<&str> {
        self.client_data.as_deref()
    }

    /// The same request with another address of the server of its queue.
    pub(crate) fn set_server(&mut self, server: ServerAddress) {
        if let Some(queue) = self.queues.first_mut() {
            queue.address.server = server;
        }
    }

    fn decode_contact(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut data = Self::decode(reader)?;
        data.lift_versions();
        Ok(data)
    }

    fn lift_versions(&mut self) {
        let min = self.versions.min().max(CONTACT_VERSION_MIN);
        self.versions = VersionRange::new(min, self.versions.max()).unwrap_or(VersionRange::single(min));
    }

    fn write_parameters(
        &self,
        f: &mut std::fmt::Formatter<'_>,
        offer: Option<&RatchetOffer>,
    ) -> std::fmt::Result {
        let queues: Vec<String> = self.queues.iter().map(QueueUri::to_string).collect();
        write!(f, "#/?v={}&smp={}", self.versions, escape(&queues.join(";")))?;
        if let Some(offer) = offer {
            write!(f, "&e2e={}", escape(&offer.to_string()))?;
        }
        match &self.client_data {
            Some(data) => write!(f, "&data={}", escape(data)),
            None => Ok(()),
        }
    }

    fn from_query(query: QueryString<'_>) -> Result<Self, DecodeError> {
        let versions = query.required("v", "link: the versions (v=) are missing")?.parse()?;
        let queues = query.required("smp", "link: the queue (smp=) is missing")?;
        let queues = queues.split(';').map(str::parse).collect::<Result<_, _>>()?;
        Self::of_parts(versions, queues, query.value("data")?)
    }
}

impl Encode for RequestData {
    fn encode(&self, out: &mut Vec<u8>) {
        self.versions.encode(out);
        put_list(out, &self.queues, |out, queue| queue.encode(out));
        put_maybe(out, self.client_data.as_ref(), |out, data| put_large(out, data.as_bytes()));
    }
}

impl Decode for RequestData {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let versions = VersionRange::decode(reader)?;
        let queues = reader.non_empty_list(|reader| {
            let mut queue = QueueUri::decode(reader)?;
            // The mode of a contact queue is not written while versions below 3 are offered.
            queue.address.mode.get_or_insert(QueueMode::Contact);
            Ok(queue)
        })?;
        let client_data = reader.maybe(|reader| {
            let text =
                std::str::from_utf8(reader.large()?).map_err(|_| DecodeError::Invalid("client data"))?;
            Ok(text.to_owned())
        })?;
        Self::of_parts(versions, queues, client_data)
    }
}

/// How to reach somebody for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionRequest {
    /// For one connection: whoever uses it becomes the peer.
    Invitation {
        /// The queue and the versions.
        data: RequestData,
        /// The keys to start a ratchet with.
        offer: RatchetOffer,
    },
    /// For requests from anybody.
    Contact(RequestData),
}

impl ConnectionRequest {
    /// The queue and the versions.
    #[must_use]
    pub fn data(&self) -> &RequestData {
        match self {
            Self::Invitation { data, .. } | Self::Contact(data) => data,
        }
    }

    pub(crate) fn data_mut(&mut self) -> &mut RequestData {
        match self {
            Self::Invitation { data, .. } | Self::Contact(data) => data,
        }
    }
}

impl Encode for ConnectionRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Invitation { data, offer } => {
                out.push(b'I');
                data.encode(out);
                offer.encode(out);
            }
            Self::Contact(data) => {
                out.push(b'C');
                data.encode(out);
            }
        }
    }
}

impl Decode for ConnectionRequest {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'I' => Ok(Self::Invitation {
                data: RequestData::decode(reader)?,
                offer: RatchetOffer::decode(reader)?,
            }),
            b'C' => RequestData::decode_contact(reader).map(Self::Contact),
            _ => Err(DecodeError::Invalid("connection request")),
        }
    }
}

/// The long link with the app's own scheme.
impl std::fmt::Display for ConnectionRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invitation { data, offer } => {
                f.write_str("simplex:/invitation")?;
                data.write_parameters(f, Some(offer))
            }
            Self::Contact(data) => {
                f.write_str("simplex:/contact")?;
                data.write_parameters(f, None)
            }
        }
    }
}

impl FromStr for ConnectionRequest {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid("link: expected simplex:/contact#/?… or simplex:/invitation#/?…");
        let (place, fragment) = text.split_once('#').ok_or(invalid)?;
        let kind = match (place.strip_prefix("simplex:/"), place.strip_prefix("https://")) {
            (Some(kind), _) => kind,
            (None, Some(rest)) => rest.split_once('/').filter(|(host, _)| !host.is_empty()).ok_or(invalid)?.1,
            (None, None) => return Err(invalid),
        };
        let query =
            QueryString(fragment.strip_prefix("/?").or_else(|| fragment.strip_prefix('?')).ok_or(invalid)?);
        match kind.strip_suffix('/').unwrap_or(kind) {
            "invitation" => {
                let data = RequestData::from_query(query)?;
                let offer = query.required("e2e", "link: the ratchet keys (e2e=) are missing")?.parse()?;
                Ok(Self::Invitation { data, offer })
            }
            "contact" => {
                let mut data = RequestData::from_query(query)?;
                data.lift_versions();
                Ok(Self::Contact(data))
            }
            _ => Err(invalid),
        }
    }
}
