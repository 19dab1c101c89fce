//! The HTTP door on port 8001: MCKMT's `/api/v1/auth/*`, KubeSage's `/auth`, `/users` and `/api-keys` with their older
//! prefixes, the published keys, and the probes. Reached by the front door, which forwards those paths, or directly.

mod access_requests;
mod audit;
mod audit_csv;
mod authenticator;
mod kubesage_auth;
mod kubesage_keys;
mod kubesage_registration;
mod kubesage_users;
mod local_accounts;
mod mckmt;
mod oidc;
mod openapi;
mod passkey_shapes;
mod passkeys;
mod policies;
mod policy_file;
mod policy_shapes;
mod quotas;
mod read;
mod service_accounts;
mod sessions;
mod shapes;
mod sign_in;
mod well_known;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web;
use roadstead_contracts::identity::Action;
use roadstead_http_kit::figures::{Figures, Served};
use roadstead_http_kit::probes::{Probes, Version};
use roadstead_http_kit::{
    Access, Auditor, Front, Limiter, Limits, Listener, RateClass, RouteRow, Routes, ServeOptions,
};
use roadstead_runtime::Readiness;
use roadstead_telemetry::Metrics;

pub use openapi::openapi;

use crate::app::App;
use crate::{Deps, NAME};

/// Threads that serve: passwords are hashed elsewhere, so these only wait for the database.
const WORKERS: usize = 2;

/// What handlers get.
type Shared = web::Data<App>;

fn front(deps: &Deps, app: &Arc<App>) -> Arc<Front> {
    let options = &app.options;
    Arc::new(Front {
        ids: deps.ids.clone(),
        clock: deps.clock.clone(),
        trusted_proxies: options.trusted_proxies.clone(),
        forwarded_by: Some(deps.mesh_key.clone()),
        limits: Limits {
            body: options.body_limit,
            body_time: options.read_timeout,
            together: options.bodies_limit,
            ..Limits::default()
        },
        metrics: Arc::new(deps.metrics.clone()),
        authenticator: Arc::new(authenticator::Doorkeeper::new(Arc::clone(app))),
        limiter: Limiter::new(options.rates, Some(Arc::new(quotas::Shared::new(Arc::clone(&app.kv))))),
    })
}

fn probes(readiness: Readiness, metrics: Option<Metrics>) -> Probes {
    // Nobody shows a credential here: no figure that names a cluster.
    let render =
        metrics.map(|metrics| -> Arc<dyn Fn() -> String + Send + Sync> { Arc::new(move || metrics.render_public()) });
    Probes { version: Version::of(NAME), readiness, metrics: render }
}

/// Serves the door on a bound listener.
pub(crate) fn serve(deps: &Deps, app: &Arc<App>, listener: Listener) -> std::io::Result<()> {
    let front = front(deps, app);
    let probes = probes(deps.readiness.clone(), app.options.metrics.then(|| deps.metrics.clone()));
    let options = ServeOptions {
        name: "user-http",
        listeners: vec![listener],
        workers: WORKERS,
        head_time: app.options.read_timeout,
        grace: app.options.grace,
    };
    let trail: Arc<dyn Auditor> = Arc::new(audit::Recorder(Some(app.trail.clone())));
    let (routes, shared) = (Arc::clone(&front), Shared::from(Arc::clone(app)));
    roadstead_http_kit::serve(&deps.tasks, options, front, move |config| {
        config.app_data(shared.clone());
        table(Arc::clone(&routes), &probes, Arc::clone(&trail)).mount(config);
    })
}

/// Serves the listener for figures.
pub(crate) fn serve_figures(deps: &Deps, app: &App, figures: Figures) -> std::io::Result<()> {
    let served = Served {
        name: "user-metrics",
        ids: deps.ids.clone(),
        clock: deps.clock.clone(),
        probes: probes(deps.readiness.clone(), Some(deps.metrics.clone())),
        head_time: app.options.read_timeout,
        grace: app.options.grace,
    };
    figures.serve(served, &deps.tasks)
}

