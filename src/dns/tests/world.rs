//! A catalog, a responder, and a reader of replies that is not herald's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use prometheus_client::metrics::counter::Counter;

use crate::catalog::{
    Command, Deregistration, Operation, Outcome, Registration, Writer, open_server,
};
use crate::dns::{
    Freshness, Handler, Options, Received, Reply, Responder, Settings, Sources, Transport,
};
use crate::types::{
    Address, Check, CheckType, Index, Meta, Node, Service, Status, TaggedAddress, Weights,
};

/// Octets of the buffer that the engine hands over.
pub(in crate::dns) const BUFFER_OCTETS: usize = 65_535;

/// A server with its catalog.
pub(in crate::dns) struct World {
    writer: Writer,
    pub(in crate::dns) sources: Sources,
    pub(in crate::dns) responder: Responder,
    options: Options,
    buffer: Vec<u8>,
}

/// A query to be asked.
#[derive(Clone, Debug)]
pub(in crate::dns) struct Ask {
    pub(in crate::dns) name: String,
    pub(in crate::dns) qtype: u16,
    pub(in crate::dns) class: u16,
    pub(in crate::dns) transport: Transport,
    /// Size in the OPT record; `None` leaves it out.
    pub(in crate::dns) edns: Option<u16>,
    /// Options of the OPT record.
    pub(in crate::dns) options: Vec<u8>,
    pub(in crate::dns) version: u8,
}

/// A query over UDP with room for 1232 octets.
pub(in crate::dns) fn ask(name: &str, qtype: &str) -> Ask {
    let qtype = match qtype {
        "IXFR" => RecordType::Unknown(251),
        known => known.parse().unwrap(),
    };
    Ask {
        name: name.to_owned(),
        qtype: qtype.into(),
        class: 1,
        transport: Transport::Udp,
        edns: Some(1232),
        options: Vec::new(),
        version: 0,
    }
}

/// A dotted name in wire format; `\.` is a dot inside a label.
pub(in crate::dns) fn wire(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let escaped = name.trim_end_matches('.').replace("\\.", "\u{1}");
    for label in escaped.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.bytes().map(|o| if o == 1 { b'.' } else { o }));
    }
    octets.push(0);
    octets
}

impl Ask {
    /// Without EDNS: 512 octets and few answers.
    pub(in crate::dns) fn plain(mut self) -> Self {
        self.edns = None;
        self
    }

    /// With this EDNS size.
    pub(in crate::dns) fn size(mut self, octets: u16) -> Self {
        self.edns = Some(octets);
        self
    }

    /// Over TCP.
    pub(in crate::dns) fn tcp(mut self) -> Self {
        self.transport = Transport::Tcp;
        self
    }

    /// The octets of the query.
    pub(in crate::dns) fn octets(&self) -> Vec<u8> {
        let mut packet = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        packet.extend(wire(&self.name));
        packet.extend(self.qtype.to_be_bytes());
        packet.extend(self.class.to_be_bytes());
        if let Some(size) = self.edns {
            packet[11] = 1;
            packet.extend([0, 0, 41]);
            packet.extend(size.to_be_bytes());
            packet.extend([0, self.version, 0x80, 0]);
            packet.extend(u16::try_from(self.options.len()).unwrap().to_be_bytes());
            packet.extend(&self.options);
        }
        packet
    }
}

/// A reply read back.
#[derive(Debug)]
pub(in crate::dns) struct Answer {
    pub(in crate::dns) message: Message,
    pub(in crate::dns) octets: Vec<u8>,
}

impl Answer {
    /// Reads octets back, which must be well-formed to the last one.
    pub(in crate::dns) fn read(octets: &[u8]) -> Self {
        let message =
            Message::from_vec(octets).unwrap_or_else(|error| panic!("{error} in {octets:02x?}"));
        Self {
            message,
            octets: octets.to_vec(),
        }
    }

    pub(in crate::dns) fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    pub(in crate::dns) fn flag(&self, octet: usize, bit: u8) -> bool {
        self.octets[octet] & bit != 0
    }

    pub(in crate::dns) fn is_authoritative(&self) -> bool {
        self.flag(2, 0x04)
    }

    pub(in crate::dns) fn is_truncated(&self) -> bool {
        self.flag(2, 0x02)
    }

