//! Many connections, one write to disk.
//!
//! ```text
//! step ─┐                   ┌─▶ answer
//! step ─┼─▶ waiting ─▶ begin│step step step│commit ─┼─▶ answer
//! step ─┘   (bounded)       └───one fsync──┘        └─▶ answer
//! ```
//!
//! The writer takes what waits, up to a bound, runs it in one transaction and answers only after the commit. While
//! it commits, the next group gathers: the slower the disk, the larger the groups. All steps of a group were asked for
//! before any was answered, so it is free to do equal ones together. Where the engine allows, a second writer fills its
//! group while the first one commits.
//!
//! Reads go to threads of their own, in the same way; heads of queues that are in memory need none.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::cache::{RecordCache, lasting_names};
use super::{
    Acknowledgement, Appended, Created, Head, NewQueue, PromptReader, QueueName, QueueNumber, QueueReader,
    QueueRecord, QueueStore, Result, Sent, StoreError, StoredMessage,
};
use crate::config::Storage;

/// A store that connections share.
#[derive(Clone)]
pub struct Store {
    steps: mpsc::Sender<Step>,
    reads: mpsc::Sender<Read>,
    watch: Arc<OnceLock<Arc<dyn CommitWatch>>>,
    records: Option<Arc<RecordCache>>,
    prompt: Option<Arc<dyn PromptReader>>,
}

/// Is told how commits go, on the thread that makes them.
pub trait CommitWatch: Send + Sync {
    /// A group of so many steps was made durable, which took so long.
    fn committed(&self, steps: usize, took: Duration);

    /// A group was not stored.
    fn failed(&self);
}

/// The threads behind a [`Store`]; joining them waits for the last commit.
#[derive(Debug)]
pub struct StoreThreads {
    threads: Vec<JoinHandle<()>>,
}

/// Runs within a group, or is refused when there is no store to write to; says how it is answered once the group's
/// fate is known.
type Run = Box<dyn FnOnce(Option<&mut dyn QueueStore>) -> Answer + Send>;
/// Given why the commit failed, if it did.
type Answer = Box<dyn FnOnce(Option<&StoreError>) + Send>;
type ReadRun = Box<dyn FnOnce(&mut dyn QueueReader) + Send>;
/// Where the answer is waited for.
type Asker<T> = oneshot::Sender<T>;

/// A step, and the queue that it is about if there is one.
enum Step {
    Create(Box<NewQueue>, Asker<Result<Created>>),
    Append(Sent, Asker<Result<Appended>>),
    Acknowledge(Acknowledgement, Asker<Result<Option<StoredMessage>>>),
    Other(Option<QueueNumber>, Run),
}

enum Read {
    Queues(Vec<QueueName>, Asker<Vec<Result<Option<QueueRecord>>>>),
    Heads(Vec<Head>, Asker<Vec<Result<Option<StoredMessage>>>>),
    Other(ReadRun),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Starts the threads of a store.
    ///
    /// # Errors
    /// When a reader cannot be opened or the system refuses a thread.
    pub fn start(store: Box<dyn QueueStore>, settings: &Storage) -> anyhow::Result<(Self, StoreThreads)> {
        let waiting = usize::try_from(settings.waiting_steps)?;
        let group = usize::try_from(settings.commit_steps)?;
        let (steps, waiting_steps) = mpsc::channel(waiting);
        let watch = Arc::new(OnceLock::new());
        let (reads, waiting_reads) = mpsc::channel(waiting);
        let waiting_reads = Arc::new(Mutex::new(waiting_reads));
        let cached = usize::try_from(settings.cached_records)?;
        let records = (cached > 0 && store.is_ours_alone()).then(|| Arc::new(RecordCache::new(cached)));
        let prompt = store.prompt_reader();
        let mut threads = Vec::new();
        for _ in 0..settings.readers {
            let (mut reader, waiting_reads) = (store.open_reader()?, waiting_reads.clone());
            let thread = std::thread::Builder::new().name("store-reader".to_owned());
            threads.push(thread.spawn(move || answer_reads(&mut *reader, &waiting_reads))?);
        }
        let waiting_steps = Arc::new(Mutex::new(waiting_steps));
        let second = store.second_writer();
        for store in [Some(store), second].into_iter().flatten() {
            let writer = Writer { store, group, halted: false, watch: watch.clone() };
            let waiting_steps = waiting_steps.clone();
            let thread = std::thread::Builder::new().name("store-writer".to_owned());
            threads.push(thread.spawn(move || writer.run(&waiting_steps))?);
        }
        Ok((Self { steps, reads, watch, records, prompt }, StoreThreads { threads }))
    }

