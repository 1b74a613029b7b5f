//! Auto traits that hosts ask for.

use tower_versioning::*;

fn all<T: Send + Sync + Clone + std::fmt::Debug + Unpin + 'static>() {}

#[test]
fn handles_layers_and_services_are_send_sync_clone() {
    all::<Registry>();
    all::<VersionLayer>();
    all::<VersionService<()>>();
    all::<VersionRouter<()>>();
    all::<VersionError>();
    all::<ApiVersion>();
    all::<Source>();
    all::<boxed::BoxedService<(), (), ()>>();
    assert!(size_of::<Version>() <= 32);
}

/// Layers around ours answer with an empty one.
#[test]
fn bodies_have_a_default() {
    use http_body::Body;
    assert!(ResponseBody::<String>::default().is_end_stream());
    #[cfg(feature = "migrate")]
    assert!(migrate::MigrateBody::<String>::default().is_end_stream());
}

#[tokio::test]
async fn a_thousand_layers_share_one_state() {
    use tower::Layer;
    let layer = VersionLayer::new(crate::support::registry(&["1"]));
    let services: Vec<_> = (0..1000).map(|_| layer.layer(())).collect();
    assert_eq!(services.len(), 1000);
    assert!(!layer.is_misplaced());
}
