//! Reading what a short link leads to (smp.md §15.2, agent.md §3.7).

use thiserror::Error;

use super::Network;
use crate::agent::request::Request;
use crate::agent::signed_link_data::{OpenLinkError, OpenedLink};
use crate::net::error::CallError;
use crate::smp::command::Command;
use crate::smp::error::ErrorType;
use crate::smp::response::BrokerMessage;
use crate::smp::short_link::ShortLink;

/// Why a link cannot be read.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ReadLinkError {
    /// A one-time link: reading it takes it.
    #[error("this is a one-time link, not an address")]
    OneTime,
    /// The link names no port and identity of its server.
    #[error("the link does not say how to recognise its server: ask for the full link")]
    Shortened,
    /// The server does not know the link: it was deleted, or is mistyped.
    #[error("the server does not know this link: it was deleted, or is not complete")]
    NotFound,
    /// No answer from the server.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The data do not belong to the link.
    #[error(transparent)]
    Data(#[from] OpenLinkError),
}

/// The command that reads the data of a contact link.
///
/// # Errors
/// [`ReadLinkError::OneTime`], [`ReadLinkError::Shortened`].
pub fn link_request(link: &ShortLink) -> Result<Request, ReadLinkError> {
    if matches!(link, ShortLink::Invitation { .. }) {
        return Err(ReadLinkError::OneTime);
    }
    if link.is_shortened() {
        return Err(ReadLinkError::Shortened);
    }
    Ok(Request {
        server: link.server().clone(),
        correlation_id: None,
        entity: link.link_id().0.to_vec(),
        key: None,
        command: Command::Lget,
    })
}

/// What its answer says, checked against the link.
///
/// # Errors
/// [`ReadLinkError`].
pub fn link_answer(
    link: &ShortLink,
    answer: Result<BrokerMessage<'_>, CallError>,
) -> Result<OpenedLink, ReadLinkError> {
    match answer {
        Ok(BrokerMessage::Lnk { sender_id, data }) => {
            Ok(OpenedLink::open(link, &sender_id, &data.fixed, &data.user)?)
        }
        Ok(_) => Err(CallError::UnexpectedAnswer.into()),
        Err(CallError::Refused(ErrorType::Auth)) => Err(ReadLinkError::NotFound),
        Err(error) => Err(error.into()),
    }
}

impl Network {
    /// Reads the data of a contact link and checks all of it against the link.
    ///
    /// # Errors
    /// [`ReadLinkError`].
    pub async fn read_link(&self, link: &ShortLink) -> Result<OpenedLink, ReadLinkError> {
        let request = link_request(link)?;
        link_answer(link, self.call(request).await)
    }
}
