//! `registryctl token create|list|revoke`

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use registry_wiring::{Config, TokenEntry, TokenRole, Tokens};
use serde_json::json;

use crate::confirm::Confirmation;
use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Makes a token and shows it, once. It works within seconds.
    Create {
        /// Who calls with it: the audit names them.
        name: String,
        /// Whose it is.
        #[arg(long, value_enum, default_value_t = Role::Service)]
        role: Role,
    },
    /// Lists the tokens.
    List,
    /// Stops a token, within seconds. `default` is the one that was made with the data folder.
    Revoke {
        /// The token's name.
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

pub(crate) fn perform(config: &Config, task: Task, output: Output) -> Result<()> {
    let mut tokens = match &task {
        Task::List => Tokens::open(config)?,
        Task::Create { .. } => Tokens::open_to_change(config)?,
        Task::Revoke { name, confirm } => {
            confirm
                .ask(&format!("Revoke the token `{name}`? Whoever calls with it is refused."))?;
            Tokens::open_to_change(config)?
        }
    };
    match task {
        Task::List => {}
        Task::Create { name, role } => {
            let token = tokens.create(&name, role.into())?;
            return output.fields(&[("name", json!(name)), ("token", json!(token.expose()))]);
        }
        Task::Revoke { name, .. } => tokens.revoke(&name)?,
    }
    let row = |it: &TokenEntry| {
        vec![
            json!(it.name),
            json!(it.role),
            json!(it.created_at.map(time)),
            json!(it.revoked_at.map(time)),
        ]
    };
    let rows: Vec<_> = tokens.entries().map(row).collect();
    output.table(&["name", "role", "created_at", "revoked_at"], &rows, &[])
}