    /// `owner TYPE data` of each answer, sorted.
    pub(in crate::dns) fn answers(&self) -> Vec<String> {
        sorted(&self.message.answers)
    }

    pub(in crate::dns) fn additionals(&self) -> Vec<String> {
        sorted(&self.message.additionals)
    }

    pub(in crate::dns) fn authorities(&self) -> Vec<String> {
        sorted(&self.message.authorities)
    }

    /// The owner of the SOA in authority.
    pub(in crate::dns) fn soa_owner(&self) -> Option<String> {
        let is_soa = |record: &&Record| matches!(record.data, RData::SOA(_));
        let soa = self.message.authorities.iter().find(is_soa);
        soa.map(|record| record.name.to_string())
    }

    /// NOERROR without answers, with the SOA of RFC 2308.
    pub(in crate::dns) fn is_nodata(&self) -> bool {
        self.rcode() == ResponseCode::NoError
            && self.message.answers.is_empty()
            && self.soa_owner().is_some()
            && self.is_authoritative()
    }

    /// NXDOMAIN with the SOA of RFC 2308.
    pub(in crate::dns) fn is_nxdomain(&self) -> bool {
        self.rcode() == ResponseCode::NXDomain
            && self.message.answers.is_empty()
            && self.soa_owner().is_some()
            && self.is_authoritative()
    }

    /// Codes and texts of extended errors.
    pub(in crate::dns) fn errors(&self) -> Vec<(u16, String)> {
        let Some(edns) = &self.message.edns else {
            return Vec::new();
        };
        let options = edns.options().as_ref().iter();
        let errors = options.filter_map(|(code, option)| match (u16::from(*code), option) {
            (15, hickory_proto::rr::rdata::opt::EdnsOption::Unknown(_, data)) => {
                let code = u16::from_be_bytes([data[0], data[1]]);
                Some((code, String::from_utf8(data[2..].to_vec()).unwrap()))
            }
            _ => None,
        });
        errors.collect()
    }
}

fn sorted(records: &[Record]) -> Vec<String> {
    let text =
        |record: &Record| format!("{} {} {}", record.name, record.record_type(), record.data);
    let mut texts: Vec<String> = records.iter().map(text).collect();
    texts.sort();
    texts
}

