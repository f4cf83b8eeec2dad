//! Private routing: a server as destination of a proxy, and as proxy (smp.md §14, §20.6).

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::secretbox::{BoxKey, reverse_nonce};
use protocol::net::certificate::certificate_key;
use protocol::net::rng::system_rng;
use protocol::transport::certified_key::SignedKey;

use crate::case::{Case, case};
use crate::destination::{Behaviour, FakeDestination};
use crate::failure::{At as _, Failure, Outcome, equal, shown};
use crate::peer::By::Nobody;
use crate::peer::commands::{Draft, send, with_key};
use crate::peer::keys::{Key, KeyKind, random};
use crate::peer::wire::{Fields, batch, large, maybe, short, x25519_spki};
use crate::peer::{Hello, Peer, same};
use crate::place::Place;
use crate::spawn::Wanted;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("proxy/destination-forwards", "§14.2", destination),
    case!("proxy/destination-link-commands", "§14.2", destination_links),
    case!("proxy/destination-allows-few-commands", "§14.2", destination_prohibits),
    case!("proxy/destination-errors-of-the-proxy", "§14.2", destination_errors),
    case!("proxy/destination-inner-errors", "§14.2", destination_inner_errors),
    case!("proxy/destination-inner-versions", "§14.2, §19", destination_versions),
    case!("proxy/destination-needs-a-session-key", "§14.2", destination_without_key),
    case!("proxy/same-server", "§14.1, §20.6.3", same_server),
    case!("proxy/second-server", "§14.1, §20.6.3", second_server),
    case!("proxy/session-is-shared", "§14.1, §20.6.4", shared),
    case!("proxy/unknown-session", "§14.2, §20.6.4", unknown_session),
    case!("proxy/errors-of-the-destination", "§14.2", errors_through_proxy),
    case!("proxy/in-parallel", "§14.3, §20.6.5", in_parallel),
    case!("proxy/password", "§14.1, §20.6.2", password),
    case!("proxy/nobody-listens", "§14.1, §20.6.6, §20.6.8", nobody_listens),
    case!("proxy/hosts-that-are-none", "§14.1, §20.6.8", no_hosts),
    case!("proxy/wrong-fingerprint", "§14.1, §20.6.8", wrong_fingerprint),
    case!("proxy/broken-destinations", "§14.1", broken_destinations),
    case!("proxy/versions-of-destinations", "§4.5, §14.1", versions),
    case!("proxy/answers-of-destinations", "§14.1", answers),
    case!("proxy/silent-destinations", "§14.1, §14.3", silent),
    case!("proxy/failures-are-remembered", "§14.1", remembered),
    case!("proxy/session-ends-with-the-destination", "§14.3", destination_restarts),
];

/// What forwards to a destination: the session of its proxy, the destination's key and a version.
#[derive(Debug, Clone)]
struct Route {
    session_id: Vec<u8>,
    key: X25519PublicKey,
    version: u16,
}

/// A command on its way: the box for the destination, and what opens its answer.
struct Forwarded {
    nonce: [u8; 24],
    public: [u8; 32],
    sealed: Vec<u8>,
    secret: BoxKey,
}

const PADDED_BYTES: usize = 16_226;

impl Route {
    /// The inner transmission, authorised for the session of proxy and destination.
    fn transmission(
        &self,
        key: Option<&Key>,
        correlation_id: &[u8],
        entity_id: &[u8],
        command: &[u8],
    ) -> Vec<u8> {
        let authorized =
            [short(&self.session_id), short(correlation_id), short(entity_id), command.to_vec()].concat();
        let authenticator =
            key.map(|key| key.authenticator(&self.key, correlation_id, &authorized)).unwrap_or_default();
        let tag: &[u8] = if self.version >= 16 && !authenticator.is_empty() { b"0" } else { b"" };
        [&short(&authenticator), tag, &short(correlation_id), &short(entity_id), command].concat()
    }

    /// A content for the destination.
    fn seal(&self, nonce: [u8; 24], content: &[u8]) -> Outcome<Forwarded> {
        let ephemeral = X25519PrivateKey::generate(&mut system_rng());
        let secret = ephemeral.box_key(&self.key);
        let sealed = secret.seal_padded(&nonce, content, PADDED_BYTES);
        let sealed = sealed.map_err(|error| Failure::differs("a content that fits", error.to_string()))?;
        Ok(Forwarded { nonce, public: ephemeral.public_key().0, sealed, secret })
    }

    fn command(&self, key: Option<&Key>, entity_id: &[u8], command: &[u8]) -> Outcome<Forwarded> {
        let nonce = random();
        let transmission = self.transmission(key, &nonce, entity_id, command);
        self.seal(nonce, &batch(&[transmission]))
    }