    /// Has `watch` told of each commit from now on. The first that is named stays.
    pub fn watch_commits(&self, watch: Arc<dyn CommitWatch>) {
        // A second one would be told of half.
        let _ = self.watch.set(watch);
    }

    /// Steps that wait to be committed.
    #[must_use]
    pub fn waiting_steps(&self) -> usize {
        self.steps.max_capacity().saturating_sub(self.steps.capacity())
    }

    /// Runs a step that changes the stored record of no other queue than this, and waits until its effects are durable.
    ///
    /// # Errors
    /// Those of the step; [`StoreError::Commit`] when its group was not stored; [`StoreError::Closed`].
    pub async fn write_to<T: Send + 'static>(
        &self,
        queue: &QueueRecord,
        step: impl FnOnce(&mut dyn QueueStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Some((queue.number, lasting_names(queue))), step).await
    }

    /// As [`Self::write_to`], for a step that changes no stored record of a queue: it adds one, or is about something
    /// else.
    ///
    /// # Errors
    /// As [`Self::write_to`].
    pub async fn write_beside_records<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn QueueStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(None, step).await
    }

    /// Stores a new queue, and waits until it is durable.
    ///
    /// # Errors
    /// As [`Self::write_to`].
    pub async fn create(&self, new: NewQueue) -> Result<Created> {
        self.ask(|asker| Step::Create(Box::new(new), asker)).await
    }

    /// Puts a message at the end of its queue, and waits until that is durable.
    ///
    /// # Errors
    /// As [`Self::write_to`].
    pub async fn append(&self, sent: Sent) -> Result<Appended> {
        self.ask(|asker| Step::Append(sent, asker)).await
    }

    /// Deletes the head of a queue if it is the message that is acknowledged, waits until that is durable, and gives
    /// the head after that.
    ///
    /// # Errors
    /// As [`Self::write_to`]; [`StoreError::Elsewhere`].
    pub async fn acknowledge(&self, acknowledged: Acknowledgement) -> Result<Option<StoredMessage>> {
        self.ask(|asker| Step::Acknowledge(acknowledged, asker)).await
    }

    async fn ask<T>(&self, step: impl FnOnce(Asker<Result<T>>) -> Step) -> Result<T> {
        let (asker, answered) = oneshot::channel();
        self.steps.send(step(asker)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs a step that changes the record of the queue with this number and these names, if any.
    async fn run<T: Send + 'static>(
        &self,
        changed: Option<(QueueNumber, [QueueName; 2])>,
        step: impl FnOnce(&mut dyn QueueStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let (queue, names) = changed.unzip();
        let forget = self.forgetting(names);
        let step: Run = Box::new(move |store| {
            let result = store.ok_or(StoreError::Halted).and_then(step);
            Box::new(move |failure| {
                forget();
                // A connection that is gone needs no answer.
                let _ = answer.send(match failure {
                    None => result,
                    Some(error) => Err(StoreError::Commit(error.to_string())),
                });
            })
        });
        self.steps.send(Step::Other(queue, step)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// What makes the cache forget after a change, before anybody is answered.
    fn forgetting(&self, changed: Option<[QueueName; 2]>) -> impl FnOnce() + Send + 'static {
        let records = self.records.clone();
        move || {
            if let (Some(records), Some(queue)) = (records, changed) {
                records.forget(&queue);
            }
        }
    }

    /// Hands in a step about a queue's record for which nobody waits. It is left out while the writer has much to do.
    pub fn write_unheard(
        &self,
        queue: &QueueRecord,
        step: impl FnOnce(&mut dyn QueueStore) -> Result<()> + Send + 'static,
    ) {
        let forget = self.forgetting(Some(lasting_names(queue)));
        let step: Run = Box::new(move |store| {
            if let Some(store) = store
                && let Err(error) = step(store)
            {
                tracing::debug!(%error, "a step that nobody waits for failed");
            }
            Box::new(move |_| forget())
        });
        // Full or closed: then it is left out.
        let _ = self.steps.try_send(Step::Other(Some(queue.number), step));
    }

    /// The queues under these names, as committed: those that are not remembered in one visit to the store.
    pub async fn queues(&self, names: Vec<Option<QueueName>>) -> Vec<Result<Option<QueueRecord>>> {
        let mut found: Vec<Result<Option<QueueRecord>>> = names.iter().map(|_| Ok(None)).collect();
        let mut missing = Vec::new();
        for (position, (name, found)) in names.iter().zip(&mut found).enumerate() {
            let Some(name) = *name else { continue };
            match self.records.as_ref().map(|records| records.find(&name)) {
                Some(Ok(record)) => *found = Ok(Some(record)),
                Some(Err(state)) => missing.push((position, name, Some(state))),
                None => missing.push((position, name, None)),
            }
        }
        if missing.is_empty() {
            return found;
        }
        let wanted: Vec<QueueName> = missing.iter().map(|(_, name, _)| *name).collect();
        let (asker, answered) = oneshot::channel();
        let mut read = match self.reads.send(Read::Queues(wanted, asker)).await {
            Ok(()) => answered.await.unwrap_or_default().into_iter(),
            Err(_) => Vec::new().into_iter(),
        };
        for (position, name, state) in missing {
            let record = read.next().unwrap_or(Err(StoreError::Closed));
            if let (Ok(Some(record)), Some(records), Some(state)) = (&record, &self.records, state) {
                records.remember(name, record, state);
            }
            if let Some(found) = found.get_mut(position) {
                *found = record;
            }
        }
        found
    }

    /// The heads of queues, as committed: those that are not in memory in one visit to the store.
    ///
    /// # Errors
    /// [`StoreError::Closed`]; those of each read are beside it.
    pub async fn heads(&self, heads: Vec<Head>) -> Result<Vec<Result<Option<StoredMessage>>>> {
        let Some(prompt) = &self.prompt else { return self.visit(heads).await };
        let mut missing = Vec::new();
        let mut found = Vec::with_capacity(heads.len());
        for head in heads {
            let promptly = prompt.first_message(head.queue);
            if promptly.is_none() {
                missing.push(head);
            }
            found.push(promptly);
        }
        let read = if missing.is_empty() { Vec::new() } else { self.visit(missing).await? };
        let mut read = read.into_iter();
        let mut next = || read.next().unwrap_or(Err(StoreError::Closed));
        Ok(found.into_iter().map(|found| found.map_or_else(&mut next, Ok)).collect())
    }

    /// The heads of queues, by a visit to the store.
    async fn visit(&self, heads: Vec<Head>) -> Result<Vec<Result<Option<StoredMessage>>>> {
        let (asker, answered) = oneshot::channel();
        self.reads.send(Read::Heads(heads, asker)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)
    }

    /// Reads what is committed.
    ///
    /// # Errors
    /// Those of the read; [`StoreError::Closed`].
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn QueueReader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let read: ReadRun = Box::new(move |reader| {
            // A connection that is gone needs no answer.
            let _ = answer.send(read(reader));
        });
        self.reads.send(Read::Other(read)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl StoreThreads {
    /// Waits until all steps are committed. Ends when every [`Store`] is dropped.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store failed");
            }
        }
    }
}

fn answer_reads(reader: &mut dyn QueueReader, waiting: &Mutex<mpsc::Receiver<Read>>) {
    let most = reader.reads_per_visit();
    let mut reads = Vec::new();
    loop {
        // The lock is held while waiting: whoever holds it takes the next reads.
        let taken =
            waiting.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv_many(&mut reads, most);
        if taken == 0 {
            return;
        }
        let (mut names, mut queues_of) = (Vec::new(), Vec::new());
        let (mut heads, mut heads_of) = (Vec::new(), Vec::new());
        for read in reads.drain(..) {
            match read {
                Read::Queues(wanted, asker) => {
                    queues_of.push((wanted.len(), asker));
                    names.extend(wanted);
                }
                Read::Heads(wanted, asker) => {
                    heads_of.push((wanted.len(), asker));
                    heads.extend(wanted);
                }
                Read::Other(read) => read(reader),
            }
        }
        if !names.is_empty() {
            share(reader.queues(&names), queues_of);
        }
        if !heads.is_empty() {
            share(reader.heads(&heads), heads_of);
        }
    }
}

/// Gives each who asked their part of the answers.
fn share<T>(answers: Vec<T>, askers: Vec<(usize, Asker<Vec<T>>)>) {
    let mut answers = answers.into_iter();
    for (count, asker) in askers {
        // A connection that is gone needs no answer.
        let _ = asker.send(answers.by_ref().take(count).collect());
    }
}

struct Writer {
    store: Box<dyn QueueStore>,
    group: usize,
    halted: bool,
    watch: Arc<OnceLock<Arc<dyn CommitWatch>>>,
}

impl Writer {
    fn run(mut self, waiting: &Mutex<mpsc::Receiver<Step>>) {
        let mut group = Vec::new();
        loop {
            // The lock is held while waiting: whoever holds it takes the next group.
            let taken = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .blocking_recv_many(&mut group, self.group);
            if taken == 0 {
                return;
            }
            self.commit(&mut group);
        }
    }

    /// Runs and commits a group, then answers each of its steps.
    fn commit(&mut self, group: &mut Vec<Step>) {
        let (began, steps) = (Instant::now(), group.len());
        let opened = if self.halted {
            Err(StoreError::Halted)
        } else {
            let queues: Vec<QueueNumber> = group.iter().filter_map(Step::queue).collect();
            self.store.begin_on(&queues)
        };
        let answers = self.run_steps(group, opened.is_ok());
        let failure = opened.and_then(|()| self.store.commit()).err();
        if let Some(error) = &failure
            && !self.halted
        {
            // The file may hold anything: only a restart, which reads it anew, makes it safe to write again.
            self.halted = matches!(error, StoreError::Database(failure) if failure.forbids_writing());
            tracing::error!(%error, halted = self.halted, "a commit failed: its commands are refused");
        }
        match self.watch.get() {
            Some(watch) if failure.is_none() => watch.committed(steps, began.elapsed()),
            Some(watch) => watch.failed(),
            None => {}
        }
        for answer in answers {
            answer(failure.as_ref());
        }
    }

    /// Runs the steps of a group that was opened, or refuses them.
    fn run_steps(&mut self, group: &mut Vec<Step>, is_open: bool) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
        let (mut new, mut sent, mut acknowledged) = (Equal::default(), Equal::default(), Equal::default());
        for step in group.drain(..) {
            match step {
                Step::Create(one, asker) => new.add(*one, asker),
                Step::Append(one, asker) => sent.add(one, asker),
                Step::Acknowledge(one, asker) => acknowledged.add(one, asker),
                Step::Other(_, run) => {
                    answers.push(if is_open { run(Some(&mut *self.store)) } else { run(None) });
                }
            }
        }
        let store = if is_open { Some(&mut *self.store) } else { None };
        if let Some(store) = store {
            if !new.is_empty() {
                new.results = store.create_queues(&new.steps);
                protocol::crash_point!("server.new.written");
            }
            if !sent.is_empty() {
                sent.results = store.append_messages(&sent.steps);
                protocol::crash_point!("server.send.written");
            }
            if !acknowledged.is_empty() {
                acknowledged.results = store.acknowledge_messages(&acknowledged.steps);
                protocol::crash_point!("server.ack.written");
            }
        }
        new.answer(&mut answers);
        sent.answer(&mut answers);
        acknowledged.answer(&mut answers);
        answers
    }
}

