//! Queues in memory: for tests and for servers that shall forget. Steps apply at once; a commit does nothing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::timestamp::Timestamp;
use protocol::transport::hello::ServiceRole;

use super::{
    AppendRules, Appended, BacklogPage, Created, Deleted, ExpiryCursor, ExpiryPage, LinkSet, NewMessage,
    NewQueue, NewService, Notifier, NotifierSet, QueueName, QueueNumber, QueueReader, QueueRecord,
    QueueStatus, QueueStore, Result, Secured, ServiceQueue, ServiceRecord, StoreCounts, StoreError,
    StoredMessage, Stream, WholeQueue,
};

/// A store that forgets when it is dropped.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last_number: i64,
    names: BTreeMap<QueueName, QueueNumber>,
    queues: BTreeMap<QueueNumber, Queue>,
    /// By fingerprint.
    services: BTreeMap<[u8; 32], NewService>,
}

#[derive(Debug)]
struct Queue {
    record: QueueRecord,
    link: Option<(LinkId, LinkData<'static>)>,
    messages: VecDeque<StoredMessage>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, number: QueueNumber) -> Result<&mut Queue> {
        self.queues.get_mut(&number).ok_or(StoreError::NoQueue)
    }
}

impl Queue {
    /// Deletes expired messages from the head, up to the first that stays.
    fn expire(&mut self, before: Timestamp) -> u64 {
        let stays = |message: &StoredMessage| message.body.is_none() || message.received_at >= before;
        let expired = self.messages.iter().position(stays).unwrap_or(self.messages.len());
        self.messages.drain(..expired).count() as u64
    }

    /// Whether its link can be used no more once a sender secured it.
    fn is_for_one_sender(&self) -> bool {
        self.record.mode != Some(QueueMode::Contact)
    }
}

impl QueueReader for MemoryStore {
    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>> {
        let state = self.lock();
        let queue = state.names.get(name).and_then(|number| state.queues.get(number));
        Ok(queue.map(|queue| queue.record.clone()))
    }

    fn link_data(&mut self, queue: QueueNumber) -> Result<Option<LinkData<'static>>> {
        let state = self.lock();
        Ok(state.queues.get(&queue).and_then(|queue| queue.link.as_ref()).map(|(_, data)| data.clone()))
    }

    fn first_message(&mut self, queue: QueueNumber) -> Result<Option<StoredMessage>> {
        Ok(self.lock().queues.get(&queue).and_then(|queue| queue.messages.front()).cloned())
    }

    fn message_count(&mut self, queue: QueueNumber) -> Result<u32> {
        let count = self.lock().queues.get(&queue).map_or(0, |queue| queue.messages.len());
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn queues_after(&mut self, after: QueueNumber, limit: u32) -> Result<Vec<WholeQueue>> {
        let whole = |queue: &Queue| WholeQueue { record: queue.record.clone(), link: queue.link.clone() };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = (Bound::Excluded(after), Bound::Unbounded);
        Ok(self.lock().queues.range(page).take(limit).map(|(_, queue)| whole(queue)).collect())
    }

    fn messages(&mut self, queue: QueueNumber) -> Result<Vec<StoredMessage>> {
        let messages = |queue: &Queue| queue.messages.iter().cloned().collect();
        Ok(self.lock().queues.get(&queue).map(messages).unwrap_or_default())
    }

    fn counts(&mut self) -> Result<StoreCounts> {
        let state = self.lock();
        let messages = state.queues.values().map(|queue| queue.messages.len() as u64).sum();
        Ok(StoreCounts { queues: state.queues.len() as u64, messages })
    }

    fn service(&mut self, fingerprint: &[u8; 32]) -> Result<Option<ServiceRecord>> {
        Ok(self.lock().services.get(fingerprint).map(NewService::record))
    }

    fn services_after(&mut self, after: &[u8; 32], limit: u32) -> Result<Vec<NewService>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = (Bound::Excluded(*after), Bound::Unbounded);
        Ok(self.lock().services.range(page).take(limit).map(|(_, service)| *service).collect())
    }

    fn service_queue_count(&mut self, service: ServiceRecord) -> Result<u64> {
        let state = self.lock();
        let is_its_own = |record: &QueueRecord| match service.role {
            ServiceRole::Notifier => record.notifier_service == Some(service.id),
            ServiceRole::Messaging | ServiceRole::Proxy => record.recipient_service == Some(service.id),
        };
        Ok(state.queues.values().filter(|queue| is_its_own(&queue.record)).count() as u64)
    }

    fn service_backlog(&mut self, service: ServiceId, after: QueueNumber, limit: u32) -> Result<BacklogPage> {
        let state = self.lock();
        let own: Vec<&Queue> = state
            .queues
            .range((Bound::Excluded(after), Bound::Unbounded))
            .map(|(_, queue)| queue)
            .filter(|queue| queue.record.recipient_service == Some(service))
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        let is_last = u32::try_from(own.len()).is_ok_and(|count| count < limit);
        let next = own.last().filter(|_| !is_last).map(|queue| queue.record.number);
        let blocking = |queue: &Queue| queue.record.status.blocking();
        let told = own.into_iter().filter(|queue| !queue.messages.is_empty() || blocking(queue).is_some());
        let queues = told
            .map(|Queue { record, .. }| ServiceQueue {
                number: record.number,
                recipient_id: record.recipient_id,
                dh_secret: record.dh_secret.clone(),
                blocking: record.status.blocking(),
            })
            .collect();
        Ok(BacklogPage { queues, next })
    }
}

