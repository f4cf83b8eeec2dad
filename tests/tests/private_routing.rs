//! Who connects to which server: a SOCKS proxy sees all connections of a person.

use std::collections::BTreeSet;

use e2e::binaries::tested;
use e2e::socks::Socks;
use e2e::stage::{GROUP, connected, has};
use e2e::world::{Person, Server, World};

/// A person whose every connection the SOCKS proxy sees.
fn watched(world: &World, name: &str, server: &Server, socks: &Socks, proxy: &str) -> anyhow::Result<Person> {
    let person = world.person(name, &[server])?;
    let socks = socks.address();
    person.ok(&["network", "--proxy", proxy, "--direct-fallback", "off", "--socks", &socks])?;
    Ok(person)
}

#[test]
fn a_server_that_is_not_the_senders_never_sees_the_sender() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let (own, other) = (world.server("own")?, world.server("other")?);
    let mut relay = world.relay("relay-1", &other)?;

    // Olga and Ann have their queues on one server, the relay on another; what they send goes through their own.
    let (olgas, anns) = (Socks::start()?, Socks::start()?);
    let owner = watched(&world, "Olga", &own, &olgas, "unknown")?;
    owner.ok(&["relay", "add", "relay-1", relay.link()])?;
    let _owner_listens = owner.listen()?;
    owner.ok(&["group", "create", GROUP, "--joiner-role", "member", "--timeout", "60"])?;
    let link = owner.group_link(GROUP)?;

    let member = watched(&world, "Ann", &own, &anns, "always")?;
    // Always means the member's own server, too, and that needs another one to go through.
    member.ok(&["network", "--direct-fallback", "on"])?;
    let member_listens = member.listen()?;
    member.ok(&["join", &link, "--timeout", "60"])?;
    connected(&member, 1)?;
    relay.finds_itself_listed()?;

    owner.ok(&["send", GROUP, "through another server", "--timeout", "60"])?;
    has(&member, &["through another server"])?;
    member.ok(&["send", GROUP, "and back", "--timeout", "60"])?;
    for person in [&owner, &member] {
        has(person, &["through another server", "and back"])?;
    }
    for socks in [&olgas, &anns] {
        assert_eq!(socks.ports(), BTreeSet::from([own.port()]), "only the own server saw a connection");
        assert!(socks.asked().iter().all(|asked| !asked.circuit.is_empty()), "circuits are kept apart");
    }

    // A server that is tried is reached by the same way out.
    owner.ok(&["server", "test", other.address()])?;
    assert_eq!(olgas.ports(), BTreeSet::from([own.port(), other.port()]));

    // Without the proxy the same member connects to the relay's server itself.
    drop(member_listens);
    member.ok(&["network", "--proxy", "never"])?;
    member.ok(&["send", GROUP, "directly", "--timeout", "60"])?;
    has(&owner, &["through another server", "and back", "directly"])?;
    assert_eq!(anns.ports(), BTreeSet::from([own.port(), other.port()]));
    Ok(())
}
