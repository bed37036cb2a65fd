//! The flags of `herald agent`, and the keys of configuration files that they stand for.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::config::{Format, Setting, SettingValue};

/// Runs an agent until it is interrupted: registration over HTTP, answers over DNS.
#[derive(Debug, clap::Parser)]
pub(in crate::cli) struct Options {
    /// Address to advertise to others, or a template. Default: the one bound to.
    #[arg(long, value_name = "address")]
    advertise: Option<String>,
    /// Address to advertise to other datacenters, or a template. Default: that of `-advertise`.
    #[arg(long, value_name = "address")]
    advertise_wan: Option<String>,
    /// A second domain with the same content.
    #[arg(long, value_name = "domain")]
    alt_domain: Option<String>,
    /// Address for traffic between agents, or a template: `{{ GetInterfaceIP "eth0" }}`. Also
    /// `HERALD_BIND_INTERFACE` or `CONSUL_BIND_INTERFACE`: the name of an interface.
    #[arg(long, value_name = "address")]
    bind: Option<String>,
    /// Start a cluster with this server as its first.
    #[arg(long, num_args = 0..=1)]
    bootstrap: Option<bool>,
    /// Servers to wait for before a cluster starts; the same on all of them.
    #[arg(long, value_name = "count")]
    bootstrap_expect: Option<i64>,
    /// Addresses for HTTP and DNS, with blanks between them, or templates. Also
    /// `HERALD_CLIENT_INTERFACE` or `CONSUL_CLIENT_INTERFACE`: the name of an interface.
    #[arg(long, value_name = "addresses")]
    client: Option<String>,
    /// Most octets of a check's output that are kept. Default 4096.
    #[arg(long = "check_output_max_size", value_name = "octets")]
    check_output_max_size: Option<i64>,
    /// Directory whose .json and .hcl files are read in name order; may be repeated.
    #[arg(long, value_name = "path")]
    pub(super) config_dir: Vec<PathBuf>,
    /// JSON or HCL file to read; may be repeated.
    #[arg(long, value_name = "path")]
    pub(super) config_file: Vec<PathBuf>,
    /// Language of all configuration files, whatever their names: hcl or json.
    #[arg(long, value_name = "language")]
    pub(super) config_format: Option<Format>,
    /// Directory for what must survive a restart.
    #[arg(long, value_name = "path")]
    data_dir: Option<String>,
    /// Name of the datacenter. Default dc1.
    #[arg(long, value_name = "name")]
    datacenter: Option<String>,
    /// How long a blocking read waits that names no time. Default 300s.
    #[arg(long, value_name = "duration")]
    default_query_time: Option<String>,
    /// Development mode: one server in memory on 127.0.0.1.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    pub(super) dev: bool,
    /// Keep the keys of gossip in memory only, not in files of `-data-dir`.
    #[arg(long, num_args = 0..=1)]
    disable_keyring_file: Option<bool>,
    /// Port for DNS; -1 is off, 0 lets the system choose. Default 8600.
    #[arg(long, value_name = "port")]
    dns_port: Option<i64>,
    /// Domain to answer for. Default consul.
    #[arg(long, value_name = "domain")]
    domain: Option<String>,
    /// Let checks from this agent's own files start programs.
    #[arg(long, num_args = 0..=1)]
    enable_local_script_checks: Option<bool>,
    /// Let checks start programs, also those that are registered over HTTP.
    #[arg(long, num_args = 0..=1)]
    enable_script_checks: Option<bool>,
    /// Key for gossip, in base64 as `herald keygen` makes it. Where `-data-dir` has keys already,
    /// those count.
    #[arg(long, value_name = "key")]
    encrypt: Option<String>,
    /// A piece of configuration in HCL, which wins over all else; may be repeated.
    #[arg(long, value_name = "text")]
    pub(super) hcl: Vec<String>,
    /// Port for HTTP; -1 is off, 0 lets the system choose. Default 8500.
    #[arg(long, value_name = "port")]
    http_port: Option<i64>,
    /// Agent to join at the start: name or address, with an optional port; may be repeated. The
    /// start fails if none of them is reached.
    #[arg(long, value_name = "address")]
    join: Vec<String>,
    /// The same for a server of another datacenter.
    #[arg(long, value_name = "address")]
    join_wan: Vec<String>,
    /// Log as JSON.
    #[arg(long, num_args = 0..=1)]
    log_json: Option<bool>,
    /// How much to log: trace, debug, info, warn or error.
    #[arg(long, value_name = "level")]
    log_level: Option<String>,
    /// How long a blocking read may wait. Default 600s.
    #[arg(long, value_name = "duration")]
    max_query_time: Option<String>,
    /// Name of this node. Default: the host's name.
    #[arg(long, value_name = "name")]
    node: Option<String>,
    /// Id of this node, a UUID. Default: a new one.
    #[arg(long, value_name = "uuid")]
    node_id: Option<String>,
    /// Metadata of this node; may be repeated.
    #[arg(long, value_name = "key:value")]
    node_meta: Vec<String>,
    /// File for the process id.
    #[arg(long, value_name = "path")]
    pid_file: Option<String>,
    /// Version of the gossip protocol: 2 or 3, which are the same here.
    #[arg(long, value_name = "version")]
    protocol: Option<i64>,
    /// Version of the servers' own protocol: 3.
    #[arg(long, value_name = "version")]
    raft_protocol: Option<i64>,
    /// Join the members that were known before, although this agent had left.
    #[arg(long, num_args = 0..=1)]
    rejoin: Option<bool>,
    /// Time between two attempts of `-retry-join`. Default 30s.
    #[arg(long, value_name = "duration")]
    retry_interval: Option<String>,
    /// Time between two attempts of `-retry-join-wan`. Default 30s.
    #[arg(long, value_name = "duration")]
    retry_interval_wan: Option<String>,
    /// Agent to join, tried again until one is reached: name or address, with an optional port; may
    /// be repeated.
    #[arg(long, value_name = "address")]
    retry_join: Vec<String>,
    /// The same for a server of another datacenter.
    #[arg(long, value_name = "address")]
    retry_join_wan: Vec<String>,
    /// Attempts of `-retry-join` after which the agent stops; 0 is no bound. Default 0.
    #[arg(long, value_name = "count")]
    retry_max: Option<i64>,
    /// Attempts of `-retry-join-wan` after which the agent stops; 0 is no bound. Default 0.
    #[arg(long, value_name = "count")]
    retry_max_wan: Option<i64>,
    /// Network segment; there is only the default one.
    #[arg(long, value_name = "name")]
    segment: Option<String>,
    /// Network whose agents may be in the pool of the datacenter, as in 10.0.0.0/8; may be
    /// repeated. Default: all.
    #[arg(long, value_name = "network")]
    serf_lan_allowed_cidrs: Vec<String>,
    /// Address for gossip within the datacenter, or a template. Default: that of `-bind`.
    #[arg(long, value_name = "address")]
    serf_lan_bind: Option<String>,
    /// Port for gossip within the datacenter. Default 8301.
    #[arg(long, value_name = "port")]
    serf_lan_port: Option<i64>,
    /// Network whose servers may be in the pool of all datacenters, as in 10.0.0.0/8; may be
    /// repeated. Default: all.
    #[arg(long, value_name = "network")]
    serf_wan_allowed_cidrs: Vec<String>,
    /// Address for gossip between datacenters, or a template. Default: that of `-bind`.
    #[arg(long, value_name = "address")]
    serf_wan_bind: Option<String>,
    /// Port for gossip between datacenters; -1 is off. Default 8302.
    #[arg(long, value_name = "port")]
    serf_wan_port: Option<i64>,
    /// Run as a server.
    #[arg(long, num_args = 0..=1)]
    server: Option<bool>,
    /// Port of the servers' own protocol. Default 8300.
    #[arg(long, value_name = "port")]
    server_port: Option<i64>,
    /// Serve the page for people at /ui/.
    #[arg(long, num_args = 0..=1)]
    ui: Option<bool>,
}