impl QueueStore for MemoryStore {
    fn is_ours_alone(&self) -> bool {
        true
    }

    fn open_reader(&self) -> Result<Box<dyn QueueReader>> {
        Ok(Box::new(self.clone()))
    }

    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    fn create_queue(&mut self, new: &NewQueue) -> Result<Created> {
        self.restore_queue(&new.whole())
    }

    fn secure_queue(&mut self, queue: QueueNumber, sender_key: &AuthPublicKey) -> Result<Secured> {
        let mut state = self.lock();
        let stored = &mut state.queue(queue)?.record.sender_key;
        if *stored.get_or_insert(*sender_key) == *sender_key {
            Ok(Secured::WithThisKey)
        } else {
            Ok(Secured::WithAnother)
        }
    }

    fn replace_recipient_keys(&mut self, queue: QueueNumber, keys: &[AuthPublicKey]) -> Result<()> {
        self.lock().queue(queue)?.record.recipient_keys = keys.to_vec();
        Ok(())
    }

    fn set_link_data(
        &mut self,
        number: QueueNumber,
        link_id: LinkId,
        data: &LinkData<'_>,
    ) -> Result<LinkSet> {
        let mut state = self.lock();
        let owner = state.names.get(&QueueName::Link(link_id)).copied();
        let queue = state.queue(number)?;
        let used = queue.is_for_one_sender() && queue.record.sender_key.is_some();
        let other = match &queue.link {
            Some((stored_id, stored)) => *stored_id != link_id || stored.fixed != data.fixed,
            None => owner.is_some(),
        };
        if used || other {
            return Ok(LinkSet::Refused);
        }
        queue.link = Some((link_id, data.clone().into_owned()));
        state.names.insert(QueueName::Link(link_id), number);
        Ok(LinkSet::Stored)
    }

    fn delete_link_data(&mut self, queue: QueueNumber) -> Result<()> {
        let mut state = self.lock();
        if let Some((link_id, _)) = state.queue(queue)?.link.take() {
            state.names.remove(&QueueName::Link(link_id));
        }
        Ok(())
    }

    fn append_message(
        &mut self,
        number: QueueNumber,
        message: &NewMessage<'_>,
        rules: AppendRules,
    ) -> Result<Appended> {
        let mut state = self.lock();
        let queue = state.queue(number)?;
        match queue.record.status {
            QueueStatus::Active => {}
            QueueStatus::Off => return Ok(Appended::Suspended),
            QueueStatus::Blocked { info, .. } => return Ok(Appended::Blocked(info)),
        }
        if queue.is_for_one_sender()
            && queue.record.sender_key.is_some()
            && let Some((link_id, _)) = queue.link.take()
        {
            state.names.remove(&QueueName::Link(link_id));
        }
        let queue = state.queue(number)?;
        if let Some(before) = rules.expire_before {
            queue.expire(before);
        }
        if queue.messages.back().is_some_and(|last| last.body.is_none()) {
            return Ok(Appended::Full { marked: false });
        }
        let fits = u32::try_from(queue.messages.len()).is_ok_and(|count| count < rules.quota);
        queue.messages.push_back(StoredMessage {
            id: message.id,
            received_at: message.received_at,
            notify: fits && message.notify,
            body: fits.then(|| message.body.to_vec()),
        });
        Ok(if fits { Appended::Stored } else { Appended::Full { marked: true } })
    }

    fn acknowledge(
        &mut self,
        queue: QueueNumber,
        message_id: Option<MessageId>,
    ) -> Result<Option<StoredMessage>> {
        let mut state = self.lock();
        let messages = &mut state.queue(queue)?.messages;
        if messages.front().is_some_and(|head| Some(head.id) == message_id) {
            messages.pop_front();
        }
        Ok(messages.front().cloned())
    }

    fn suspend_queue(&mut self, queue: QueueNumber) -> Result<()> {
        let mut state = self.lock();
        let status = &mut state.queue(queue)?.record.status;
        *status = status.suspended();
        Ok(())
    }

