//! Reading what a short link leads to (smp.md §15.2, agent.md §3.7).

use thiserror::Error;

use super::Network;
use crate::agent::request::Request;
use crate::agent::signed_link_data::{OpenLinkError, OpenedLink};
use crate::net::error::CallError;
use crate::smp::command::Command;
use crate::smp::error::ErrorType;
use crate::smp::known_servers::known_servers;
use crate::smp::response::BrokerMessage;
use crate::smp::short_link::ShortLink;

/// Why a link cannot be read.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ReadLinkError {
    /// A one-time link: reading it takes it.
    #[error("this is a one-time link, not an address")]
    OneTime,
    /// The link names no identity of its server, and the server is none of the known ones.
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

/// The command that reads the data of a contact link. Of a shortened link the server is looked up among
/// [`known_servers`].
///
/// # Errors
/// [`ReadLinkError::OneTime`], [`ReadLinkError::Shortened`].
pub fn link_request(link: &ShortLink) -> Result<Request, ReadLinkError> {
    if matches!(link, ShortLink::Invitation { .. }) {
        return Err(ReadLinkError::OneTime);
    }
    let link = full(link);
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
            Ok(OpenedLink::open(&full(link), &sender_id, &data.fixed, &data.user)?)
        }
        Ok(_) => Err(CallError::UnexpectedAnswer.into()),
        Err(CallError::Refused(ErrorType::Auth)) => Err(ReadLinkError::NotFound),
        Err(error) => Err(error.into()),
    }
}

fn full(link: &ShortLink) -> ShortLink {
    link.clone().completed(known_servers())
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";

    fn server_of(text: &str) -> Result<String, ReadLinkError> {
        link_request(&text.parse().unwrap()).map(|request| request.server.to_string())
    }

    /// The network's apps write links on well-known servers so: a relay's address, its link for one group, a channel.
    #[test]
    fn shortened_links_are_read_from_known_servers() {
        let full = "smp://hpq7_4gGJiilmz5Rf-CswuU5kZGkm_zOIooSw6yALRg=@smp5.simplex.im,jjbyvoemxysm7qxap7m5d5m35jzv5qq6gnlv7s4rsn7tdwwmuqciwpid.onion";
        for letter in ['r', 'g', 'c'] {
            assert_eq!(server_of(&format!("https://smp5.simplex.im/{letter}#{KEY}")).unwrap(), full);
        }
    }

    #[test]
    fn a_link_that_says_more_is_read_where_it_says() {
        let link =
            format!("https://smp5.simplex.im/c#{KEY}?p=5223&c=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY");
        let server = server_of(&link).unwrap();
        assert_eq!(server, "smp://MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=@smp5.simplex.im:5223");
    }

    #[test]
    fn a_shortened_link_to_an_unknown_server_is_refused() {
        let refused = server_of(&format!("https://smp.example.org/c#{KEY}"));
        assert!(matches!(refused, Err(ReadLinkError::Shortened)), "{refused:?}");
    }
}