    fn pfwd(&self, forwarded: &Forwarded) -> Vec<u8> {
        let key = x25519_spki(&forwarded.public);
        [b"PFWD ", self.version.to_be_bytes().as_slice(), &key, &forwarded.sealed].concat()
    }
}

impl Forwarded {
    /// The one answer inside: its correlation id, its entity, and what it says.
    fn open(&self, sealed: &[u8]) -> Outcome<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let nonce = reverse_nonce(self.nonce);
        equal(sealed.len(), PADDED_BYTES + 16).at("length of the answer inside")?;
        let padded = self.secret.open(&nonce, sealed);
        let padded = padded.map_err(|_| Failure::differs("an answer for this client", "another box"))?;
        let mut fields = Fields::of(&padded);
        let mut content = Fields::of(fields.large()?);
        content.expect(&[1])?;
        let mut answer = Fields::of(content.large()?);
        content.end()?;
        answer.expect(&[0])?;
        Ok((answer.short()?.to_vec(), answer.short()?.to_vec(), answer.tail().to_vec()))
    }
}

/// Sends through a proxy; gives the answer inside.
async fn through(
    proxy: &mut Peer,
    route: &Route,
    key: Option<&Key>,
    entity_id: &[u8],
    command: &[u8],
) -> Outcome<Vec<u8>> {
    let forwarded = route.command(key, entity_id, command)?;
    let pfwd = route.pfwd(&forwarded);
    let answer = proxy.ask_with(&forwarded.nonce, Nobody, &route.session_id, &pfwd).await.at("PFWD")?;
    let Some(sealed) = answer.strip_prefix(b"PRES ") else {
        return Err(Failure::differs("PRES", shown(&answer)));
    };
    let (correlation_id, entity, message) = forwarded.open(sealed).at("PRES")?;
    equal(correlation_id.as_slice(), &forwarded.nonce[..]).at("correlation id inside")?;
    equal(entity.as_slice(), entity_id).at("entity inside")?;
    Ok(message)
}

/// The same, which must be answered so.
async fn through_is(
    proxy: &mut Peer,
    route: &Route,
    key: Option<&Key>,
    (entity_id, command, expected): (&[u8], &[u8], &str),
) -> Outcome {
    let answer = through(proxy, route, key, entity_id, command).await?;
    same(&answer, expected.as_bytes())
}

/// A session in which we are the proxy, and the route to its other end.
async fn as_proxy(trial: &Trial) -> Outcome<(Peer, Route)> {
    let hello = Hello { is_proxy: true, ..Hello::version(trial.version) };
    let peer = trial.connect_as(&hello).await?;
    let version = trial.version.min(17);
    let route = Route { session_id: peer.session_id.clone(), key: peer.server_key, version };
    Ok((peer, route))
}

/// What a proxy seals of a command.
fn rfwd(proxy: &Peer, nonce: &[u8; 24], route: &Route, forwarded: &Forwarded) -> Vec<u8> {
    let key = x25519_spki(&forwarded.public);
    let inner =
        [short(&forwarded.nonce), route.version.to_be_bytes().to_vec(), key, forwarded.sealed.clone()]
            .concat();
    [b"RFWD ", proxy.own_key.box_key(&proxy.server_key).seal(nonce, &inner).as_slice()].concat()
}

/// Forwards as a proxy; gives the answer inside: correlation id, entity, message.
async fn forward(
    proxy: &mut Peer,
    route: &Route,
    forwarded: &Forwarded,
) -> Outcome<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let nonce = random();
    let command = rfwd(proxy, &nonce, route, forwarded);
    let answer = proxy.ask_with(&nonce, Nobody, b"", &command).await.at("RFWD")?;
    let Some(sealed) = answer.strip_prefix(b"RRES ") else {
        return Err(Failure::differs("RRES", shown(&answer)));
    };
    let opened = proxy.own_key.box_key(&proxy.server_key).open(&reverse_nonce(nonce), sealed);
    let opened = opened.map_err(|_| Failure::differs("an answer for this proxy", "another box"))?;
    let mut fields = Fields::of(&opened);
    same(fields.short()?, &forwarded.nonce).at("the client's nonce")?;
    forwarded.open(fields.tail())
}

async fn forward_is(
    proxy: &mut Peer,
    route: &Route,
    key: Option<&Key>,
    (entity_id, command, expected): (&[u8], &[u8], &str),
) -> Outcome {
    let forwarded = route.command(key, entity_id, command)?;
    let (correlation_id, entity, message) = forward(proxy, route, &forwarded).await?;
    equal((correlation_id.as_slice(), entity.as_slice()), (&forwarded.nonce[..], entity_id))
        .at("ids inside")?;
    same(&message, expected.as_bytes())
}

