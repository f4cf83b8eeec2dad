//! One file per command: what it takes, what it teaches, and the request it becomes.

use clap::Subcommand;

use crate::cli::{Cli, Command};
use crate::error::CommandError;
use crate::output::Output;
use crate::request::Request;
use crate::session::Session;

pub(crate) mod accept;
pub(crate) mod block;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod edit;
pub(crate) mod evidence;
pub(crate) mod export;
pub(crate) mod flush;
pub(crate) mod group_create;
pub(crate) mod group_delete;
pub(crate) mod group_entrance;
pub(crate) mod group_link;
pub(crate) mod group_list;
pub(crate) mod group_profile;
pub(crate) mod group_relay_add;
pub(crate) mod group_relay_remove;
pub(crate) mod group_relays;
pub(crate) mod group_restore;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod join;
pub(crate) mod knocks;
pub(crate) mod leave;
pub(crate) mod listen;
pub(crate) mod members;
pub(crate) mod network;
pub(crate) mod react;
pub(crate) mod read;
pub(crate) mod reject;
pub(crate) mod relay_add;
pub(crate) mod relay_list;
pub(crate) mod relay_remove;
pub(crate) mod relay_test;
pub(crate) mod remove;
pub(crate) mod reply;
pub(crate) mod role;
pub(crate) mod send;
pub(crate) mod server_add;
pub(crate) mod server_list;
pub(crate) mod server_remove;
pub(crate) mod server_test;
pub(crate) mod unblock;

/// `conclave server …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    Add(server_add::ServerAddArgs),
    List(server_list::ServerListArgs),
    Test(server_test::ServerTestArgs),
    Remove(server_remove::ServerRemoveArgs),
}

/// `conclave relay …`
#[derive(Debug, Subcommand)]
pub(crate) enum RelayCommand {
    Add(relay_add::RelayAddArgs),
    List(relay_list::RelayListArgs),
    Test(relay_test::RelayTestArgs),
    Remove(relay_remove::RelayRemoveArgs),
}

/// `conclave group …`
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    Create(group_create::GroupCreateArgs),
    List(group_list::GroupListArgs),
    Profile(group_profile::GroupProfileArgs),
    Entrance(group_entrance::GroupEntranceArgs),
    Link(group_link::GroupLinkArgs),
    Relays(group_relays::GroupRelaysArgs),
    /// Add or remove a relay of a group.
    #[command(subcommand)]
    Relay(GroupRelayCommand),
    Restore(group_restore::GroupRestoreArgs),
    Delete(group_delete::GroupDeleteArgs),
}

/// `conclave group relay …`
#[derive(Debug, Subcommand)]
pub(crate) enum GroupRelayCommand {
    Add(group_relay_add::GroupRelayAddArgs),
    Remove(group_relay_remove::GroupRelayRemoveArgs),
}

/// Arguments that become a request as they stand.
pub(crate) trait IntoRequest {
    /// The request.
    ///
    /// # Errors
    /// When the arguments cannot be used: an unreadable file, an empty text.
    fn request(self) -> Result<Request, CommandError>;
}

/// Runs the command.
///
/// # Errors
/// Whatever the command ends with.
pub(crate) fn run(cli: Cli) -> Result<(), CommandError> {
    let output = Output::new(cli.global.json);
    let session = Session::new(&cli.global, output)?;
    match cli.command {
        Command::Init(args) => args.run(&session),
        Command::Import(args) => args.run(&session),
        Command::Export(args) => args.run(&session),
        Command::Doctor(args) => args.run(&session),
        Command::Listen(args) => args.run(&session),
        Command::Join(args) => args.run(&session),
        Command::Server(ServerCommand::Test(args)) => args.run(&session),
        Command::Group(GroupCommand::Link(args)) => args.run(&session),
        command => {
            let request = request(command)?;
            let if_nothing = said_of_nothing(&request);
            let mut shown = false;
            session.ask_with(request, |event| {
                shown = true;
                output.event(event)
            })?;
            if let (false, Some(text)) = (shown, if_nothing) {
                output.talk(text);
            }
            Ok(())
        }
    }
}

/// What a person is told when a list is empty.
fn said_of_nothing(request: &Request) -> Option<&'static str> {
    match request {
        Request::ServerList => Some("No server is kept yet. Keep one with `conclave server add ADDRESS`."),
        Request::RelayList => Some("No relay is kept yet. Keep one with `conclave relay add NAME LINK`."),
        Request::GroupList => {
            Some("No group yet. Make one with `conclave group create`, or join one with `conclave join`.")
        }
        Request::Knocks { .. } => Some("Nobody waits to be let in."),
        Request::Evidence { .. } => Some("Nothing is kept against relays of this group."),
        Request::GroupRelays { .. } => Some("No relay yet. Add one with `conclave group relay add`."),
        _ => None,
    }
}

fn request(command: Command) -> Result<Request, CommandError> {
    match command {
        Command::Server(ServerCommand::Add(args)) => args.request(),
        Command::Server(ServerCommand::List(args)) => args.request(),
        Command::Server(ServerCommand::Remove(args)) => args.request(),
        Command::Network(args) => args.request(),
        Command::Relay(RelayCommand::Add(args)) => args.request(),
        Command::Relay(RelayCommand::List(args)) => args.request(),
        Command::Relay(RelayCommand::Remove(args)) => args.request(),
        Command::Relay(RelayCommand::Test(args)) => args.request(),
        Command::Group(GroupCommand::Create(args)) => args.request(),
        Command::Group(GroupCommand::List(args)) => args.request(),
        Command::Group(GroupCommand::Profile(args)) => args.request(),
        Command::Group(GroupCommand::Entrance(args)) => args.request(),
        Command::Group(GroupCommand::Relays(args)) => args.request(),
        Command::Group(GroupCommand::Relay(GroupRelayCommand::Add(args))) => args.request(),
        Command::Group(GroupCommand::Relay(GroupRelayCommand::Remove(args))) => args.request(),
        Command::Group(GroupCommand::Restore(args)) => args.request(),
        Command::Group(GroupCommand::Delete(args)) => args.request(),
        Command::Send(args) => args.request(),
        Command::History(args) => args.request(),
        Command::Read(args) => args.request(),
        Command::Members(args) => args.request(),
        Command::Knocks(args) => args.request(),
        Command::Accept(args) => args.request(),
        Command::Reject(args) => args.request(),
        Command::Evidence(args) => args.request(),
        Command::Role(args) => args.request(),
        Command::Remove(args) => args.request(),
        Command::Block(args) => args.request(),
        Command::Unblock(args) => args.request(),
        Command::Leave(args) => args.request(),
        Command::Edit(args) => args.request(),
        Command::Delete(args) => args.request(),
        Command::React(args) => args.request(),
        Command::Reply(args) => args.request(),
        Command::Flush(args) => args.request(),
        Command::Init(_)
        | Command::Import(_)
        | Command::Export(_)
        | Command::Doctor(_)
        | Command::Listen(_)
        | Command::Join(_)
        | Command::Server(ServerCommand::Test(_))
        | Command::Group(GroupCommand::Link(_)) => unreachable!("`run` keeps these to itself"),
    }
}
