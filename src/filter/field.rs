//! The fields that rows have, and under which selectors each kind of row shows them.

use super::syntax::Selector;

/// A field of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Of the node.
    Node(NodeField),
    /// Of the service instance.
    Service(ServiceField),
    /// Of the check; where a row has several, of each.
    Check(CheckField),
    /// All checks of the row.
    Checks,
    /// Of the service mesh: known to clients, but without content here.
    Mesh(Kind),
}

/// A field of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub enum NodeField {
    Id,
    Name,
    Address,
    Datacenter,
    TaggedAddresses,
    Meta,
}

/// A field of a service instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub enum ServiceField {
    Id,
    Name,
    Tags,
    Address,
    TaggedAddresses,
    Meta,
    Port,
    WeightPassing,
    WeightWarning,
    EnableTagOverride,
}

/// A field of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub enum CheckField {
    Node,
    Id,
    Name,
    Status,
    Notes,
    Output,
    ServiceId,
    ServiceName,
    ServiceTags,
    Type,
}

/// What a field holds, and so what it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `== != in contains matches`; `in` and `contains` look for a part of the text.
    Text,
    /// `== !=`
    Number,
    /// `== !=`
    Switch,
    /// `in contains` an element, `is empty`.
    Texts,
    /// Texts by key: `in contains` a key, `is empty`; a text below each key.
    Pairs,
    /// Addresses with ports by key: as [`Kind::Pairs`], with `Address` and `Port` below each key.
    Places,
    /// Nothing; only what is below it.
    Place,
    /// `is empty`; below it, a condition holds if it does for any element.
    List,
}

/// Which rows a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// `catalog/nodes`.
    Node,
    /// `agent/services`, and services below a node.
    Service,
    /// Checks.
    Check,
    /// `catalog/service`: an instance with its node.
    Catalog,
    /// `health/service`: an instance with its node and checks.
    Health,
}

type Column = (&'static str, Field);

const NODE: &[Column] = &[
    ("ID", Field::Node(NodeField::Id)),
    ("Node", Field::Node(NodeField::Name)),
    ("Address", Field::Node(NodeField::Address)),
    ("Datacenter", Field::Node(NodeField::Datacenter)),
    ("TaggedAddresses", Field::Node(NodeField::TaggedAddresses)),
];
const NODE_META: &[Column] = &[("Meta", Field::Node(NodeField::Meta))];
const SERVICE_NAME: &[Column] = &[("Service", Field::Service(ServiceField::Name))];
const SERVICE: &[Column] = &[
    ("ID", Field::Service(ServiceField::Id)),
    ("Kind", Field::Mesh(Kind::Text)),
    ("Tags", Field::Service(ServiceField::Tags)),
    ("Address", Field::Service(ServiceField::Address)),
    (
        "TaggedAddresses",
        Field::Service(ServiceField::TaggedAddresses),
    ),
    ("Meta", Field::Service(ServiceField::Meta)),
    ("Port", Field::Service(ServiceField::Port)),
    (
        "Weights.Passing",
        Field::Service(ServiceField::WeightPassing),
    ),
    (
        "Weights.Warning",
        Field::Service(ServiceField::WeightWarning),
    ),
    (
        "EnableTagOverride",
        Field::Service(ServiceField::EnableTagOverride),
    ),
    ("Proxy.DestinationServiceName", Field::Mesh(Kind::Text)),
    ("Proxy.DestinationServiceID", Field::Mesh(Kind::Text)),
    ("Proxy.LocalServiceAddress", Field::Mesh(Kind::Text)),
    ("Proxy.LocalServicePort", Field::Mesh(Kind::Number)),
    ("Proxy.Upstreams", Field::Mesh(Kind::List)),
    ("Proxy.MeshGateway.Mode", Field::Mesh(Kind::Text)),
    ("Proxy.Expose.Checks", Field::Mesh(Kind::Switch)),
    ("Proxy.Expose.Paths", Field::Mesh(Kind::List)),
    ("Connect.Native", Field::Mesh(Kind::Switch)),
];
const CHECK: &[Column] = &[
    ("Node", Field::Check(CheckField::Node)),
    ("CheckID", Field::Check(CheckField::Id)),
    ("Name", Field::Check(CheckField::Name)),
    ("Status", Field::Check(CheckField::Status)),
    ("Notes", Field::Check(CheckField::Notes)),
    ("Output", Field::Check(CheckField::Output)),
    ("ServiceID", Field::Check(CheckField::ServiceId)),
    ("ServiceName", Field::Check(CheckField::ServiceName)),
    ("ServiceTags", Field::Check(CheckField::ServiceTags)),
    ("Type", Field::Check(CheckField::Type)),
];

impl RowKind {
    /// Columns, each list with what their names begin with here.
    fn columns(self) -> &'static [(&'static str, &'static [Column])] {
        match self {
            Self::Node => &[("", NODE), ("", NODE_META)],
            Self::Service => &[("", SERVICE), ("", SERVICE_NAME)],
            Self::Check => &[("", CHECK)],
            Self::Catalog => &[
                ("", NODE),
                ("Node", NODE_META),
                ("Service", SERVICE),
                ("", &[("ServiceName", Field::Service(ServiceField::Name))]),
            ],
            Self::Health => &[
                ("Node.", NODE),
                ("Node.", NODE_META),
                ("Service.", SERVICE),
                ("Service.", SERVICE_NAME),
                ("", &[("Checks", Field::Checks)]),
                ("Checks.", CHECK),
            ],
        }
    }
}

