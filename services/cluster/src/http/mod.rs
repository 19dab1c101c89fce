//! The HTTP door: decode, call, reply. [`table`] is the whole list of routes.

mod docs;
mod forward;
mod import;
mod kubeconfig;
pub(crate) mod openapi;
mod operation_view;
mod page;
mod rollout_view;
mod v1;
mod v2;
mod v3;
mod view;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{Data, ServiceConfig};
use roadstead_contracts::identity::Action::{
    ClustersDelete, ClustersManage, ClustersRead, ClustersWrite, OperationsCancel, OperationsRead, OperationsWrite,
    UsersWrite,
};
use roadstead_http_kit::Access::{Action, Authenticated, Delegated, Optional, Public};
use roadstead_http_kit::probes::Probes;
use roadstead_http_kit::{Auditor, Front, RateClass, Routes};

use crate::app::App;
use crate::options::Options;

/// What every handler gets.
pub(crate) type State = Data<App>;

/// Gives every handler the application.
pub(crate) fn share(app: &Arc<App>, config: &mut ServiceConfig) {
    config.app_data(State::from(Arc::clone(app)));
}

/// The whole table of routes.
pub(crate) fn table(
    front: Arc<Front>,
    options: &Options,
    probes: &Probes,
    auditor: Option<Arc<dyn Auditor>>,
) -> Routes {
    let routes = Routes::new(front);
    let routes = match auditor {
        Some(auditor) => routes.audited(auditor),
        None => routes,
    };
    let routes = probes.add_to(routes);
    let routes = seeds(routes, options);
    let routes = kubeconfig::add(routes);
    let routes = ours(routes, options);
    let routes = operations(routes);
    let routes = forward::add(routes);
    docs::add(routes)
}

/// Routes of the seeds, each with its aliases.
fn seeds(routes: Routes, options: &Options) -> Routes {
    let (get, post) = (Method::GET, Method::POST);
    let (read, seed) = (Action(ClustersRead), RateClass::Seed);
    let generate = RateClass::Own("generate-agent-id", options.generate_agent_id_per_minute);
    let onboard = RateClass::Own("onboard", options.onboard_per_minute);
    let at = |tail: &str| [format!("/api/v3.0/cluster/{tail}"), format!("/api/v3.0/{tail}")];
    let mut routes = routes;
    for path in at("health") {
        routes = routes.add(get.clone(), &path, Public, RateClass::Free, v3::health);
    }
    for path in at("namespaces") {
        routes = routes.add(get.clone(), &path, read, seed, v3::namespaces);
    }
    for path in at("agents/connected") {
        routes = routes.add(get.clone(), &path, read, seed, v3::connected_agents);
    }
    routes
        .add(post.clone(), "/api/v2.0/generate-agent-id", Action(ClustersManage), generate, v2::generate_agent_id)
        .add(post.clone(), "/api/v2.0/onboard", Action(ClustersWrite), onboard, v2::onboard)
        // Where the seed's newest agent looks when it is told a host only.
        .add(post, "/onboard", Action(ClustersWrite), onboard, v2::onboard)
        .add(get.clone(), "/api/v2.0/clusters", read, seed, v2::clusters)
        .add(get.clone(), "/api/v2.0/agents", read, seed, v2::agents)
        .add(get, "/api/v2.0/agent/{agent}/{what}", read, seed, v2::agent::view)
}

/// Changes to clusters, and what became of them.
fn operations(routes: Routes) -> Routes {
    use v1::{charts, drift, manifests, operation_events as events, operations as one, rollouts};
    let (api, get, post) = (RateClass::Api, Method::GET, Method::POST);
    let (read, write) = (Action(OperationsRead), Action(OperationsWrite));
    let stop = Action(OperationsCancel);
    let operation = |tail: &str| format!("/api/v1/operations/{{operation}}{tail}");
    let rollout = |tail: &str| format!("/api/v1/rollouts/{{rollout}}{tail}");
    routes
        .add(post.clone(), "/api/v1/clusters/{cluster}/manifests", write, api, manifests::apply)
        .add(post.clone(), "/api/v1/clusters/{cluster}/charts", Action(ClustersManage), api, charts::install)
        .add(post.clone(), "/api/v1/clusters/{cluster}/operations", write, api, one::create)
        .add(get.clone(), "/api/v1/clusters/{cluster}/drift", read, api, drift::get)
        .add(get.clone(), "/api/v1/operations", read, api, one::list)
        // Before the operation of any name.
        .add(get.clone(), "/api/v1/operations/cluster/{cluster}", read, api, one::list_of_cluster)
        .add(get.clone(), &operation(""), read, api, one::get)
        .add(Method::DELETE, &operation(""), write, api, one::delete)
        .add(get.clone(), &operation("/steps"), read, api, one::steps)
        .add(get.clone(), &operation("/events"), read, api, events::follow)
        .add(post.clone(), &operation("/cancel"), stop, api, one::cancel)
        .add(post.clone(), &operation("/retry"), write, api, one::retry)
        .add(post.clone(), &operation("/undo"), write, api, one::undo)
        .add(get.clone(), "/api/v1/rollouts", read, api, rollouts::list)
        .add(post.clone(), "/api/v1/rollouts", write, api, rollouts::create)
        .add(get, &rollout(""), read, api, rollouts::get)
        .add(post.clone(), &rollout("/approve"), write, api, rollouts::approve)
        .add(post.clone(), &rollout("/halt"), stop, api, rollouts::halt)
        .add(post.clone(), &rollout("/resume"), write, api, rollouts::resume)
        .add(post.clone(), &rollout("/retry"), write, api, rollouts::retry)
        .add(post, &rollout("/cancel"), stop, api, rollouts::cancel)
}

