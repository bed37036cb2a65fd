//! Commands of the reference that herald does not have: those that come with a feature that is not
//! there yet, and those that it does not offer. Each is refused by name, with the reason, so that a
//! script that needs one fails at once and says why.

use anyhow::anyhow;

use super::Exit;

/// Commands to come: name, and what they come with.
const LATER: [(&str, &str); 2] = [
    ("peering", "several datacenters"),
    ("snapshot", "replication"),
];

/// Commands that are not offered: name, and why.
const NOT_OFFERED: [(&str, &str); 12] = [
    ("acl", "herald has no access control lists"),
    (
        "config",
        "configuration entries are for a service mesh, and herald is none",
    ),
    ("connect", "herald is not a service mesh"),
    (
        "debug",
        "`herald info` and `herald monitor` show what an agent does",
    ),
    ("exec", "herald does not run commands on other machines"),
    (
        "intention",
        "intentions are for a service mesh, and herald is none",
    ),
    (
        "kv",
        "herald discovers services and stores no keys and values",
    ),
    (
        "lock",
        "locks need a store of keys and values, and herald has none",
    ),
    ("login", "herald has no access control lists"),
    ("logout", "herald has no access control lists"),
    (
        "tls",
        "certificates are made with a tool of their own, such as openssl",
    ),
    (
        "troubleshoot",
        "it examines a service mesh, and herald is none",
    ),
];

/// The refusal of the command `name`; `None` if it is not one of these.
pub(super) fn refusal(name: &str) -> Option<Exit> {
    let reason = |list: &[(&str, &'static str)]| {
        let found = list.iter().find(|(known, _)| *known == name);
        found.map(|(_, reason)| *reason)
    };
    if let Some(reason) = reason(&NOT_OFFERED) {
        return Some(anyhow!("The command {name:?} is not offered: {reason}.").into());
    }
    let feature = reason(&LATER)?;
    Some(anyhow!("The command {name:?} is not there yet: it comes with {feature}.").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::COMMANDS;

    #[test]
    fn no_command_is_both_there_and_refused() {
        let refused = LATER.iter().chain(&NOT_OFFERED);
        for (name, _) in refused {
            assert!(
                COMMANDS.iter().all(|command| command.name != *name),
                "{name}"
            );
        }
    }
}
