//! The HTTP door: decode, call, reply. [`table`] is the whole list of routes.

mod docs;
mod forward;
mod import;
pub(crate) mod openapi;
mod page;
mod v1;
mod v2;
mod v3;
mod view;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{Data, ServiceConfig};
use roadstead_contracts::identity::Action::{ClustersDelete, ClustersManage, ClustersRead, ClustersWrite, UsersWrite};
use roadstead_http_kit::Access::{Action, Delegated, Optional, Public};
use roadstead_http_kit::probes::Probes;
use roadstead_http_kit::{Front, RateClass, Routes};

use crate::app::App;
use crate::options::Options;

/// What every handler gets.
pub(crate) type State = Data<App>;

/// Gives every handler the application.
pub(crate) fn share(app: &Arc<App>, config: &mut ServiceConfig) {
    config.app_data(State::from(Arc::clone(app)));
}

/// The whole table of routes.
pub(crate) fn table(front: Arc<Front>, options: &Options, probes: &Probes) -> Routes {
    let routes = probes.add_to(Routes::new(front));
    let routes = seeds(routes, options);
    let routes = ours(routes, options);
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
        .add(post, "/api/v2.0/onboard", Action(ClustersWrite), onboard, v2::onboard)
        .add(get.clone(), "/api/v2.0/clusters", read, seed, v2::clusters)
        .add(get, "/api/v2.0/agents", read, seed, v2::agents)
}

fn ours(routes: Routes, options: &Options) -> Routes {
    let api = RateClass::Api;
    let read = Action(ClustersRead);
    let routes = routes
        .add(Method::GET, "/api/v1/health", Public, RateClass::Free, v1::health::health)
        .add(Method::GET, "/api/v1/clusters", read, api, v1::clusters::list)
        .add(Method::POST, "/api/v1/clusters", Action(ClustersWrite), api, v1::clusters::create)
        .add(Method::GET, "/api/v1/clusters/{cluster}", read, api, v1::clusters::get)
        .add(Method::PUT, "/api/v1/clusters/{cluster}", Action(ClustersWrite), api, v1::clusters::update)
        .add(Method::DELETE, "/api/v1/clusters/{cluster}", Action(ClustersDelete), api, v1::clusters::delete)
        .add(Method::GET, "/api/v1/clusters/{cluster}/namespaces", read, api, v1::namespaces::list)
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
