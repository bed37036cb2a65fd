//! Requests and rows of the agent RPC as they stand on the wire: maps with the field names of Go
//! structs, every key written, in order.
//!
//! Owns the names and the defaults: what is absent or nil is the zero of its type, unknown keys are
//! skipped. What is checked is checked later, by the drafts. No type of this module leaves
//! `directory`.
//!
//! Source: the recorded calls in `tests/vectors/rpc`.

mod coordinate;
mod draft;
mod internal;
mod model;
mod node;
mod query;
#[cfg(test)]
mod reply;
mod request;
mod rows;
mod service;
mod status;
mod value;
mod write;

pub(super) use self::coordinate::*;
pub(super) use self::internal::*;
pub(super) use self::node::*;
pub(super) use self::query::*;
#[cfg(test)]
pub(super) use self::reply::*;
pub(super) use self::request::*;
pub(super) use self::rows::{Rows, read_answer};
pub(super) use self::service::*;
pub(super) use self::status::*;
pub(super) use self::value::{Decode, DecodeError, Encode, Fields, Map, Raw, Text};

/// Defines a structure with its names on the wire, in their order; `flatten` takes in the fields of
/// another one, as Go does with embedded structs.
macro_rules! record {
    (
        $(#[$attribute:meta])*
        $name:ident $(<$life:lifetime>)? {
            $($(#[$field_attribute:meta])* $key:literal $field:ident: $kind:ty,)*
            $(flatten { $($part:ident: $part_kind:ty),+ $(,)? })?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(in crate::directory) struct $name $(<$life>)? {
            $($(#[$field_attribute])* pub(in crate::directory) $field: $kind,)*
            $($(pub(in crate::directory) $part: $part_kind,)+)?
        }

        impl<'a> $crate::directory::wire::value::Fields<'a> for $name $(<$life>)? {
            fn take(
                &mut self,
                key: &[u8],
                reader: &mut $crate::msgpack::Reader<'a>,
            ) -> Result<bool, $crate::directory::wire::DecodeError> {
                $(
                    if key == $key.as_bytes() {
                        let read = $crate::directory::wire::Decode::read(reader);
                        self.$field = read.map_err(|error: $crate::directory::wire::DecodeError| error.at($key))?;
                        return Ok(true);
                    }
                )*
                $($(
                    if $crate::directory::wire::value::Fields::take(&mut self.$part, key, reader)? {
                        return Ok(true);
                    }
                )+)?
                Ok(false)
            }

            fn give<'s>(
                &'s self,
                fields: &mut Vec<(&'static str, &'s dyn $crate::directory::wire::Encode)>,
            ) {
                $(fields.push(($key, &self.$field));)*
                $($($crate::directory::wire::value::Fields::give(&self.$part, fields);)+)?
            }
        }

        impl<'a> $crate::directory::wire::Decode<'a> for $name $(<$life>)? {
            fn read(
                reader: &mut $crate::msgpack::Reader<'a>,
            ) -> Result<Self, $crate::directory::wire::DecodeError> {
                $crate::directory::wire::value::read_fields(reader)
            }
        }

        impl $(<$life>)? $crate::directory::wire::Encode for $name $(<$life>)? {
            fn write(&self, writer: &mut $crate::msgpack::Writer<'_>) {
                record!(@write self writer [$($key $field)*] [$($($part)+)?]);
            }
        }
    };
    // The order of the text is that of the keys, which the compiler checks.
    (@write $record:ident $writer:ident [$($key:literal $field:ident)*] []) => {
        const KEYS: &[&str] = &[$($key),*];
        const { $crate::directory::wire::value::assert_in_order(KEYS) };
        $writer.map(KEYS.len());
        $(
            $writer.text($key);
            $crate::directory::wire::Encode::write(&$record.$field, $writer);
        )*
    };
    // Fields of others come in between.
    (@write $record:ident $writer:ident [$($key:literal $field:ident)*] [$($part:ident)+]) => {
        $crate::directory::wire::value::write_fields($record, $writer);
    };
}
use record;

#[cfg(test)]
mod tests;