impl World {
    pub(in crate::dns) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A server with other options than the defaults.
    pub(in crate::dns) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new("dc1".parse().unwrap(), "n1".parse().unwrap());
        change(&mut options);
        let (writer, catalog) = open_server();
        let settings = Settings::new(options.clone()).unwrap();
        let sources = Sources {
            catalog,
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            freshness: Arc::new(Freshness::fresh()),
            unencodable: Counter::default(),
        };
        Self {
            writer,
            responder: Responder::new(sources.clone()),
            sources,
            options,
            buffer: vec![0; BUFFER_OCTETS],
        }
    }

    /// Reloads other options.
    pub(in crate::dns) fn reload(&mut self, change: impl FnOnce(&mut Options)) {
        change(&mut self.options);
        let settings = Settings::new(self.options.clone()).unwrap();
        self.sources.settings.store(Arc::new(settings));
    }

    pub(in crate::dns) fn apply(&mut self, operations: Vec<Operation>) {
        let index = Index(self.writer.applied().0 + 1);
        let command = Command {
            request: 0,
            operations,
        };
        let outcomes = self.writer.apply(vec![(index, command)]).unwrap();
        assert_eq!(outcomes, [Outcome::Applied { index }]);
    }

    /// Registers a node.
    pub(in crate::dns) fn node(&mut self, name: &str, address: &str) -> &mut Self {
        self.node_with(name, address, |_| {})
    }

    pub(in crate::dns) fn node_with(
        &mut self,
        name: &str,
        address: &str,
        change: impl FnOnce(&mut Node),
    ) -> &mut Self {
        let mut node = Node {
            id: None,
            name: name.parse().unwrap(),
            address: Address::from_text(address),
            tagged_addresses: BTreeMap::new(),
            meta: Meta::default(),
        };
        change(&mut node);
        self.apply(vec![Operation::Register(Box::new(Registration {
            node,
            skip_node_update: false,
            service: None,
            checks: Vec::new(),
        }))]);
        self
    }

    /// Registers an instance on a node that is there. `id` is `<service>` or `<service>-<rest>`.
    pub(in crate::dns) fn instance(
        &mut self,
        node: &str,
        id: &str,
        change: impl FnOnce(&mut Service),
    ) -> &mut Self {
        let name = id.split_once('-').map_or(id, |(name, _)| name);
        let mut service = Service {
            id: id.parse().unwrap(),
            name: name.parse().unwrap(),
            tags: Arc::new([]),
            address: Address::None,
            port: 80,
            meta: Meta::default(),
            weights: Weights::default(),
            enable_tag_override: false,
            tagged_addresses: None,
        };
        change(&mut service);
        self.register(node, Some(service), Vec::new())
    }

    /// Sets a check of a node or of an instance on it.
    pub(in crate::dns) fn check(
        &mut self,
        node: &str,
        id: &str,
        instance: Option<&str>,
        status: Status,
    ) -> &mut Self {
        let check = Check {
            id: id.parse().unwrap(),
            name: "check".into(),
            status,
            notes: "".into(),
            output: "".into(),
            service_id: instance.map(|id| id.parse().unwrap()),
            check_type: CheckType::Ttl,
            definition: None,
        };
        self.register(node, None, vec![check])
    }

    fn register(&mut self, node: &str, service: Option<Service>, checks: Vec<Check>) -> &mut Self {
        let node = Node {
            id: None,
            name: node.parse().unwrap(),
            address: Address::None,
            tagged_addresses: BTreeMap::new(),
            meta: Meta::default(),
        };
        self.apply(vec![Operation::Register(Box::new(Registration {
            node,
            skip_node_update: true,
            service,
            checks,
        }))]);
        self
    }

    /// Removes an instance.
    pub(in crate::dns) fn remove(&mut self, node: &str, id: &str) -> &mut Self {
        let removal = Deregistration::Service(node.parse().unwrap(), id.parse().unwrap());
        self.apply(vec![Operation::Deregister(removal)]);
        self
    }

    /// Asks and reads the reply back.
    pub(in crate::dns) fn ask(&mut self, ask: &Ask) -> Answer {
        let octets = ask.octets();
        let answer = self.ask_octets(&octets, ask.transport);
        answer.unwrap_or_else(|reply| panic!("{reply:?} to {ask:?}"))
    }

    /// Asks with any octets; what is no reply is the error.
    pub(in crate::dns) fn ask_octets(
        &mut self,
        octets: &[u8],
        transport: Transport,
    ) -> Result<Answer, Reply> {
        self.raw(octets, transport).map(Answer::read)
    }

    /// Asks the slow path's way, when nobody is left to hand the query to.
    pub(in crate::dns) fn ask_alone(&mut self, octets: &[u8]) -> Answer {
        self.buffer[..octets.len()].copy_from_slice(octets);
        let received = received(octets, Transport::Udp);
        let reply = self.responder.handle_alone(&received, &mut self.buffer);
        let Reply::Send(length) = reply else {
            panic!("{reply:?}");
        };
        Answer::read(&self.buffer[..length])
    }

    /// The octets of a reply.
    pub(in crate::dns) fn raw(
        &mut self,
        octets: &[u8],
        transport: Transport,
    ) -> Result<&[u8], Reply> {
        self.buffer[..octets.len()].copy_from_slice(octets);
        let received = received(octets, transport);
        match self.responder.handle(&received, &mut self.buffer) {
            Reply::Send(length) => Ok(&self.buffer[..length]),
            other => Err(other),
        }
    }
}

fn received(octets: &[u8], transport: Transport) -> Received {
    Received {
        length: octets.len(),
        transport,
        source: SocketAddr::from(([127, 0, 0, 1], 5353)),
    }
}

/// Tags of an instance.
pub(in crate::dns) fn tags(tags: &[&str]) -> Arc<[Arc<str>]> {
    tags.iter().map(|tag| Arc::from(*tag)).collect()
}

/// A further address of an instance.
pub(in crate::dns) fn tagged(service: &mut Service, label: &str, address: &str) {
    let tagged = TaggedAddress {
        address: Address::from_text(address),
        port: service.port,
    };
    let all = service.tagged_addresses.get_or_insert_default();
    all.insert(label.into(), tagged);
}

/// Metadata of one pair for each key.
pub(in crate::dns) fn meta(pairs: &[(&str, &str)]) -> Meta {
    Meta::from_pairs(
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
    )
}
