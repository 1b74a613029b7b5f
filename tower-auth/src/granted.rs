//! What a request was granted, for layers that do not know the claims type: they decide by scopes, or pass the token on.

use std::any::TypeId;
use std::sync::{Arc, OnceLock};

use http::Extensions;

use crate::token::{Facts, Verified};

/// A verified token of any claims type.
pub(crate) trait Grant {
    fn facts(&self) -> &Facts;

    /// The same, to keep.
    fn granted(&self) -> Granted;
}

/// Cloning it copies one pointer.
#[derive(Clone)]
pub(crate) struct Granted(pub(crate) Arc<dyn AsRef<Facts> + Send + Sync>);

impl Grant for Granted {
    fn facts(&self) -> &Facts {
        (*self.0).as_ref()
    }

    fn granted(&self) -> Granted {
        self.clone()
    }
}

/// What counts where several layers have granted something: the word of the nearest one, which may be that it granted
/// nothing. Written only then; an extension is an allocation.
#[derive(Clone)]
pub(crate) struct Nearest(pub(crate) Option<Granted>);

/// Claims types that authenticators of this process read, so that a token is found in the extensions without naming
/// its type. Programs have one or two.
static KINDS: [OnceLock<Kind>; 16] = [const { OnceLock::new() }; 16];

struct Kind {
    id: TypeId,
    find: for<'e> fn(&'e Extensions) -> Option<&'e dyn Grant>,
}

fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().map_while(OnceLock::get)
}

/// Makes tokens of this claims type known; `false` when there are too many types.
pub(crate) fn know<C: Send + Sync + 'static>() -> bool {
    let kind = || Kind {
        id: TypeId::of::<C>(),
        find: |extensions| extensions.get::<Verified<C>>().map(|verified| verified as &dyn Grant),
    };
    KINDS.iter().any(|place| place.get_or_init(kind).id == TypeId::of::<C>())
}

/// Whether another layer has granted something with another claims type.
pub(crate) fn others<C: 'static>(extensions: &Extensions) -> bool {
    kinds().any(|kind| kind.id != TypeId::of::<C>() && (kind.find)(extensions).is_some())
}

/// What the nearest authenticating layer granted.
pub(crate) fn granted(extensions: &Extensions) -> Option<&dyn Grant> {
    match extensions.get::<Nearest>() {
        Some(nearest) => nearest.0.as_ref().map(|granted| granted as &dyn Grant),
        None => kinds().find_map(|kind| (kind.find)(extensions)),
    }
}
