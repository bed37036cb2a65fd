//! The flags and variables that say which agent a command asks.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::client::http::{HttpAddress, HttpClient, encode};

/// Longest time for one request.
const LIMIT: Duration = Duration::from_secs(60);
/// Where agents listen unless told otherwise.
const ADDRESS: &str = "127.0.0.1:8500";

/// Flags of every command that asks an agent.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// Address of the agent's HTTP interface, host:port or http://host:port. Also
    /// `HERALD_HTTP_ADDR` or `CONSUL_HTTP_ADDR`. Default 127.0.0.1:8500.
    #[arg(long, value_name = "address")]
    http_addr: Option<String>,
    /// Token sent with each request. Also `HERALD_HTTP_TOKEN` or `CONSUL_HTTP_TOKEN`.
    #[arg(long, value_name = "token")]
    token: Option<String>,
    /// File that holds the token. Also `HERALD_HTTP_TOKEN_FILE` or `CONSUL_HTTP_TOKEN_FILE`.
    #[arg(long, value_name = "path")]
    token_file: Option<String>,
    /// Not supported yet.
    #[arg(long, hide = true)]
    ca_file: Option<String>,
    /// Not supported yet.
    #[arg(long, hide = true)]
    ca_path: Option<String>,
    /// Not supported yet.
    #[arg(long, hide = true)]
    client_cert: Option<String>,
    /// Not supported yet.
    #[arg(long, hide = true)]
    client_key: Option<String>,
    /// Not supported yet.
    #[arg(long, hide = true)]
    tls_server_name: Option<String>,
}

/// Flags of commands that read shared state.
#[derive(Debug, clap::Args)]
pub(super) struct ServerRead {
    /// Datacenter to ask; default is the agent's own.
    #[arg(long, value_name = "name")]
    datacenter: Option<String>,
    /// Let any server answer, not only the leader.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    stale: bool,
}

impl Connection {
    /// A client of the agent that flags, then variables, then the default name.
    pub(super) fn client(&self) -> Result<HttpClient> {
        self.refuse_tls()?;
        let address = self
            .http_addr
            .clone()
            .or_else(|| variable("HTTP_ADDR"))
            .unwrap_or_else(|| ADDRESS.to_owned());
        let address: HttpAddress = address.parse()?;
        Ok(HttpClient::new(address, self.read_token()?, LIMIT))
    }

    fn read_token(&self) -> Result<Option<String>> {
        let file = self.token_file.clone();
        let given = self.token.clone().filter(|token| !token.is_empty());
        if given.is_some() {
            return Ok(given);
        }
        let Some(file) = file.or_else(|| variable("HTTP_TOKEN_FILE")) else {
            return Ok(variable("HTTP_TOKEN"));
        };
        let token = std::fs::read_to_string(&file)
            .with_context(|| format!("Error loading token file {file}"))?;
        Ok(Some(token.trim().to_owned()))
    }

    /// Refuses what would be sent in the clear although the operator asked for protection.
    fn refuse_tls(&self) -> Result<()> {
        let flags = [
            ("-ca-file", &self.ca_file),
            ("-ca-path", &self.ca_path),
            ("-client-cert", &self.client_cert),
            ("-client-key", &self.client_key),
            ("-tls-server-name", &self.tls_server_name),
        ];
        if let Some((flag, _)) = flags.iter().find(|(_, value)| value.is_some()) {
            bail!("{flag}: TLS is not supported yet");
        }
        let asked = variable("HTTP_SSL").is_some_and(|value| {
            !matches!(value.to_ascii_lowercase().as_str(), "0" | "f" | "false")
        });
        if asked {
            bail!("CONSUL_HTTP_SSL: TLS is not supported yet");
        }
        if variable("HTTP_AUTH").is_some() {
            bail!("CONSUL_HTTP_AUTH: basic authentication is not supported yet");
        }
        Ok(())
    }
}

impl ServerRead {
    /// What these flags add to a query string.
    pub(super) fn parameters(&self) -> Vec<String> {
        let datacenter = self.datacenter.iter();
        datacenter
            .map(|name| format!("dc={}", encode(name)))
            .chain(self.stale.then(|| "stale=".to_owned()))
            .collect()
    }
}

/// `path` with a query string, if there are parameters.
pub(super) fn with_query(path: &str, parameters: &[String]) -> String {
    match parameters {
        [] => path.to_owned(),
        parameters => format!("{path}?{}", parameters.join("&")),
    }
}

/// herald's own variable, else the one that existing scripts set; an empty one is not set.
fn variable(name: &str) -> Option<String> {
    ["HERALD_", "CONSUL_"]
        .iter()
        .filter_map(|prefix| std::env::var(format!("{prefix}{name}")).ok())
        .find(|value| !value.is_empty())
}