/// Every route of the service.
pub fn routes() -> Vec<RouteRow> {
    let clock = roadstead_runtime::SystemClock::shared();
    let front = Arc::new(Front {
        ids: roadstead_runtime::Ids::system(clock.clone()),
        clock,
        trusted_proxies: Vec::new(),
        forwarded_by: None,
        limits: Limits::default(),
        metrics: Arc::new(roadstead_http_kit::NoMetrics),
        authenticator: Arc::new(authenticator::Nobody),
        limiter: Limiter::new(roadstead_http_kit::RateSettings::default(), None),
    });
    let trail = Arc::new(audit::Recorder(None));
    table(front, &probes(Readiness::new(), Some(Metrics::new())), trail).rows().to_vec()
}

/// The prefix under which each KubeSage path also exists.
pub(crate) const ALIAS_PREFIX: &str = "/api/v1.0";

fn table(front: Arc<Front>, probes: &Probes, trail: Arc<dyn Auditor>) -> Routes {
    use Access::{Action as May, Authenticated, Public};
    use RateClass::{Api, Free, Seed};
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let routes = probes
        .add_to(Routes::new(front).audited(trail))
        .add(get.clone(), "/.well-known/jwks.json", Public, Free, well_known::jwks)
        // Passwords are tried at most as often as the seeds' class allows, and each account less (`app::throttle`).
        .add(get.clone(), "/api/v1/auth/methods", Public, Api, mckmt::methods)
        .add(post.clone(), "/api/v1/auth/register", Public, Seed, mckmt::register)
        .add(post.clone(), "/api/v1/auth/login", Public, Seed, mckmt::login)
        .add(post.clone(), "/api/v1/auth/refresh", Public, Seed, mckmt::refresh)
        .add(post.clone(), "/api/v1/auth/logout", Authenticated, Api, mckmt::logout)
        .add(post.clone(), "/api/v1/auth/change-password", Authenticated, Api, mckmt::change_password)
        .add(get.clone(), "/api/v1/auth/oidc/login", Public, Seed, oidc::login)
        .add(get.clone(), "/api/v1/auth/oidc/callback", Public, Seed, oidc::callback)
        .add(post.clone(), "/api/v1/auth/oidc/exchange", Public, Seed, oidc::exchange)
        .add(post.clone(), "/api/v1/auth/oidc/device", Public, Seed, oidc::device)
        .add(post.clone(), "/api/v1/auth/oidc/device/token", Public, Seed, oidc::device_token)
        .add(post.clone(), "/api/v1/auth/oidc/logout", Authenticated, Api, oidc::logout)
        // A provider ends many people's sessions from one address.
        .add(post.clone(), "/api/v1/auth/oidc/backchannel-logout", Public, Api, oidc::back_channel)
        .add(post.clone(), "/api/v1/auth/oidc/links", May(Action::UsersWrite), Api, service_accounts::link)
        .add(get.clone(), "/api/v1/auth/authenticator", Authenticated, Api, local_accounts::show)
        .add(post.clone(), "/api/v1/auth/authenticator", Authenticated, Api, local_accounts::begin)
        .add(post.clone(), "/api/v1/auth/authenticator/confirm", Authenticated, Api, local_accounts::confirm)
        .add(post.clone(), "/api/v1/auth/authenticator/remove", Authenticated, Api, local_accounts::remove)
        .add(
            delete.clone(),
            "/api/v1/auth/authenticator/{user}",
            May(Action::UsersWrite),
            Api,
            local_accounts::remove_of,
        )
        .add(post.clone(), "/api/v1/auth/password-resets", May(Action::UsersWrite), Api, local_accounts::begin_reset)
        .add(get.clone(), "/api/v1/auth/password-reset", Public, Seed, local_accounts::reset_page)
        .add(post.clone(), "/api/v1/auth/password-reset", Public, Seed, local_accounts::finish_reset)
        .add(get.clone(), "/api/v1/auth/profile", Authenticated, Api, mckmt::profile)
        .add(get.clone(), "/api/v1/auth/sessions", Authenticated, Api, sessions::list)
        .add(delete.clone(), "/api/v1/auth/sessions", Authenticated, Api, sessions::end_others)
        .add(delete.clone(), "/api/v1/auth/sessions/{id}", Authenticated, Api, sessions::end)
        .add(get.clone(), "/api/v1/audit", May(Action::AuditRead), Api, audit::search)
        .add(get.clone(), "/api/v1/audit/export", May(Action::AuditRead), Api, audit::export)
        .add(get.clone(), "/api/v1/audit/checkpoints", May(Action::AuditRead), Api, audit::checkpoints);
    let routes = policy(machines(passkey(routes)));
    let routes = access(routes);
    let routes = seed(routes, &post, "/auth/token", Public, kubesage_auth::login);
    let routes = seed(routes, &post, "/auth/login", Public, kubesage_auth::login);
    let routes = seed(routes, &post, "/auth/refresh", Public, kubesage_auth::refresh);
    let routes = seed(routes, &post, "/auth/token/refresh", Public, kubesage_auth::refresh);
    let routes = seed(routes, &post, "/auth/logout", Authenticated, kubesage_auth::logout);
    let routes = seed(routes, &post, "/auth/register", Public, kubesage_auth::register);
    let routes = seed(routes, &post, "/auth/register-admin", Public, kubesage_auth::register_admin);
    let routes = seed(routes, &get, "/auth/check-admin", Authenticated, kubesage_auth::check_admin);
    let routes = seed(routes, &get, "/auth/check-admin-exists", Public, kubesage_auth::check_admin_exists);
    let routes = seed(routes, &post, "/auth/resend-confirm", Public, kubesage_registration::resend_confirm);
    let routes = seed(routes, &get, "/auth/confirm/{id}/{answer}", Public, kubesage_registration::confirm_page);
    let routes =
        seed(routes, &post, "/auth/confirm/{id}/{answer}", May(Action::UsersWrite), kubesage_registration::confirm);
    let (status, reset) = (kubesage_registration::confirmation_status, kubesage_registration::reset_admin_password);
    let routes = seed(routes, &get, "/auth/confirmation-status/{id}", May(Action::UsersRead), status);
    let routes = seed(routes, &post, "/auth/reset-admin-password", May(Action::UsersWrite), reset);
    let routes = seed(routes, &get, "/auth/check-password-reset-status", Public, kubesage_registration::reset_status);
    let routes = seed(routes, &get, "/license/status", Public, kubesage_registration::license);
    let routes = seed(routes, &post, "/auth/change-password/{user_id}", Authenticated, kubesage_auth::change_password);
    let routes = seed(routes, &get, "/users/me", Authenticated, kubesage_users::me);
    // It looks at its own header, because the seed's callers read its words.
    let routes = seed(routes, &get, "/users/me/api-key", Public, kubesage_users::me_by_api_key);
    let routes = seed(routes, &get, "/users/permissions", Authenticated, kubesage_users::permissions);
    let routes = seed(routes, &get, "/users", May(Action::UsersRead), kubesage_users::list);
    let routes = seed(routes, &post, "/users", May(Action::UsersWrite), kubesage_users::create);
    let routes = seed(routes, &get, "/users/{id}", Authenticated, kubesage_users::show);
    let routes = seed(routes, &put, "/users/{id}", Authenticated, kubesage_users::change);
    let routes = seed(routes, &delete, "/users/{id}", May(Action::UsersDelete), kubesage_users::delete);
    let routes = seed(routes, &get, "/api-keys", Authenticated, kubesage_keys::list);
    let routes = seed(routes, &post, "/api-keys", Authenticated, kubesage_keys::create);
    let routes = seed(routes, &get, "/api-keys/{id}", Authenticated, kubesage_keys::show);
    let routes = seed(routes, &put, "/api-keys/{id}", Authenticated, kubesage_keys::change);
    let routes = seed(routes, &delete, "/api-keys/{id}", Authenticated, kubesage_keys::revoke);
    seed(routes, &post, "/api-keys/{id}/regenerate", Authenticated, kubesage_keys::regenerate)
}