impl Options {
    /// Those that stand for a key of the files.
    ///
    /// # Errors
    /// One is not of its form.
    pub(super) fn settings(mut self) -> Result<Vec<Setting>> {
        let items = self.items();
        let pairs = std::mem::take(&mut self.node_meta);
        let pairs = pairs.iter().map(|pair| {
            let (key, value) = pair
                .split_once(':')
                .with_context(|| format!("-node-meta {pair:?} is not of the form key:value"))?;
            let value = SettingValue::Pair(key.to_owned(), value.to_owned());
            Ok(setting("node-meta", "node_meta", value))
        });
        let pairs: Vec<Setting> = pairs.collect::<Result<_>>()?;
        let (numbers, booleans) = (self.numbers(), self.booleans());
        let settings = [self.texts(), numbers, booleans, items, pairs];
        Ok(settings.into_iter().flatten().collect())
    }

    fn texts(self) -> Vec<Setting> {
        let texts = [
            ("advertise", "advertise_addr", self.advertise),
            ("advertise-wan", "advertise_addr_wan", self.advertise_wan),
            ("alt-domain", "alt_domain", self.alt_domain),
            ("bind", "bind_addr", self.bind),
            ("client", "client_addr", self.client),
            ("data-dir", "data_dir", self.data_dir),
            ("datacenter", "datacenter", self.datacenter),
            (
                "default-query-time",
                "default_query_time",
                self.default_query_time,
            ),
            ("domain", "domain", self.domain),
            ("encrypt", "encrypt", self.encrypt),
            ("log-level", "log_level", self.log_level),
            ("max-query-time", "max_query_time", self.max_query_time),
            ("node", "node_name", self.node),
            ("node-id", "node_id", self.node_id),
            ("pid-file", "pid_file", self.pid_file),
            ("retry-interval", "retry_interval", self.retry_interval),
            (
                "retry-interval-wan",
                "retry_interval_wan",
                self.retry_interval_wan,
            ),
            ("segment", "segment", self.segment),
            ("serf-lan-bind", "serf_lan", self.serf_lan_bind),
            ("serf-wan-bind", "serf_wan", self.serf_wan_bind),
        ];
        let given = texts.into_iter();
        given
            .filter_map(|(flag, key, value)| Some(setting(flag, key, SettingValue::Text(value?))))
            .collect()
    }

