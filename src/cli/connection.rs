//! The flags and variables that say which agent a command asks, and how it proves who it is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::flags;
use crate::client::http::{HttpAddress, HttpClient, encode};
use crate::client::tls::{TlsClient, TlsSettings};

/// Longest time for one request.
const LIMIT: Duration = Duration::from_secs(60);
/// Where agents listen unless told otherwise.
const ADDRESS: &str = "127.0.0.1:8500";
/// Port of the HTTP interface of an agent of which only another port is known.
const PORT: u16 = 8500;

/// Flags of every command that asks an agent.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// File of the authorities that the agent's certificate must come from. Also
    /// `HERALD_CACERT` or `CONSUL_CACERT`. Default: those of the system.
    #[arg(long, value_name = "path", value_hint = clap::ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Directory of such files. Also `HERALD_CAPATH` or `CONSUL_CAPATH`.
    #[arg(long, value_name = "path", value_hint = clap::ValueHint::DirPath)]
    ca_path: Option<PathBuf>,
    /// File of the certificate to present. Also `HERALD_CLIENT_CERT` or `CONSUL_CLIENT_CERT`.
    #[arg(long, value_name = "path", value_hint = clap::ValueHint::FilePath)]
    client_cert: Option<PathBuf>,
    /// File of that certificate's key. Also `HERALD_CLIENT_KEY` or `CONSUL_CLIENT_KEY`.
    #[arg(long, value_name = "path", value_hint = clap::ValueHint::FilePath)]
    client_key: Option<PathBuf>,
    /// Address of the agent's HTTP interface: host:port, http://host:port, https://host:port or
    /// `unix:///path`. Also `HERALD_HTTP_ADDR` or `CONSUL_HTTP_ADDR`. Default 127.0.0.1:8500.
    #[arg(long, value_name = "address")]
    http_addr: Option<String>,
    /// Host to ask, in the form of old guides, host:8400. Its port 8500 is asked over HTTP.
    #[arg(long, value_name = "address")]
    rpc_addr: Option<String>,
    /// Name that the agent's certificate must carry. Also `HERALD_TLS_SERVER_NAME` or
    /// `CONSUL_TLS_SERVER_NAME`. Default: the host of the address.
    #[arg(long, value_name = "name")]
    tls_server_name: Option<String>,
    /// Token sent with each request. Also `HERALD_HTTP_TOKEN` or `CONSUL_HTTP_TOKEN`.
    #[arg(long, value_name = "token")]
    token: Option<String>,
    /// File that holds the token. Also `HERALD_HTTP_TOKEN_FILE` or `CONSUL_HTTP_TOKEN_FILE`.
    #[arg(long, value_name = "path", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<String>,
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
        let address = self.address()?;
        let mut client = HttpClient::new(address.clone(), self.read_token()?, LIMIT);
        if let Some(credentials) = value("HTTP_AUTH") {
            let (user, password) = credentials.split_once(':').unwrap_or((&credentials, ""));
            client = client.with_credentials(user, password);
        }
        if address.is_secure() {
            client = client.with_tls(TlsClient::new(&self.tls()?)?);
        } else if let Some(flag) = self.flag_of_tls() {
            eprintln!("{flag} has no effect: {address} is asked without TLS");
        }
        Ok(client)
    }

    fn address(&self) -> Result<HttpAddress> {
        let address = match (&self.http_addr, &self.rpc_addr) {
            (Some(_), Some(_)) => {
                bail!("Either -http-addr or -rpc-addr says whom to ask, not both.")
            }
            (Some(address), None) => address.parse()?,
            (None, Some(address)) => rpc_address(address)?,
            (None, None) => match variable("HTTP_ADDR") {
                Some((name, address)) => address.parse().context(name)?,
                None => ADDRESS.parse().context("the default address")?,
            },
        };
        Ok(if switch("HTTP_SSL")? == Some(true) {
            address.over_tls()
        } else {
            address
        })
    }

    fn tls(&self) -> Result<TlsSettings> {
        let path =
            |flag: &Option<PathBuf>, name| flag.clone().or_else(|| value(name).map(PathBuf::from));
        let (ca_file, ca_path) = match (&self.ca_file, &self.ca_path) {
            (None, None) => {
                let file = path(&None, "CACERT");
                // Of two variables the file counts, as it does for scripts that set both.
                let directory = path(&None, "CAPATH").filter(|_| file.is_none());
                (file, directory)
            }
            (file, directory) => (file.clone(), directory.clone()),
        };
        Ok(TlsSettings {
            ca_file,
            ca_path,
            client_cert: path(&self.client_cert, "CLIENT_CERT"),
            client_key: path(&self.client_key, "CLIENT_KEY"),
            server_name: self
                .tls_server_name
                .clone()
                .or_else(|| value("TLS_SERVER_NAME")),
            protocols: Vec::new(),
            skip_verify: switch("HTTP_SSL_VERIFY")? == Some(false),
        })
    }

    /// The first flag given that only TLS has a use for.
    fn flag_of_tls(&self) -> Option<&'static str> {
        let flags = [
            ("-ca-file", self.ca_file.is_some()),
            ("-ca-path", self.ca_path.is_some()),
            ("-client-cert", self.client_cert.is_some()),
            ("-client-key", self.client_key.is_some()),
            ("-tls-server-name", self.tls_server_name.is_some()),
        ];
        flags
            .iter()
            .find(|(_, given)| *given)
            .map(|(flag, _)| *flag)
    }

    fn read_token(&self) -> Result<Option<String>> {
        let file = self.token_file.clone();
        let given = self.token.clone().filter(|token| !token.is_empty());
        if given.is_some() {
            return Ok(given);
        }
        let Some(file) = file.or_else(|| value("HTTP_TOKEN_FILE")) else {
            return Ok(value("HTTP_TOKEN"));
        };
        let token = std::fs::read_to_string(&file)
            .with_context(|| format!("Error loading token file {file}"))?;
        Ok(Some(token.trim().to_owned()))
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

/// The HTTP interface of the host whose RPC interface old guides name; says so.
fn rpc_address(text: &str) -> Result<HttpAddress> {
    let named: HttpAddress = text
        .parse()
        .ok()
        .with_context(|| format!("-rpc-addr {text:?} is not of the form host:port"))?;
    let (host, _) = named
        .host_and_port()
        .with_context(|| format!("-rpc-addr {text:?} is not of the form host:port"))?;
    let address = HttpAddress::plain(host, PORT)?;
    eprintln!(
        "-rpc-addr={text}: there is no RPC interface for commands any more; asking {address} over \
         HTTP. -http-addr={address} says the same without this notice."
    );
    Ok(address)
}

/// herald's own variable, else the one that existing scripts set, with its name; an empty one is
/// not set.
fn variable(name: &str) -> Option<(String, String)> {
    ["HERALD_", "CONSUL_"]
        .iter()
        .map(|prefix| format!("{prefix}{name}"))
        .filter_map(|name| std::env::var(&name).ok().map(|value| (name, value)))
        .find(|(_, value)| !value.is_empty())
}

fn value(name: &str) -> Option<String> {
    variable(name).map(|(_, value)| value)
}

/// A variable that is true or false.
fn switch(name: &str) -> Result<Option<bool>> {
    let Some((name, value)) = variable(name) else {
        return Ok(None);
    };
    match flags::truth(&value) {
        Some(truth) => Ok(Some(truth)),
        None => bail!("{name}: {value:?} is neither true nor false"),
    }
}