/// Passkeys, and the page that uses them.
fn passkey(routes: Routes) -> Routes {
    use Access::{Action as May, Authenticated, Public};
    use RateClass::{Api, Seed};
    const ALL: &str = "/api/v1/auth/passkeys";
    const ONE: &str = "/api/v1/auth/passkeys/{id}";
    const FACTORS: &str = "/api/v1/auth/second-factors/{user}";
    routes
        .add(Method::GET, ALL, Authenticated, Api, passkeys::list)
        .add(Method::POST, ALL, Authenticated, Api, passkeys::add)
        .add(Method::POST, "/api/v1/auth/passkeys/begin", Authenticated, Api, passkeys::begin)
        .add(Method::POST, "/api/v1/auth/passkeys/login/begin", Public, Seed, passkeys::begin_login)
        .add(Method::POST, "/api/v1/auth/passkeys/login", Public, Seed, passkeys::login)
        .add(Method::PUT, ONE, Authenticated, Api, passkeys::rename)
        .add(Method::POST, "/api/v1/auth/passkeys/{id}/remove", Authenticated, Api, passkeys::remove)
        .add(Method::DELETE, FACTORS, May(Action::UsersWrite), Api, passkeys::remove_all_of)
        .add(Method::GET, "/api/v1/auth/sign-in", Public, Api, sign_in::page)
        .add(Method::GET, "/api/v1/auth/sign-in.js", Public, Api, sign_in::script)
}