impl Step {
    /// The stored queue that it is about.
    fn queue(&self) -> Option<QueueNumber> {
        match self {
            Self::Create(..) => None,
            Self::Append(sent, _) => Some(sent.queue),
            Self::Acknowledge(acknowledged, _) => Some(acknowledged.head.queue),
            Self::Other(queue, _) => *queue,
        }
    }
}

/// Steps of one kind that are done together.
struct Equal<S, T> {
    steps: Vec<S>,
    askers: Vec<Asker<Result<T>>>,
    /// In the order of the steps; nothing when they were not done.
    results: Vec<Result<T>>,
}

impl<S, T> Default for Equal<S, T> {
    fn default() -> Self {
        Self { steps: Vec::new(), askers: Vec::new(), results: Vec::new() }
    }
}

impl<S, T: Send + 'static> Equal<S, T> {
    fn add(&mut self, step: S, asker: Asker<Result<T>>) {
        self.steps.push(step);
        self.askers.push(asker);
    }

    fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn answer(self, answers: &mut Vec<Answer>) {
        let mut results = self.results.into_iter();
        answers.extend(self.askers.into_iter().map(|asker| {
            let result = results.next().unwrap_or(Err(StoreError::Halted));
            let answer: Answer = Box::new(move |failure| {
                // A connection that is gone needs no answer.
                let _ = asker.send(match failure {
                    None => result,
                    Some(error) => Err(StoreError::Commit(error.to_string())),
                });
            });
            answer
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use protocol::smp::authorize::DUMMY_KEYS;
    use protocol::smp::blocking::BlockingInfo;
    use protocol::smp::command::LinkData;
    use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
    use protocol::smp::key::AuthPublicKey;
    use protocol::timestamp::Timestamp;
    use tokio::task::JoinSet;

    use super::*;
    use crate::store::{
        AppendRules, Appended, Created, Deleted, DhSecret, ExpiryCursor, ExpiryPage, Failure, FailureKind,
        LinkSet, MemoryStore, NewMessage, NewQueue, NewService, Notifier, NotifierSet, QueueNumber,
        QueueStatus, Secured, ServiceRecord, StoredMessage, Stream, WholeQueue,
    };

    /// How the disk of a [`Watched`] store behaves, and how often it was written.
    #[derive(Debug, Default)]
    struct Disk {
        commits: AtomicUsize,
        /// Fail so, if at all.
        failure: Mutex<Option<FailureKind>>,
    }

    /// A store in memory whose commits are counted, slow, and fail when told to.
    struct Watched {
        inner: MemoryStore,
        disk: Arc<Disk>,
    }

    impl QueueStore for Watched {
        fn open_reader(&self) -> Result<Box<dyn QueueReader>> {
            self.inner.open_reader()
        }

        fn begin(&mut self) -> Result<()> {
            Ok(())
        }

        fn commit(&mut self) -> Result<()> {
            self.disk.commits.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(5));
            match *self.disk.failure.lock().unwrap() {
                None => Ok(()),
                Some(kind) => Err(Failure::new(kind, "as told").into()),
            }
        }

        fn create_queue(&mut self, queue: &NewQueue) -> Result<Created> {
            self.inner.create_queue(queue)
        }

        fn secure_queue(&mut self, queue: QueueNumber, key: &AuthPublicKey) -> Result<Secured> {
            self.inner.secure_queue(queue, key)
        }

        fn replace_recipient_keys(&mut self, queue: QueueNumber, keys: &[AuthPublicKey]) -> Result<()> {
            self.inner.replace_recipient_keys(queue, keys)
        }

        fn set_link_data(&mut self, queue: QueueNumber, id: LinkId, data: &LinkData<'_>) -> Result<LinkSet> {
            self.inner.set_link_data(queue, id, data)
        }

        fn delete_link_data(&mut self, queue: QueueNumber) -> Result<()> {
            self.inner.delete_link_data(queue)
        }

        fn append_message(
            &mut self,
            queue: QueueNumber,
            message: &NewMessage<'_>,
            rules: AppendRules,
        ) -> Result<Appended> {
            self.inner.append_message(queue, message, rules)
        }

        fn acknowledge(
            &mut self,
            queue: QueueNumber,
            id: Option<MessageId>,
        ) -> Result<Option<StoredMessage>> {
            self.inner.acknowledge(queue, id)
        }

        fn suspend_queue(&mut self, queue: QueueNumber) -> Result<()> {
            self.inner.suspend_queue(queue)
        }

        fn delete_queue(&mut self, queue: QueueNumber) -> Result<Deleted> {
            self.inner.delete_queue(queue)
        }

        fn set_notifier(&mut self, queue: QueueNumber, notifier: &Notifier) -> Result<NotifierSet> {
            self.inner.set_notifier(queue, notifier)
        }

        fn delete_notifier(&mut self, queue: QueueNumber) -> Result<Option<NotifierId>> {
            self.inner.delete_notifier(queue)
        }

        fn block_queue(&mut self, queue: QueueNumber, info: BlockingInfo) -> Result<QueueStatus> {
            self.inner.block_queue(queue, info)
        }

        fn unblock_queue(&mut self, queue: QueueNumber) -> Result<QueueStatus> {
            self.inner.unblock_queue(queue)
        }

        fn add_service(&mut self, new: &NewService) -> Result<ServiceRecord> {
            self.inner.add_service(new)
        }

        fn associate(
            &mut self,
            queue: QueueNumber,
            stream: Stream,
            service: Option<ServiceId>,
        ) -> Result<Option<ServiceId>> {
            self.inner.associate(queue, stream, service)
        }

        fn mark_used(&mut self, queues: &[QueueNumber], day: i64) -> Result<()> {
            self.inner.mark_used(queues, day)
        }

        fn restore_queue(&mut self, queue: &WholeQueue) -> Result<Created> {
            self.inner.restore_queue(queue)
        }

        fn restore_message(&mut self, queue: QueueNumber, message: &StoredMessage) -> Result<()> {
            self.inner.restore_message(queue, message)
        }

        fn expire_messages(
            &mut self,
            before: Timestamp,
            cursor: ExpiryCursor,
            limit: u32,
        ) -> Result<ExpiryPage> {
            self.inner.expire_messages(before, cursor, limit)
        }
    }

    fn watched() -> (Store, StoreThreads, Arc<Disk>) {
        let disk = Arc::new(Disk::default());
        let store = Box::new(Watched { inner: MemoryStore::new(), disk: disk.clone() });
        let (store, threads) = Store::start(store, &Storage::default()).unwrap();
        (store, threads, disk)
    }

    #[tokio::test]
    async fn steps_of_many_share_a_commit() {
        const STEPS: usize = 500;
        let (store, threads, disk) = watched();
        let mut tasks = JoinSet::new();
        for step in 0..STEPS {
            let store = store.clone();
            tasks.spawn(async move { store.write_beside_records(move |_| Ok(step)).await.unwrap() });
        }
        let done = tasks.join_all().await;
        assert_eq!(done.len(), STEPS);
        let commits = disk.commits.load(Ordering::Relaxed);
        assert!(commits < STEPS / 10, "{commits} commits");
        drop(store);
        tokio::task::spawn_blocking(|| threads.join()).await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_step_does_not_fail_its_neighbours() {
        let (store, _threads, _) = watched();
        let (good, bad) = tokio::join!(
            store.write_beside_records(|_| Ok(1)),
            store.write_beside_records(|store| store.suspend_queue(QueueNumber(9))),
        );
        assert_eq!(good.unwrap(), 1);
        assert!(matches!(bad, Err(StoreError::NoQueue)));
    }

    #[tokio::test]
    async fn a_failed_commit_fails_every_step_of_its_group() {
        let (store, _threads, disk) = watched();
        for (kind, halts) in [
            (FailureKind::Full, false),
            (FailureKind::Transient, false),
            (FailureKind::InDoubt, false),
            (FailureKind::UnknownDisk, true),
        ] {
            *disk.failure.lock().unwrap() = Some(kind);
            let (first, second) =
                tokio::join!(store.write_beside_records(|_| Ok(1)), store.write_beside_records(|_| Ok(2)));
            assert!(matches!((first, second), (Err(StoreError::Commit(_)), Err(StoreError::Commit(_)))));
            *disk.failure.lock().unwrap() = None;
            let later = store.write_beside_records(|_| Ok(3)).await;
            assert_eq!(later.is_err(), halts, "after {kind:?}");
        }
        assert!(store.read(|_| Ok(4)).await.is_ok(), "what is stored can still be read");
    }

    #[tokio::test]
    async fn remembered_records_need_no_reader_and_are_never_older_than_an_answer() {
        let memory = Box::new(MemoryStore::new());
        let (store, _threads) = Store::start(memory, &Storage { readers: 1, ..Storage::default() }).unwrap();
        let new = NewQueue {
            recipient_id: RecipientId([1; 24]),
            sender_id: SenderId([2; 24]),
            recipient_key: DUMMY_KEYS[0],
            dh_secret: DhSecret([3; 32]),
            mode: None,
            link: None,
            notifier: None,
            used_on: 0,
            recipient_service: None,
        };
        store.write_beside_records(move |store| store.create_queue(&new)).await.unwrap();
        let name = Some(QueueName::Sender(SenderId([2; 24])));
        let record = || async { store.queues(vec![name]).await.remove(0).unwrap().unwrap() };
        let queue = record().await;
        assert_eq!(queue.sender_key, None);

        // The only reader is busy until it is told to go on.
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let busy = store.read(move |_| {
            wait.recv().unwrap();
            Ok(())
        });
        let remembered = async {
            let record = record().await;
            go_on.send(()).unwrap();
            record
        };
        let (busy, remembered) = tokio::join!(busy, remembered);
        busy.unwrap();
        assert_eq!(remembered, queue);

        let number = queue.number;
        store.write_to(&queue, move |store| store.secure_queue(number, &DUMMY_KEYS[1])).await.unwrap();
        assert_eq!(record().await.sender_key, Some(DUMMY_KEYS[1]));
        store.write_to(&queue, move |store| store.suspend_queue(number)).await.unwrap();
        assert_eq!(record().await.status, QueueStatus::Off);
        store.write_unheard(&queue, move |store| store.mark_used(&[number], 86_400));
        store.write_beside_records(|_| Ok(())).await.unwrap();
        assert_eq!(record().await.used_on, 86_400);
    }
}
