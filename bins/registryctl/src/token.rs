//! `registryctl token create|list|revoke`

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use registry_wiring::{Config, TokenEntry, TokenRole, Tokens};
use serde_json::json;

use crate::confirm::Confirmation;
use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Creates a token and prints it once: it is accepted within 2 seconds.
    Create {
        /// Name of the token, which the audit shows: 1 to 64 letters, digits and `-_.@`, not
        /// beginning with `-`.
        name: String,
        /// Holder of the token: a service, or an operator, who can also sign in at the console.
        #[arg(long, value_enum, default_value_t = Role::Service)]
        role: Role,
    },
    /// Lists the tokens, revoked ones included.
    List,
    /// Revokes a token: it is refused within 2 seconds.
    ///
    /// `default` is the name of the token that was created with the data folder.
    Revoke {
        /// Name of the token.
        name: String,
        #[command(flatten)]
        confirm: Confirmation,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    Service,
    Operator,
}

impl From<Role> for TokenRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Service => Self::Service,
            Role::Operator => Self::Operator,
        }
    }
}

pub(crate) fn run(config: &Config, command: Command, output: Output) -> Result<()> {
    let mut tokens = match &command {
        Command::List => Tokens::open(config)?,
        Command::Create { .. } => Tokens::open_to_change(config)?,
        Command::Revoke { name, confirm } => {
            confirm.ask(&format!("Revoke token `{name}`? Requests with it are refused."))?;
            Tokens::open_to_change(config)?
        }
    };
    match command {
        Command::List => {}
        Command::Create { name, role } => {
            let token = tokens.create(&name, role.into())?;
            return output.fields(&[("name", json!(name)), ("token", json!(token.expose()))]);
        }
        Command::Revoke { name, .. } => tokens.revoke(&name)?,
    }
    let row = |token: &TokenEntry| {
        vec![
            json!(token.name),
            json!(token.role),
            json!(token.created_at.map(time)),
            json!(token.revoked_at.map(time)),
        ]
    };
    let rows: Vec<_> = tokens.entries().map(row).collect();
    output.table(&["name", "role", "created_at", "revoked_at"], &rows, &[])
}