/// Accounts of machines.
fn machines(routes: Routes) -> Routes {
    use Access::Action as May;
    use RateClass::Api;
    const ALL: &str = "/api/v1/service-accounts";
    const ONE: &str = "/api/v1/service-accounts/{id}";
    const KEYS: &str = "/api/v1/service-accounts/{id}/keys";
    const KEY: &str = "/api/v1/service-accounts/{id}/keys/{key}";
    const ROTATE: &str = "/api/v1/service-accounts/{id}/keys/{key}/rotate";
    let (read, write) = (May(Action::UsersRead), May(Action::UsersWrite));
    routes
        .add(Method::GET, ALL, read, Api, service_accounts::list)
        .add(Method::POST, ALL, write, Api, service_accounts::create)
        .add(Method::DELETE, ONE, May(Action::UsersDelete), Api, service_accounts::delete)
        .add(Method::GET, KEYS, read, Api, service_accounts::list_keys)
        .add(Method::POST, KEYS, write, Api, service_accounts::create_key)
        .add(Method::POST, ROTATE, write, Api, service_accounts::rotate_key)
        .add(Method::DELETE, KEY, write, Api, service_accounts::revoke_key)
}

/// Rights for a while. Who decides on what is asked for is looked at with the request itself.
fn access(routes: Routes) -> Routes {
    use Access::Authenticated;
    use RateClass::Api;
    const ALL: &str = "/api/v1/access-requests";
    const ONE: &str = "/api/v1/access-requests/{id}";
    routes
        .add(Method::GET, ALL, Authenticated, Api, access_requests::list)
        .add(Method::POST, ALL, Authenticated, Api, access_requests::ask)
        .add(Method::GET, ONE, Authenticated, Api, access_requests::show)
        .add(Method::POST, "/api/v1/access-requests/{id}/approve", Authenticated, Api, access_requests::approve)
        .add(Method::POST, "/api/v1/access-requests/{id}/deny", Authenticated, Api, access_requests::deny)
        .add(Method::POST, "/api/v1/access-requests/{id}/withdraw", Authenticated, Api, access_requests::withdraw)
        .add(Method::POST, "/api/v1/access-requests/{id}/end", Authenticated, Api, access_requests::end)
}

/// The rules of the policy.
fn policy(routes: Routes) -> Routes {
    use Access::Action as May;
    use RateClass::Api;
    const ALL: &str = "/api/v1/policies";
    const ONE: &str = "/api/v1/policies/{id}";
    let (read, write) = (May(Action::SystemRead), May(Action::SystemWrite));
    routes
        .add(Method::GET, ALL, read, Api, policies::list)
        .add(Method::POST, ALL, write, Api, policies::create)
        // Before the rule of any name.
        .add(Method::GET, "/api/v1/policies/export", read, Api, policies::export)
        .add(Method::POST, "/api/v1/policies/import", write, Api, policies::import)
        .add(Method::POST, "/api/v1/policies/test", read, Api, policies::test)
        .add(Method::GET, ONE, read, Api, policies::show)
        .add(Method::PUT, ONE, write, Api, policies::replace)
        .add(Method::DELETE, ONE, write, Api, policies::delete)
}

/// A KubeSage route under both its prefixes.
#[expect(clippy::needless_pass_by_value, reason = "a handler is a function item")]
fn seed<F, Args>(routes: Routes, method: &Method, path: &str, access: Access, handler: F) -> Routes
where
    F: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    let alias = format!("{ALIAS_PREFIX}{path}");
    routes.add_at(method, &[path, &alias], access, RateClass::Seed, &handler)
}
