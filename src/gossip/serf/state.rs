//! The state that two nodes show each other in a push/pull.

use super::LamportTime;
use super::event::Events;
use super::members::Members;
use super::message::{self, MessageError, read_map, write_octets};
use crate::msgpack::{Reader, Writer};
use crate::types::MemberStatus;

/// What the other side knows, borrowed from the push/pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State<'a> {
    pub(super) time: LamportTime,
    pub(super) event_time: LamportTime,
    pub(super) query_time: LamportTime,
    /// When the status of each member was last set.
    pub(super) statuses: Vec<(&'a str, LamportTime)>,
    /// Members that have left.
    pub(super) left: Vec<&'a str>,
    /// Time, name and payload of late events.
    pub(super) events: Vec<(LamportTime, &'a str, &'a [u8])>,
}

impl<'a> State<'a> {
    /// Reads a state with its type octet.
    pub(super) fn decode(octets: &'a [u8]) -> Result<Self, MessageError> {
        let (kind, body) = octets.split_first().ok_or(MessageError::Empty)?;
        if *kind != message::STATE {
            return Err(MessageError::Type(*kind));
        }
        let mut state = Self::default();
        read_map(&mut Reader::new(body), |key, value| {
            match key {
                b"LTime" => state.time = value.unsigned()?,
                b"EventLTime" => state.event_time = value.unsigned()?,
                b"QueryLTime" => state.query_time = value.unsigned()?,
                b"StatusLTimes" => {
                    for _ in 0..value.map()? {
                        let name = value.text()?;
                        state.statuses.push((name, value.unsigned()?));
                    }
                }
                b"LeftMembers" => {
                    for _ in 0..value.array()? {
                        state.left.push(value.text()?);
                    }
                }
                b"Events" => read_events(value, &mut state.events)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(state)
    }
}

fn read_events<'a>(
    reader: &mut Reader<'a>,
    events: &mut Vec<(LamportTime, &'a str, &'a [u8])>,
) -> Result<(), MessageError> {
    for _ in 0..reader.array()? {
        // Peers send one slot for each of 512 times, mostly nil, which reads as an empty map.
        let first = events.len();
        let mut time = 0;
        read_map(reader, |key, value| {
            match key {
                b"LTime" => time = value.unsigned()?,
                b"Events" => {
                    for _ in 0..value.array()? {
                        let (mut name, mut payload): (&str, &[u8]) = ("", &[]);
                        read_map(value, |key, value| {
                            match key {
                                b"Name" => name = value.text()?,
                                b"Payload" => payload = value.octets()?,
                                _ => return Ok(false),
                            }
                            Ok(true)
                        })?;
                        events.push((0, name, payload));
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        for event in events.iter_mut().skip(first) {
            event.0 = time;
        }
    }
    Ok(())
}

/// Appends this node's state. A leaving member is left out: its time is that of its leave, and a
/// peer that took it for the time of a join would not believe the leave when it comes.
pub(super) fn write(
    times: [LamportTime; 3],
    members: &Members,
    events: &Events,
    out: &mut Vec<u8>,
) {
    let [time, event_time, query_time] = times;
    let of = |status| members.iter().filter(move |record| record.status == status);
    out.push(message::STATE);
    let mut writer = Writer::old(out);
    writer.map(6);
    writer.text("EventLTime");
    writer.unsigned(event_time);
    writer.text("Events");
    write_events(events, &mut writer);
    writer.text("LTime");
    writer.unsigned(time);
    writer.text("LeftMembers");
    writer.array(members.count(MemberStatus::Left));
    for record in of(MemberStatus::Left) {
        writer.text(&record.name);
    }
    writer.text("QueryLTime");
    writer.unsigned(query_time);
    writer.text("StatusLTimes");
    writer.map(members.len() - members.count(MemberStatus::Leaving));
    for record in members.iter() {
        if record.status != MemberStatus::Leaving {
            writer.text(&record.name);
            writer.unsigned(record.status_time);
        }
    }
}

/// Only the times at which there was something: peers take them as well as all 512.
fn write_events(events: &Events, writer: &mut Writer<'_>) {
    if events.slots().len() == 0 {
        return writer.nil();
    }
    writer.array(events.slots().len());
    for slot in events.slots() {
        writer.map(2);
        writer.text("Events");
        writer.array(slot.events.len());
        for (name, payload) in &slot.events {
            writer.map(2);
            writer.text("Name");
            writer.text(name);
            writer.text("Payload");
            write_octets(payload, writer);
        }
        writer.text("LTime");
        writer.unsigned(slot.time);
    }
}
