//! What has drifted in a cluster, as far as the caller may read of it.

use roadstead_contracts::Result;
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::drift::DriftCounts;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{ClusterDrift, Drifted, GetDrift};
use roadstead_contracts::operation::ObjectKey;
use roadstead_policy::kubernetes::{kind_of_object, other_kind_of_object};
use roadstead_policy::{Asked, Object, decide};

use super::{App, require_somewhere};

pub(crate) async fn get_drift(app: &App, request: GetDrift) -> Result<ClusterDrift> {
    let principal = &request.principal;
    require_somewhere(app, principal, Action::OperationsRead)?;
    let cluster = app.cluster(principal, &request.cluster, "get-drift").await?;
    let (facts, now) = (cluster.policy_facts(), app.clock.now());
    let whole = decide(principal, &Asked::cluster(Action::OperationsRead, &facts), now);
    if principal.rules.is_empty() {
        whole.check(principal)?;
    }
    let (doc, reported_at) = app.store.find_drift(cluster.id).await?.unzip();
    let doc = doc.unwrap_or_default();
    // Each object by itself: a rule may give, or take away, one namespace or one kind.
    let may_read = |key: &ObjectKey| {
        let kind = kind_of_object(key);
        // A namespace is in its own.
        let namespace = match &key.namespace {
            None if kind == "namespaces" => Some(key.name.as_str()),
            namespace => namespace.as_deref(),
        };
        let read = RequestKind { also: other_kind_of_object(key), ..RequestKind::of("get", &kind, namespace) };
        let asked = Object::of(&read).map(|object| Asked::object(Action::OperationsRead, &facts, object));
        asked.is_some_and(|asked| decide(principal, &asked, now).allowed)
    };
    let all = doc.objects.len();
    let objects: Vec<Drifted> = doc.objects.into_iter().filter(|drifted| may_read(&drifted.object.key)).collect();
    let counts = if whole.allowed && objects.len() == all {
        doc.counts
    } else {
        // How much there is that is not the caller's is not told either.
        DriftCounts { drifted: u32::try_from(objects.len()).unwrap_or(u32::MAX), ..DriftCounts::default() }
    };
    Ok(ClusterDrift { cluster_id: cluster.id, cluster_name: cluster.name, reported_at, counts, objects })
}