async fn destination(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (mut proxy, route) = as_proxy(&trial).await?;
    let queue = recipient.create().await?;
    let id = queue.sender_id.as_slice();
    forward_is(&mut proxy, &route, None, (id, &send(b"hello"), "OK")).await?;
    let message = recipient.message_of(&queue, b"hello").await?;
    recipient.acknowledge(&queue, &message).await?;
    for kind in KeyKind::ALL {
        let queue = recipient.create().await?;
        let (id, key, at) = (queue.sender_id.as_slice(), Key::of(kind), format!("{kind:?}"));
        let skey = with_key("SKEY", &key);
        forward_is(&mut proxy, &route, Some(&Key::new()), (id, &skey, "ERR AUTH")).await.at(at.clone())?;
        forward_is(&mut proxy, &route, Some(&key), (id, &skey, "OK")).await.at(at.clone())?;
        let largest = [b'x'; 16_048];
        forward_is(&mut proxy, &route, Some(&key), (id, &send(&largest), "OK")).await.at(at.clone())?;
        let message = recipient.message_of(&queue, &largest).await?;
        recipient.acknowledge(&queue, &message).await?;
        forward_is(&mut proxy, &route, None, (id, &send(b"x"), "ERR AUTH")).await.at(at.clone())?;
        forward_is(&mut proxy, &route, Some(&Key::of(kind)), (id, &send(b"x"), "ERR AUTH")).await.at(at)?;
    }
    recipient.quiet().await
}

async fn destination_links(trial: Trial) -> Outcome {
    let mut owner = trial.connect().await?;
    let (mut proxy, route) = as_proxy(&trial).await?;
    let (fixed, user) = ([3; 2048], [4; 13_824]);
    let data =
        |sender_id: &[u8]| [b"LNK ", short(sender_id).as_slice(), &large(&fixed), &large(&user)].concat();
    let link = random::<24>();
    let address = owner.create_of(&Draft::address(&link, &fixed, &user)).await?;
    let forwarded = route.command(None, &link, b"LGET")?;
    same(&forward(&mut proxy, &route, &forwarded).await?.2, &data(&address.sender_id))?;
    let invitation = owner.create_of(&Draft::invitation(&fixed, &user)).await?;
    let (link, key) = (invitation.link_id.clone().unwrap_or_default(), Key::new());
    let forwarded = route.command(Some(&key), &link, &with_key("LKEY", &key))?;
    same(&forward(&mut proxy, &route, &forwarded).await?.2, &data(&invitation.sender_id))
}

async fn destination_prohibits(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (mut proxy, route) = as_proxy(&trial).await?;
    let queue = recipient.create().await?;
    let prohibited = "ERR CMD PROHIBITED";
    for command in [&b"SUB"[..], b"GET", b"OFF", b"DEL", b"QUE", b"LDEL", b"NDEL"] {
        let asked = (queue.recipient_id.as_slice(), command, prohibited);
        forward_is(&mut proxy, &route, Some(&queue.key), asked).await.at(shown(command))?;
    }
    forward_is(&mut proxy, &route, None, (b"", b"PING", prohibited)).await?;
    let draft = Draft::messaging();
    let command = draft.command(route.version);
    forward_is(&mut proxy, &route, Some(&draft.key), (b"", &command, prohibited)).await.at("NEW")?;
    recipient.quiet().await?;
    recipient.recipient(&queue, b"OFF", "OK").await.at("nothing was executed")
}

async fn destination_errors(trial: Trial) -> Outcome {
    let (mut proxy, route) = as_proxy(&trial).await?;
    let (entity, command) = (random::<24>(), send(b"x"));
    let good = route.command(None, &entity, &command)?;
    let nonce = random();
    let sealed = rfwd(&proxy, &nonce, &route, &good);
    let wrong = proxy.ask_with(&random::<24>(), Nobody, b"", &sealed).await?;
    same(&wrong, b"ERR CRYPTO").at("another nonce")?;
    let own = proxy.own_key.box_key(&proxy.server_key);
    let answer = proxy
        .ask_with(&nonce, Nobody, b"", &[b"RFWD ".as_slice(), &own.seal(&nonce, b"\xff")].concat())
        .await?;
    same(&answer, b"ERR CMD SYNTAX").at("something unreadable inside")?;
    proxy.expect(Nobody, b"", b"RFWD short", "ERR CRYPTO").await.at("no box")?;
    for (what, sealed) in [
        ("a box for another", random::<64>().to_vec()),
        ("a box of nothing", Vec::new()),
        ("a box without padding", good.secret.seal(&good.nonce, b"\xff\xff")),
    ] {
        let nonce = random();
        let bad = Forwarded { sealed, secret: good.secret.clone(), ..good };
        let command = rfwd(&proxy, &nonce, &route, &bad);
        same(&proxy.ask_with(&nonce, Nobody, b"", &command).await?, b"ERR CRYPTO").at(what)?;
    }
    let transmissions = [(); 2].map(|()| route.transmission(None, &random::<24>(), &entity, &command));
    let two = route.seal(random(), &batch(&transmissions))?;
    let nonce = random();
    let command = rfwd(&proxy, &nonce, &route, &two);
    same(&proxy.ask_with(&nonce, Nobody, b"", &command).await?, b"ERR BLOCK").at("two commands inside")?;
    proxy.quiet().await
}