fn ours(routes: Routes, options: &Options) -> Routes {
    let api = RateClass::Api;
    let read = Action(ClustersRead);
    let routes = routes
        .add(Method::GET, "/api/v1/health", Public, RateClass::Free, v1::health::health)
        // Before what the user service answers under `/api/v1/auth`: only here are clusters known.
        .add(Method::GET, "/api/v1/auth/can", Authenticated, api, v1::can::can)
        .add(Method::GET, "/api/v1/clusters", read, api, v1::clusters::list)
        .add(Method::POST, "/api/v1/clusters", Action(ClustersWrite), api, v1::clusters::create)
        .add(Method::GET, "/api/v1/clusters/{cluster}", read, api, v1::clusters::get)
        .add(Method::PUT, "/api/v1/clusters/{cluster}", Action(ClustersWrite), api, v1::clusters::update)
        .add(Method::DELETE, "/api/v1/clusters/{cluster}", Action(ClustersDelete), api, v1::clusters::delete)
        .add(Method::GET, "/api/v1/clusters/{cluster}/namespaces", read, api, v1::namespaces::list)
        .add(Method::GET, "/api/v1/clusters/{cluster}/resources", read, api, v1::resources::list)
        .add(Method::PUT, "/api/v1/clusters/{cluster}/connection", Action(ClustersWrite), api, v1::connection::replace)
        .add(Method::GET, "/api/v1/recordings", read, api, v1::recordings::list)
        .add(Method::GET, "/api/v1/recordings/{recording}", read, api, v1::recordings::get)
        .add(Method::PUT, "/api/v1/clusters/{cluster}/grants/{account}", Action(UsersWrite), api, v1::grants::grant)
        .add(Method::DELETE, "/api/v1/clusters/{cluster}/grants/{account}", Action(UsersWrite), api, v1::grants::revoke)
        .add(Method::GET, "/api/v1/agents", read, api, v1::agents::list)
        .add(Method::DELETE, "/api/v1/agents/{agent}", Action(ClustersManage), api, v1::agents::revoke)
        .add(Method::GET, "/api/v1/join-tokens", Action(ClustersManage), api, v1::join_tokens::list)
        .add(Method::POST, "/api/v1/join-tokens", Action(ClustersManage), api, v1::join_tokens::create)
        .add(Method::DELETE, "/api/v1/join-tokens/{token}", Action(ClustersManage), api, v1::join_tokens::revoke)
        .add(Method::GET, "/import/{token}.yaml", Public, RateClass::Seed, import::manifest)
        .add(Method::GET, "/.well-known/roadstead", Public, api, v1::health::hub);
    // The Kubernetes door judges and counts these itself, and answers in Kubernetes' words.
    let routes = routes
        .add(Method::GET, "/api/v1/clusters/{cluster}/terminal", Delegated, RateClass::Free, v1::terminal::terminal)
        .add(Method::GET, "/api/v1/clusters/{cluster}/logs", Delegated, RateClass::Free, v1::terminal::logs);
    let routes = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].into_iter().fold(
        routes,
        |routes, method| {
            routes.add(
                method,
                "/api/v1/clusters/{cluster}/proxy/{path:.*}",
                Delegated,
                RateClass::Free,
                v1::proxy::proxy,
            )
        },
    );
    if options.metrics {
        routes.add(Method::GET, "/api/v1/metrics", Optional, RateClass::Free, v1::metrics::metrics)
    } else {
        routes
    }
}