    fn numbers(&self) -> Vec<Setting> {
        let numbers = [
            (
                "bootstrap-expect",
                "bootstrap_expect",
                self.bootstrap_expect,
            ),
            (
                "check_output_max_size",
                "check_output_max_size",
                self.check_output_max_size,
            ),
            ("dns-port", "ports.dns", self.dns_port),
            ("http-port", "ports.http", self.http_port),
            ("protocol", "protocol", self.protocol),
            ("raft-protocol", "raft_protocol", self.raft_protocol),
            ("retry-max", "retry_max", self.retry_max),
            ("retry-max-wan", "retry_max_wan", self.retry_max_wan),
            ("serf-lan-port", "ports.serf_lan", self.serf_lan_port),
            ("serf-wan-port", "ports.serf_wan", self.serf_wan_port),
            ("server-port", "ports.server", self.server_port),
        ];
        let given = numbers.into_iter();
        given
            .filter_map(|(flag, key, value)| Some(setting(flag, key, SettingValue::Number(value?))))
            .collect()
    }

    fn booleans(&self) -> Vec<Setting> {
        let booleans = [
            ("bootstrap", "bootstrap", self.bootstrap),
            (
                "disable-keyring-file",
                "disable_keyring_file",
                self.disable_keyring_file,
            ),
            (
                "enable-local-script-checks",
                "enable_local_script_checks",
                self.enable_local_script_checks,
            ),
            (
                "enable-script-checks",
                "enable_script_checks",
                self.enable_script_checks,
            ),
            ("log-json", "log_json", self.log_json),
            ("rejoin", "rejoin_after_leave", self.rejoin),
            ("server", "server", self.server),
            ("ui", "ui", self.ui),
        ];
        let given = booleans.into_iter();
        given
            .filter_map(|(flag, key, value)| {
                Some(setting(flag, key, SettingValue::Boolean(value?)))
            })
            .collect()
    }

    /// Flags that add to a list, each time that they are given.
    fn items(&mut self) -> Vec<Setting> {
        let lists = [
            ("join", "start_join", &mut self.join),
            ("join-wan", "start_join_wan", &mut self.join_wan),
            ("retry-join", "retry_join", &mut self.retry_join),
            ("retry-join-wan", "retry_join_wan", &mut self.retry_join_wan),
            (
                "serf-lan-allowed-cidrs",
                "serf_lan_allowed_cidrs",
                &mut self.serf_lan_allowed_cidrs,
            ),
            (
                "serf-wan-allowed-cidrs",
                "serf_wan_allowed_cidrs",
                &mut self.serf_wan_allowed_cidrs,
            ),
        ];
        let lists = lists.into_iter().flat_map(|(flag, key, list)| {
            let items = std::mem::take(list).into_iter();
            items.map(move |item| setting(flag, key, SettingValue::Item(item)))
        });
        lists.collect()
    }
}

pub(super) fn setting(flag: &'static str, key: &'static str, value: SettingValue) -> Setting {
    Setting { flag, key, value }
}