async fn destination_inner_errors(trial: Trial) -> Outcome {
    let (mut proxy, route) = as_proxy(&trial).await?;
    let nobody = random::<24>();
    for (entity, command, expected) in [
        (&nobody[..], send(b"x"), "ERR AUTH"),
        (&nobody, b"LGET".to_vec(), "ERR AUTH"),
        (&nobody, b"SEND".to_vec(), "ERR CMD SYNTAX"),
        (&nobody, b"NONE".to_vec(), "ERR CMD UNKNOWN"),
        (b"", send(b"x"), "ERR CMD NO_ENTITY"),
    ] {
        forward_is(&mut proxy, &route, None, (entity, &command, expected)).await?;
    }
    for content in [&b"\x00"[..], b"\x01\x00\x02\x00\x09"] {
        let (correlation_id, entity, message) =
            forward(&mut proxy, &route, &route.seal(random(), content)?).await?;
        equal((correlation_id.len(), entity.len()), (0, 0)).at("empty ids")?;
        same(&message, b"ERR BLOCK").at(shown(content))?;
    }
    let bytes = [short(&[7; 10]), if route.version >= 16 { b"0".to_vec() } else { Vec::new() }].concat();
    let odd = [bytes, short(b"corr"), short(&nobody), b"SEND F x".to_vec()].concat();
    let forwarded = route.seal(random(), &batch(&[odd]))?;
    let (correlation_id, entity, message) = forward(&mut proxy, &route, &forwarded).await?;
    equal((correlation_id.as_slice(), entity.len()), (&b"corr"[..], 0)).at("ids of an odd authenticator")?;
    same(&message, b"ERR BLOCK").at("an odd authenticator")?;
    let transmission = route.transmission(None, b"other", &nobody, &send(b"x"));
    let forwarded = route.seal(random(), &batch(&[transmission]))?;
    let (correlation_id, _, message) = forward(&mut proxy, &route, &forwarded).await?;
    same(&correlation_id, b"other").at("the correlation id inside may be another than the nonce")?;
    same(&message, b"ERR AUTH")
}

async fn destination_versions(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (mut proxy, route) = as_proxy(&trial).await?;
    let queue = recipient.create().await?;
    let id = queue.sender_id.as_slice();
    for (version, largest) in [(8, 16_064), (10, 16_064), (11, 16_048), (15, 16_048), (17, 16_048)] {
        let route = Route { version, ..route.clone() };
        let (body, larger) = (vec![b'x'; largest], vec![b'x'; largest + 1]);
        let forwarded = route.command(None, id, &send(&body))?;
        let (_, _, message) =
            forward(&mut proxy, &route, &forwarded).await.at(format!("version {version}"))?;
        if version < 15 && message != b"OK" {
            trial.note(format!("forwarded commands of version {version} are refused"));
            continue;
        }
        same(&message, b"OK").at(format!("version {version}"))?;
        let message = recipient.message_of(&queue, &body).await?;
        recipient.acknowledge(&queue, &message).await?;
        let asked = (id, send(&larger), "ERR LARGE_MSG");
        forward_is(&mut proxy, &route, None, (asked.0, &asked.1, asked.2))
            .await
            .at(format!("version {version}"))?;
    }
    Ok(())
}

async fn destination_without_key(trial: Trial) -> Outcome {
    let hello = Hello { is_proxy: true, ..Hello::plain(trial.version) };
    let mut peer = trial.connect_as(&hello).await?;
    peer.expect(Nobody, b"", &[b"RFWD ".as_slice(), &[7; 100]].concat(), "ERR PROXY BROKER TRANSPORT NO_AUTH")
        .await
}

/// `PRXY` for a server.
fn prxy(host: &str, port: u16, key_hash: &[u8; 32], password: Option<&[u8]>) -> Vec<u8> {
    let (host, port) = (short(host.as_bytes()), short(port.to_string().as_bytes()));
    let server = [b"\x01", host.as_slice(), &port, &short(key_hash)].concat();
    [b"PRXY ", server.as_slice(), &maybe(password.map(short))].concat()
}