    fn delete_queue(&mut self, queue: QueueNumber) -> Result<Deleted> {
        let mut state = self.lock();
        let Queue { record, link, messages } = state.queues.remove(&queue).ok_or(StoreError::NoQueue)?;
        state.names.remove(&QueueName::Recipient(record.recipient_id));
        state.names.remove(&QueueName::Sender(record.sender_id));
        if let Some((link_id, _)) = link {
            state.names.remove(&QueueName::Link(link_id));
        }
        let notifier = record.notifier.map(|notifier| notifier.id);
        if let Some(id) = notifier {
            state.names.remove(&QueueName::Notifier(id));
        }
        Ok(Deleted { notifier, messages: u32::try_from(messages.len()).unwrap_or(u32::MAX) })
    }

    fn set_notifier(&mut self, queue: QueueNumber, notifier: &Notifier) -> Result<NotifierSet> {
        let mut state = self.lock();
        state.queue(queue)?;
        match state.names.get(&QueueName::Notifier(notifier.id)) {
            Some(owner) if *owner != queue => return Ok(NotifierSet::IdTaken),
            _ => {}
        }
        let record = &mut state.queue(queue)?.record;
        record.notifier_service = None;
        let replaced = record.notifier.replace(notifier.clone()).map(|former| former.id);
        if let Some(former) = replaced {
            state.names.remove(&QueueName::Notifier(former));
        }
        state.names.insert(QueueName::Notifier(notifier.id), queue);
        Ok(NotifierSet::Stored { replaced })
    }

    fn delete_notifier(&mut self, queue: QueueNumber) -> Result<Option<NotifierId>> {
        let mut state = self.lock();
        let record = &mut state.queue(queue)?.record;
        record.notifier_service = None;
        let deleted = record.notifier.take().map(|notifier| notifier.id);
        if let Some(id) = deleted {
            state.names.remove(&QueueName::Notifier(id));
        }
        Ok(deleted)
    }

    fn block_queue(&mut self, queue: QueueNumber, info: BlockingInfo) -> Result<QueueStatus> {
        let mut state = self.lock();
        let status = &mut state.queue(queue)?.record.status;
        Ok(std::mem::replace(status, status.blocked(info)))
    }

    fn unblock_queue(&mut self, queue: QueueNumber) -> Result<QueueStatus> {
        let mut state = self.lock();
        let status = &mut state.queue(queue)?.record.status;
        Ok(std::mem::replace(status, status.unblocked()))
    }

    fn add_service(&mut self, new: &NewService) -> Result<ServiceRecord> {
        Ok(self.lock().services.entry(new.fingerprint).or_insert(*new).record())
    }

    fn associate(
        &mut self,
        queue: QueueNumber,
        stream: Stream,
        service: Option<ServiceId>,
    ) -> Result<Option<ServiceId>> {
        let mut state = self.lock();
        let record = &mut state.queue(queue)?.record;
        let stored = match stream {
            Stream::Messages => &mut record.recipient_service,
            Stream::Notifications(id) if record.notifier.as_ref().is_some_and(|one| one.id == id) => {
                &mut record.notifier_service
            }
            Stream::Notifications(_) => return Err(StoreError::NoQueue),
        };
        Ok(std::mem::replace(stored, service))
    }

    fn mark_used(&mut self, queues: &[QueueNumber], day: i64) -> Result<()> {
        let mut state = self.lock();
        for number in queues {
            if let Some(queue) = state.queues.get_mut(number) {
                queue.record.used_on = day;
            }
        }
        Ok(())
    }

    fn restore_queue(&mut self, whole: &WholeQueue) -> Result<Created> {
        let WholeQueue { record, link } = whole;
        let mut state = self.lock();
        let mut names = vec![QueueName::Recipient(record.recipient_id), QueueName::Sender(record.sender_id)];
        names.extend(link.as_ref().map(|(link_id, _)| QueueName::Link(*link_id)));
        names.extend(record.notifier.as_ref().map(|notifier| QueueName::Notifier(notifier.id)));
        if names.iter().any(|name| state.names.contains_key(name)) {
            return Ok(Created::IdTaken);
        }
        state.last_number = state.last_number.saturating_add(1);
        let number = QueueNumber(state.last_number);
        state.names.extend(names.into_iter().map(|name| (name, number)));
        let record = QueueRecord { number, ..record.clone() };
        state.queues.insert(number, Queue { record, link: link.clone(), messages: VecDeque::new() });
        Ok(Created::Stored(number))
    }

    fn restore_message(&mut self, queue: QueueNumber, message: &StoredMessage) -> Result<()> {
        self.lock().queue(queue)?.messages.push_back(message.clone());
        Ok(())
    }

    fn expire_messages(&mut self, before: Timestamp, _: ExpiryCursor, _: u32) -> Result<ExpiryPage> {
        let deleted = self.lock().queues.values_mut().map(|queue| queue.expire(before)).sum();
        Ok(ExpiryPage { deleted, next: None })
    }
}
