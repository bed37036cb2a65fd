//! `Catalog.Register` and `Catalog.Deregister`.

use super::{EMPTY, Methods, decode, refused};
use crate::catalog::Operation;
use crate::directory::warn_of_names;
use crate::directory::wire::{DeregisterRequest, NodeService, QueryOptions, RegisterRequest};
use crate::rpc::{Answered, Call};

/// `Catalog.Register`: nothing, once the entries are in the catalog.
///
/// # Errors
/// An entry is wrong, or the catalog refuses it; nothing was changed.
pub(super) async fn register(methods: &Methods, call: Call<'_>) -> Answered {
    let request: RegisterRequest<'_> = decode(call)?;
    let options = QueryOptions {
        token: request.token.clone(),
        ..QueryOptions::default()
    };
    let context = methods.context(&request.datacenter, &options, call)?;
    let in_mesh = request
        .service
        .as_ref()
        .is_some_and(NodeService::is_in_mesh);
    let draft = request.into_draft().map_err(refused)?;
    let (_, registration) = draft.check().map_err(refused)?;
    let state = methods.directory.reader().state();
    warn_of_names(&registration, &state);
    if let Some(service) = registration.service.as_ref().filter(|_| in_mesh)
        && state.service(&service.name).is_none()
    {
        tracing::warn!(
            service = %service.name,
            "what a service says of a mesh (Kind, Proxy, Connect) is not kept"
        );
    }
    let operation = Operation::Register(Box::new(registration));
    methods.directory.write(&context, vec![operation]).await?;
    Ok(vec![EMPTY])
}

/// `Catalog.Deregister`: nothing, also where there was nothing to remove.
///
/// # Errors
/// A name is wrong; nothing was changed.
pub(super) async fn deregister(methods: &Methods, call: Call<'_>) -> Answered {
    let request: DeregisterRequest<'_> = decode(call)?;
    let options = QueryOptions {
        token: request.token.clone(),
        ..QueryOptions::default()
    };
    let context = methods.context(&request.datacenter, &options, call)?;
    let (_, deregistration) = request.into_draft().check().map_err(refused)?;
    let operation = Operation::Deregister(deregistration);
    methods.directory.write(&context, vec![operation]).await?;
    Ok(vec![EMPTY])
}

#[cfg(test)]
mod tests;
