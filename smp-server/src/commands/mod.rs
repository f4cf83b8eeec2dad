//! Commands that were authorised, executed: a file per command or pair of commands (smp.md §9.3).

mod acknowledge;
mod delete;
mod forwarded;
mod get;
mod link;
mod new;
mod notifier;
mod proxy;
mod secure;
mod send;
mod service;
mod status;
mod subscribe;
mod suspend;

use protocol::smp::command::{Command, Party};
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::{RecipientId, ServiceId};
use protocol::smp::proxy::forward::Forward;
use protocol::smp::response::{BrokerMessage, QueueIds};

use crate::authorize::{Accepted, storage_error};
use crate::connection::Client;
use crate::metrics;
use crate::store::{QueueRecord, StoreError};

/// What a command is answered with.
#[derive(Debug)]
pub struct Reply {
    /// The response.
    pub message: BrokerMessage<'static>,
    /// The queue whose first message follows: it was subscribed to.
    pub deliver: Option<RecipientId>,
    /// The service whose queues are gone through after it for messages that wait: it was subscribed to.
    pub backlog: Option<ServiceId>,
}

/// Why a command was not executed.
#[derive(Debug)]
pub enum CommandFailure {
    /// This is what the client is told.
    Refused(ErrorType),
    /// The store failed.
    Store(StoreError),
}

impl From<ErrorType> for CommandFailure {
    fn from(error: ErrorType) -> Self {
        Self::Refused(error)
    }
}

impl From<CommandError> for CommandFailure {
    fn from(error: CommandError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<StoreError> for CommandFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

type Outcome = Result<BrokerMessage<'static>, CommandFailure>;

/// Executes a command. When this returns, what it changed is durable.
pub async fn execute(client: &Client, accepted: Accepted) -> Reply {
    let tag = accepted.command.tag();
    let reply = reply(client, accepted).await;
    client.server.metrics.commands.ended(tag, metrics::Outcome::of(&reply.message));
    reply
}

async fn reply(client: &Client, accepted: Accepted) -> Reply {
    if let Command::Subs = &accepted.command {
        return service::subscribe(client).await.unwrap_or_else(failed);
    }
    if let Command::Nsubs = &accepted.command {
        return service::subscribe_notifications(client).await.unwrap_or_else(failed);
    }
    let deliver = match (&accepted.command, &accepted.queue) {
        (Command::Sub, Some(queue)) => Some(queue.recipient_id),
        _ => None,
    };
    let subscribes_as_new = matches!(&accepted.command, Command::New(new) if new.subscribe);
    match answer(client, accepted).await {
        // After the response: a message of a queue that is not known yet would be lost on the client.
        Ok(message @ BrokerMessage::Ids(QueueIds { recipient_id, .. })) if subscribes_as_new => {
            Reply { message, deliver: Some(recipient_id), backlog: None }
        }
        Ok(message) => Reply { message, deliver, backlog: None },
        Err(failure) => failed(failure),
    }
}

fn failed(failure: CommandFailure) -> Reply {
    let error = match failure {
        CommandFailure::Refused(error) => error,
        CommandFailure::Store(error) => storage_error(&error),
    };
    Reply { message: BrokerMessage::Err(error), deliver: None, backlog: None }
}

async fn answer(client: &Client, accepted: Accepted) -> Outcome {
    let Accepted { correlation_id, entity_id, version, command, queue } = accepted;
    let Some(queue) = queue else {
        return match command {
            Command::New(new) => new::create(client, &correlation_id, *new).await,
            Command::Ping => Ok(BrokerMessage::Pong),
            Command::Prxy { server, password } => proxy::connect(client, &server, password.as_ref()).await,
            Command::Pfwd { version, client_key, sealed } => {
                let forward = Forward { correlation_id: correlation_id.into(), version, client_key, sealed };
                proxy::forward(client, &entity_id, &forward).await
            }
            Command::Rfwd { sealed } => forwarded::execute_inside(client, &correlation_id, &sealed).await,
            _ => Err(CommandError::Prohibited.into()),
        };
    };
    if let Some(info) = queue.status.blocking()
        && !works_while_blocked(&command)
    {
        return Err(ErrorType::Blocked(info).into());
    }
    client.note_use(&command, &queue);
    match command {
        Command::Sub => subscribe::subscribe(client, &queue).await,
        Command::Key { sender_key } | Command::Skey { sender_key } => {
            secure::secure(client, &queue, sender_key).await
        }
        Command::Rkey { recipient_keys } => {
            secure::replace_recipient_keys(client, &queue, recipient_keys).await
        }
        Command::Send { notify, body } => send::send(client, &queue, version, notify, body).await,
        Command::Ack { message_id } => acknowledge::acknowledge(client, &queue, &message_id).await,
        Command::Get => get::get(client, &queue).await,
        Command::Off => suspend::suspend(client, &queue).await,
        Command::Del => delete::delete(client, &queue).await,
        Command::Que => status::details(client, &queue).await,
        Command::Lset { link_id, data } => link::set(client, &queue, &link_id, data).await,
        Command::Ldel => link::delete(client, &queue).await,
        Command::Lkey { sender_key } => link::secure_and_read(client, &queue, sender_key).await,
        Command::Lget => link::read(client, &queue).await,
        Command::Nkey(keys) => notifier::set(client, &queue, &keys).await,
        Command::Ndel => notifier::delete(client, &queue).await,
        Command::Nsub => match &queue.notifier {
            Some(notifier) => notifier::subscribe(client, &queue, notifier).await,
            None => Err(ErrorType::Auth.into()),
        },
        _ => Err(CommandError::Prohibited.into()),
    }
}

/// What a block does not refuse (smp.md §9.2). `SEND` is not refused here but by the store, after its length.
fn works_while_blocked(command: &Command<'_>) -> bool {
    matches!(command, Command::Off | Command::Del | Command::Nsub | Command::Send { .. })
}

impl Client {
    /// Notes the first use of a queue on a new day (smp.md §9.1). Nobody waits for it: should it be lost, the next
    /// command of the day notes it.
    fn note_use(&self, command: &Command<'_>, queue: &QueueRecord) {
        let counts = match command {
            Command::Off | Command::Del => false,
            command => matches!(command.party(), Party::Recipient | Party::Sender | Party::LinkClient),
        };
        let today = self.server.today();
        if counts && queue.used_on < today {
            let number = queue.number;
            self.server.store.write_unheard(queue, move |store| store.mark_used(&[number], today));
        }
    }
}