fn prxy_to(trial: &Trial, place: &Place) -> Vec<u8> {
    prxy(&place.address.ip().to_string(), place.address.port(), &place.key_hash, trial.observer().password())
}

/// Asks a proxy for a route, and checks what it shows of the destination.
async fn route(trial: &Trial, proxy: &mut Peer, place: &Place) -> Outcome<Route> {
    let answer = proxy.ask(Nobody, b"", &prxy_to(trial, place)).await.at("PRXY")?;
    let mut fields = Fields::after("PKEY", &answer).at("PRXY")?;
    let session_id = fields.short()?.to_vec();
    let (first, last) = (fields.u16()?, fields.u16()?);
    if first < 8 || last > 17 || first > last {
        return Err(Failure::differs("versions within 8-17", format!("{first}-{last}")));
    }
    let count = fields.take(1)?.first().copied().unwrap_or_default();
    let mut chain = Vec::new();
    for _ in 0..count {
        chain.push(fields.large()?);
    }
    let object = fields.large()?;
    fields.end()?;
    let identity = chain.get(1).map(|certificate| protocol::crypto::hash::sha256(certificate));
    equal(identity, Some(place.key_hash)).at("the identity of the destination")?;
    let leaf = chain.first().and_then(|leaf| certificate_key(leaf).ok());
    let signed = SignedKey::from_der(object).ok();
    let key = leaf.zip(signed).and_then(|(leaf, signed)| signed.verify_x25519(&leaf).ok());
    let key = key.ok_or_else(|| Failure::differs("a key that the destination signed", "another"))?;
    Ok(Route { session_id, key, version: last })
}

async fn deliver(trial: &Trial, proxy: &mut Peer, place: &Place) -> Outcome {
    let mut recipient = trial.connect_to(place).await?;
    let route = route(trial, proxy, place).await?;
    let queue = recipient.create().await?;
    let id = queue.sender_id.as_slice();
    through_is(proxy, &route, None, (id, &send(b"hello"), "OK")).await?;
    let message = recipient.message_of(&queue, b"hello").await?;
    recipient.acknowledge(&queue, &message).await?;
    for kind in KeyKind::ALL {
        let queue = recipient.create().await?;
        let (id, key, at) = (queue.sender_id.as_slice(), Key::of(kind), format!("{kind:?}"));
        through_is(proxy, &route, Some(&key), (id, &with_key("SKEY", &key), "OK")).await.at(at.clone())?;
        let largest = [b'x'; 16_048];
        through_is(proxy, &route, Some(&key), (id, &send(&largest), "OK")).await.at(at.clone())?;
        let message = recipient.message_of(&queue, &largest).await?;
        recipient.acknowledge(&queue, &message).await?;
        through_is(proxy, &route, None, (id, &send(b"x"), "ERR AUTH")).await.at(at)?;
    }
    recipient.quiet().await
}

async fn same_server(trial: Trial) -> Outcome {
    let mut proxy = trial.connect().await?;
    deliver(&trial, &mut proxy, &trial.place()).await
}

async fn second_server(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted::default()).await?;
    let second = trial.second_server(&Wanted::default()).await?;
    let mut proxy = trial.connect_to(&place).await?;
    deliver(&trial, &mut proxy, &second).await
}

async fn shared(trial: Trial) -> Outcome {
    let (mut one, mut other) = (trial.connect().await?, trial.connect().await?);
    let first = route(&trial, &mut one, &trial.place()).await?;
    let again = route(&trial, &mut one, &trial.place()).await?;
    equal(&again.session_id, &first.session_id).at("again on the same connection")?;
    let of_other = route(&trial, &mut other, &trial.place()).await?;
    equal(&of_other.session_id, &first.session_id).at("on another connection")?;
    through_is(&mut other, &first, None, (&random::<24>(), &send(b"x"), "ERR AUTH")).await
}

async fn unknown_session(trial: Trial) -> Outcome {
    let mut proxy = trial.connect().await?;
    let route = route(&trial, &mut proxy, &trial.place()).await?;
    let forwarded = route.command(None, &random::<24>(), &send(b"x"))?;
    let pfwd = route.pfwd(&forwarded);
    for id in [random::<32>().to_vec(), b"x".to_vec()] {
        proxy.expect(Nobody, &id, &pfwd, "ERR PROXY NO_SESSION").await?;
    }
    through_is(&mut proxy, &route, None, (&random::<24>(), &send(b"x"), "ERR AUTH")).await
}