impl Field {
    /// What the field holds.
    pub(super) fn kind(self) -> Kind {
        use {CheckField as C, NodeField as N, ServiceField as S};
        match self {
            Self::Node(N::TaggedAddresses | N::Meta) | Self::Service(S::Meta) => Kind::Pairs,
            Self::Service(S::TaggedAddresses) => Kind::Places,
            Self::Service(S::Tags) | Self::Check(C::ServiceTags) => Kind::Texts,
            Self::Service(S::Port | S::WeightPassing | S::WeightWarning) => Kind::Number,
            Self::Service(S::EnableTagOverride) => Kind::Switch,
            Self::Node(_) | Self::Service(_) | Self::Check(_) => Kind::Text,
            Self::Checks => Kind::List,
            Self::Mesh(kind) => kind,
        }
    }
}

/// What a selector leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) field: Field,
    pub(super) part: Part,
    /// Whether a row has several of them, of which any may fulfil a condition.
    pub(super) each: bool,
}

/// The whole field, or something below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// What has this key.
    Key(Box<str>),
    /// The address of the place with this key.
    KeyAddress(Box<str>),
    /// The port of the place with this key.
    KeyPort(Box<str>),
}

impl Selected {
    /// What `selector` leads to in rows of this kind; `None` if nowhere.
    pub(super) fn find(kind: RowKind, selector: &Selector) -> Option<Self> {
        let lists = kind.columns().iter();
        let columns = lists.flat_map(|(prefix, columns)| {
            columns.iter().map(move |(name, field)| {
                let full = format!("{prefix}{name}");
                (full, *field)
            })
        });
        let mut found = columns.filter_map(|(name, field)| {
            let rest = below(&selector.0, &name)?;
            let part = Part::of(field.kind(), rest)?;
            let each = kind == RowKind::Health && matches!(field, Field::Check(_));
            Some(Self { field, part, each })
        });
        found.next()
    }

    /// What is compared.
    pub(super) fn kind(&self) -> Kind {
        match (&self.part, self.field.kind()) {
            (Part::Whole, kind) => kind,
            (Part::Key(_), Kind::Places) => Kind::Place,
            (Part::Key(_) | Part::KeyAddress(_), _) => Kind::Text,
            (Part::KeyPort(_), _) => Kind::Number,
        }
    }
}

/// What of the selector is left after the dotted `name`.
fn below<'a>(selector: &'a [String], name: &str) -> Option<&'a [String]> {
    let mut rest = selector;
    for part in name.split('.') {
        let (first, after) = rest.split_first()?;
        if first != part {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

impl Part {
    fn of(kind: Kind, rest: &[String]) -> Option<Self> {
        let boxed = |key: &String| key.as_str().into();
        match (kind, rest) {
            (_, []) => Some(Self::Whole),
            (Kind::Pairs | Kind::Places, [key]) => Some(Self::Key(boxed(key))),
            (Kind::Places, [key, member]) if member == "Address" => {
                Some(Self::KeyAddress(boxed(key)))
            }
            (Kind::Places, [key, member]) if member == "Port" => Some(Self::KeyPort(boxed(key))),
            _ => None,
        }
    }
}
