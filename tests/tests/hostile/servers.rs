//! Servers that are not who they say they are.

use std::path::Path;

use e2e::binaries::tested;
use e2e::stage::{GROUP, Stage, has};
use e2e::world::{Server, World, event, text};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    PKCS_ED25519,
};

/// The exit code for a server that is another one than its address names.
const SERVER_IDENTITY: i32 = 9;

#[test]
fn another_server_on_the_same_port_gets_nothing_and_nothing_is_lost() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let address = stage.servers[0].address().to_owned();
    let late = stage.world.person("Late", &[&stage.servers[0]])?;
    stage.servers[0].kill()?;
    let mut impostor = stage.world.server_at("impostor", stage.servers[0].port())?;
    assert_ne!(impostor.address(), address, "it has keys of its own");

    assert_eq!(stage.owner.run(&["server", "test", &address])?.code, SERVER_IDENTITY);
    let refused = late.run(&["join", &stage.link, "--timeout", "60"])?;
    assert_eq!(refused.code, SERVER_IDENTITY, "{}", refused.talk);
    assert!(refused.talk.contains("not the one that its address names"), "{}", refused.talk);

    // Who listens is told, and what is sent meanwhile waits.
    stage.listening[0].wait_for("word of the impostor", |line| {
        let told = event(line, "network")?;
        told["reason"].as_str().filter(|reason| reason.contains("not the one that its address names"))?;
        Some(())
    })?;
    let sent = stage.owner.run(&["send", GROUP, "for your eyes only", "--timeout", "2"])?;
    assert_eq!(sent.code, SERVER_IDENTITY, "{}", sent.talk);
    assert_eq!(sent.of_type("waiting").count(), 1, "{}", sent.talk);

    // The same for a command that does its work alone.
    stage.listening[0].kill()?;
    let sent = stage.owner.run(&["send", GROUP, "for yours too", "--timeout", "15"])?;
    assert_eq!(sent.code, SERVER_IDENTITY, "{}", sent.talk);

    impostor.kill()?;
    stage.servers[0].start(&[])?;
    stage.listening[0] = stage.owner.listen()?;
    has(stage.member(0)?, &["for your eyes only", "for yours too"])
}

/// A certificate authority.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

fn named(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "SimpleX");
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params
}

impl Authority {
    fn new(name: &str) -> anyhow::Result<Self> {
        let (params, key) = (named(name, true), KeyPair::generate_for(&PKCS_ED25519)?);
        let certificate = params.self_signed(&key)?;
        Ok(Self { params, key, certificate })
    }

    /// An authority under this one.
    fn delegate(&self, name: &str) -> anyhow::Result<Self> {
        let (params, key) = (named(name, true), KeyPair::generate_for(&PKCS_ED25519)?);
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok(Self { params, key, certificate })
    }

    /// A server's certificate and key, as PEM.
    fn leaf(&self) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let leaf =
            named("127.0.0.1", false).signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok((leaf.pem(), key.serialize_pem()))
    }
}

/// Has a server show this chain.
fn show(server: &mut Server, chain: &[&str], key: &str) -> anyhow::Result<()> {
    server.kill()?;
    let files: [(&str, &str); 2] = [("shown.crt", &chain.concat()), ("shown.key", key)];
    for (name, pem) in files {
        std::fs::write(server.directory.join(name), pem)?;
    }
    server.start(&[("SMP_SERVER_CERTIFICATE_CHAIN", "shown.crt"), ("SMP_SERVER_PRIVATE_KEY", "shown.key")])
}

#[test]
fn a_chain_around_somebody_elses_identity_certificate_is_refused() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let mut genuine = world.server("genuine")?;
    let (address, identity) = (genuine.address().to_owned(), identity_of(&genuine.directory)?);
    let person = world.person("Ann", &[&genuine])?;
    person.ok(&["server", "test", &address])?;
    genuine.kill()?;

    // Anybody has the identity certificate: the server shows it. An attacker puts it between a leaf and a root of
    // their own, so that its hash is the one in the address and a path leads from the leaf to the last certificate.
    let mut impostor = world.server_at("impostor", genuine.port())?;
    for root in [Authority::new("Attacker")?, Authority::new("SMP server CA")?] {
        let (leaf, key) = root.leaf()?;
        let root = root.certificate.pem();
        for chain in [
            vec![leaf.as_str(), &identity],
            vec![&leaf, &identity, &root],
            vec![&leaf, &identity, &identity, &root],
        ] {
            show(&mut impostor, &chain, &key)?;
            assert_eq!(impostor.address(), address, "it claims to be the genuine server");
            let tested = person.run(&["server", "test", &address])?;
            assert_eq!(tested.code, SERVER_IDENTITY, "{} certificates: {}", chain.len(), tested.talk);
        }
    }

    // A chain of three whose leaf the identity has signed is as good as one of two.
    let operator = Authority::new("Operator")?;
    let own = operator.delegate("A server of the operator")?;
    let (leaf, key) = own.leaf()?;
    show(&mut impostor, &[&leaf, &own.certificate.pem(), &operator.certificate.pem()], &key)?;
    let answer = person.ok(&["server", "test", impostor.address()])?;
    assert!(text(answer.of_type("check").next().expect("a check"), "detail")?.contains("reached"));
    Ok(())
}

fn identity_of(directory: &Path) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(directory.join("ca.crt"))?)
}