async fn errors_through_proxy(trial: Trial) -> Outcome {
    let mut proxy = trial.connect().await?;
    let route = route(&trial, &mut proxy, &trial.place()).await?;
    let entity = random::<24>();
    through_is(&mut proxy, &route, Some(&Key::new()), (&entity, b"SUB", "ERR CMD PROHIBITED")).await?;
    let good = route.command(None, &entity, &send(b"x"))?;
    let other = Forwarded {
        nonce: random(),
        public: good.public,
        sealed: good.sealed.clone(),
        secret: good.secret.clone(),
    };
    let answer = proxy.ask_with(&other.nonce, Nobody, &route.session_id, &route.pfwd(&other)).await?;
    same(&answer, b"ERR PROXY PROTOCOL CRYPTO").at("a box for another nonce")?;
    let transmissions = [(); 2].map(|()| route.transmission(None, &random::<24>(), &entity, &send(b"x")));
    let two = route.seal(random(), &batch(&transmissions))?;
    let answer = proxy.ask_with(&two.nonce, Nobody, &route.session_id, &route.pfwd(&two)).await?;
    same(&answer, b"ERR PROXY PROTOCOL BLOCK").at("two commands")?;
    through_is(&mut proxy, &route, None, (&entity, &send(b"x"), "ERR AUTH")).await
}

/// More commands at once than a proxy works on at a time.
async fn in_parallel(trial: Trial) -> Outcome {
    const COUNT: u8 = 40;
    let (mut recipient, mut proxy) = (trial.connect().await?, trial.connect().await?);
    let route = route(&trial, &mut proxy, &trial.place()).await?;
    let queue = recipient.create().await?;
    let mut sent = Vec::new();
    for number in 0..COUNT {
        let forwarded = route.command(None, &queue.sender_id, &send(&[number]))?;
        let transmission =
            proxy.transmission(Nobody, &forwarded.nonce, &route.session_id, &route.pfwd(&forwarded));
        proxy.send_one(&transmission).await?;
        sent.push(forwarded);
    }
    for forwarded in &sent {
        let answer = proxy.answer(&forwarded.nonce).await?.message;
        let Some(sealed) = answer.strip_prefix(b"PRES ") else {
            return Err(Failure::differs("PRES", shown(&answer)));
        };
        same(&forwarded.open(sealed)?.2, b"OK")?;
    }
    let mut message = recipient.message(&queue).await?;
    let mut bodies = vec![message.body()?.to_vec()];
    for _ in 1..COUNT {
        let ack = crate::peer::commands::ack(&message.id);
        message = queue.open(&recipient.ask(&queue.key, &queue.recipient_id, &ack).await?)?;
        bodies.push(message.body()?.to_vec());
    }
    recipient.acknowledge(&queue, &message).await?;
    bodies.sort();
    equal(bodies, (0..COUNT).map(|number| vec![number]).collect()).at("each message once")
}

async fn password(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { password: "right-password", ..Wanted::default() }).await?;
    let mut proxy = trial.connect_to(&place).await?;
    let ask = |password: Option<&[u8]>| prxy("127.0.0.1", place.address.port(), &place.key_hash, password);
    for wrong in [None, Some(&b"wrong"[..]), Some(b""), Some(b"right-passwor"), Some(b"right-password!")] {
        proxy.expect(Nobody, b"", &ask(wrong), "ERR PROXY BASIC_AUTH").await?;
    }
    let answer = proxy.ask(Nobody, b"", &ask(Some(b"right-password"))).await?;
    if answer.starts_with(b"PKEY ") { Ok(()) } else { Err(Failure::differs("PKEY", shown(&answer))) }
}

const NETWORK: &str = "ERR PROXY BROKER NETWORK";

/// A place of this machine at which nobody listens.
async fn dead_place() -> Outcome<Place> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.map_err(|error| Failure::differs("a port", error.to_string()))?;
    Ok(Place { address, key_hash: random() })
}

async fn nobody_listens(trial: Trial) -> Outcome {
    trial.needs_spawn()?;
    let mut proxy = trial.connect().await?;
    let place = dead_place().await?;
    let ids: Vec<[u8; 24]> = (0..100).map(|_| random()).collect();
    let command = prxy_to(&trial, &place);
    let block: Vec<Vec<u8>> = ids.iter().map(|id| proxy.transmission(Nobody, id, b"", &command)).collect();
    proxy.send(&block).await?;
    for id in &ids {
        is_network(&proxy.answer(id).await?.message)?;
    }
    proxy.quiet().await.at("the server goes on")
}

/// The reference writes no details; they may follow.
fn is_network(answer: &[u8]) -> Outcome {
    if answer.starts_with(NETWORK.as_bytes()) {
        Ok(())
    } else {
        Err(Failure::differs(NETWORK, shown(answer)))
    }
}

async fn no_hosts(trial: Trial) -> Outcome {
    let mut proxy = trial.connect().await?;
    let password = trial.observer().password().map(<[u8]>::to_vec);
    for host in ["no-such-host.invalid", "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx.onion"] {
        let answer = proxy.ask(Nobody, b"", &prxy(host, 5223, &random(), password.as_deref())).await?;
        if answer == b"ERR PROXY BROKER HOST" {
            trial.quirk("a host that cannot be reached from the proxy is HOST, not NETWORK");
        } else {
            is_network(&answer).at(host)?;
        }
    }
    Ok(())
}

async fn wrong_fingerprint(trial: Trial) -> Outcome {
    let mut proxy = trial.connect().await?;
    let place = Place { key_hash: random(), ..trial.place() };
    is_network(&proxy.ask(Nobody, b"", &prxy_to(&trial, &place)).await?)
}

async fn broken_destinations(trial: Trial) -> Outcome {
    trial.needs_spawn()?;
    let mut proxy = trial.connect().await?;
    for (behaviour, expected) in [
        (Behaviour::Closes, "NETWORK"),
        (Behaviour::NoTls, "NETWORK"),
        (Behaviour::ClosesBeforeHello, "NETWORK"),
        (Behaviour::OtherSession, "TRANSPORT SESSION"),
        (Behaviour::Unreadable, "TRANSPORT HANDSHAKE PARSE"),
        (Behaviour::WrongSignature, "TRANSPORT HANDSHAKE BAD_AUTH"),
        (Behaviour::NoKey, "TRANSPORT NO_AUTH"),
        (Behaviour::Versions(1, 5), "TRANSPORT VERSION"),
        (Behaviour::Versions(100, 200), "TRANSPORT VERSION"),
        (Behaviour::Versions(6, 7), "TRANSPORT VERSION"),
    ] {
        let fake = FakeDestination::start(behaviour).await?;
        let answer = proxy.ask(Nobody, b"", &prxy_to(&trial, &fake.place)).await?;
        let expected = format!("ERR PROXY BROKER {expected}");
        if expected == NETWORK { is_network(&answer) } else { same(&answer, expected.as_bytes()) }
            .at(format!("{behaviour:?}"))?;
    }
    proxy.quiet().await
}

/// How a proxy presents itself, and which versions it passes on.
async fn versions(trial: Trial) -> Outcome {
    trial.needs_spawn()?;
    let mut proxy = trial.connect().await?;
    for (first, last, chosen, passed_on) in
        [(6, 18, 18, (8, 17)), (6, 14, 14, (8, 14)), (6, 12, 10, (8, 10)), (16, 30, 18, (16, 17))]
    {
        let at = format!("a destination of versions {first}-{last}");
        let mut fake = FakeDestination::start(Behaviour::Versions(first, last)).await?;
        let answer = proxy.ask(Nobody, b"", &prxy_to(&trial, &fake.place)).await?;
        let too_old = same(&answer, b"ERR PROXY BROKER TRANSPORT VERSION").is_ok();
        if too_old && last < 15 {
            trial.note(format!("{at} is too old for this proxy"));
            continue;
        }
        let mut fields = Fields::after("PKEY", &answer).at(at.clone())?;
        fields.short()?;
        let offered = (fields.u16()?, fields.u16()?);
        equal(offered.1, passed_on.1).at("highest version").at(at.clone())?;
        if offered.0 != passed_on.0 {
            equal((8..=15).contains(&offered.0), true).at("lowest version").at(at.clone())?;
            trial.note(format!("versions below {} are not forwarded", offered.0));
        }
        let hello = fake.hello().await?;
        let mut fields = Fields::of(&hello);
        equal(fields.u16()?, chosen).at("version of the hello").at(at.clone())?;
        same(fields.short()?, &fake.place.key_hash).at(at.clone())?;
        fields.x25519().at("session key").at(at.clone())?;
        if chosen >= 14 {
            same(fields.take(1)?, b"T").at("it says that it is a proxy").at(at.clone())?;
        }
        if chosen >= 16 {
            same(fields.take(1)?, b"0").at("it is no service").at(at)?;
        }
    }
    Ok(())
}

async fn answers(trial: Trial) -> Outcome {
    trial.needs_spawn()?;
    let mut proxy = trial.connect().await?;
    for (answer, expected) in [
        (&b"ERR CRYPTO"[..], "ERR PROXY PROTOCOL CRYPTO"),
        (b"ERR CMD SYNTAX", "ERR PROXY PROTOCOL CMD SYNTAX"),
        (b"ERR AUTH", "ERR PROXY PROTOCOL AUTH"),
        (b"OK", "ERR PROXY BROKER UNEXPECTED "),
        (b"NONSENSE", "ERR PROXY BROKER RESPONSE "),
    ] {
        let fake = FakeDestination::start(Behaviour::Answers(answer)).await?;
        let route = route(&trial, &mut proxy, &fake.place).await?;
        let forwarded = route.command(None, &random::<24>(), &send(b"x"))?;
        let pfwd = route.pfwd(&forwarded);
        let got = proxy.ask_with(&forwarded.nonce, Nobody, &route.session_id, &pfwd).await?;
        let is_so = if expected.ends_with(' ') {
            got.starts_with(expected.as_bytes())
        } else {
            got == expected.as_bytes()
        };
        if !is_so {
            return Err(Failure::differs(expected, shown(&got))).at(shown(answer));
        }
    }
    let fake = FakeDestination::start(Behaviour::ClosesOnCommand).await?;
    let route = route(&trial, &mut proxy, &fake.place).await?;
    let forwarded = route.command(None, &random::<24>(), &send(b"x"))?;
    let pfwd = route.pfwd(&forwarded);
    let got = proxy.ask_with(&forwarded.nonce, Nobody, &route.session_id, &pfwd).await?;
    let kinds: [&[u8]; 2] = [NETWORK.as_bytes(), b"ERR PROXY BROKER TIMEOUT"];
    if kinds.iter().any(|kind| got.starts_with(kind)) {
        return Ok(());
    }
    Err(Failure::differs("a broker error", shown(&got))).at("a destination that closes")
}

/// A proxy waits for a destination 45 seconds until it is connected, and 30 for an answer, unless it is wanted sooner: as
/// soon as a busy machine still connects.
async fn silent(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { proxy_timeout: 5_000, ..Wanted::default() }).await?;
    let mut proxy = trial.connect_to(&place).await?;
    for behaviour in [Behaviour::Silent, Behaviour::SilentAfterTls] {
        let fake = FakeDestination::start(behaviour).await?;
        let answer = proxy.ask(Nobody, b"", &prxy_to(&trial, &fake.place)).await?;
        is_network(&answer).at(format!("{behaviour:?}"))?;
    }
    let fake = FakeDestination::start(Behaviour::AnswersNothing).await?;
    let route = route(&trial, &mut proxy, &fake.place).await?;
    let forwarded = route.command(None, &random::<24>(), &send(b"x"))?;
    let pfwd = route.pfwd(&forwarded);
    let got = proxy.ask_with(&forwarded.nonce, Nobody, &route.session_id, &pfwd).await?;
    same(&got, b"ERR PROXY BROKER TIMEOUT").at("no answer")?;
    proxy.quiet().await
}

/// For 30 seconds a proxy answers from memory, also when the destination has come up meanwhile.
async fn remembered(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted::default()).await?;
    let home = trial.home().await?;
    let first = home.start(&Wanted::default()).await?;
    let destination = first.place;
    first.stop().await?;
    let mut proxy = trial.connect_to(&place).await?;
    is_network(&proxy.ask(Nobody, b"", &prxy_to(&trial, &destination)).await?).at("it is down")?;
    let _second = home.start(&Wanted::default()).await?;
    let answer = proxy.ask(Nobody, b"", &prxy_to(&trial, &destination)).await?;
    if answer.starts_with(b"PKEY ") {
        trial.quirk("a destination that has come up is tried at once");
        return Ok(());
    }
    is_network(&answer).at("it has come up")
}

async fn destination_restarts(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted::default()).await?;
    let home = trial.home().await?;
    let first = home.start(&Wanted::default()).await?;
    let destination = first.place;
    let mut proxy = trial.connect_to(&place).await?;
    let before = route(&trial, &mut proxy, &destination).await?;
    through_is(&mut proxy, &before, None, (&random::<24>(), &send(b"x"), "ERR AUTH")).await?;
    first.stop().await?;
    let _second = home.start(&Wanted::default()).await?;
    let forwarded = before.command(None, &random::<24>(), &send(b"x"))?;
    let pfwd = before.pfwd(&forwarded);
    let got = proxy.ask_with(&forwarded.nonce, Nobody, &before.session_id, &pfwd).await?;
    same(&got, b"ERR PROXY NO_SESSION").at("the session is over")?;
    let after = route(&trial, &mut proxy, &destination).await.at("PRXY again")?;
    equal(after.session_id == before.session_id, false).at("another session")?;
    through_is(&mut proxy, &after, None, (&random::<24>(), &send(b"x"), "ERR AUTH")).await
}
