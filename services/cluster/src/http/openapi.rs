//! The description of the routes that this service answers itself. `cargo xtask drift` joins it with the user service's
//! and writes `docs/openapi.json`, which the front door serves.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Deprecated, PathItem, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use super::{import, kubeconfig, v1, v2, v3};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Roadstead",
        description = "One hub for many Kubernetes clusters. Every refusal has the same body (RFC 9457): type, title, \
            status, detail, error, code, request_id, and errors when fields are wrong.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        v1::health::health,
        v1::health::hub,
        v1::metrics::metrics,
        v1::clusters::list,
        v1::clusters::create,
        v1::clusters::get,
        v1::clusters::update,
        v1::clusters::delete,
        v1::namespaces::list,
        v1::resources::list,
        v1::connection::replace,
        v1::recordings::list,
        v1::recordings::get,
        v1::can::can,
        v1::grants::grant,
        v1::grants::revoke,
        v1::agents::list,
        v1::agents::revoke,
        v1::join_tokens::create,
        v1::join_tokens::list,
        v1::join_tokens::revoke,
        v1::manifests::apply,
        v1::charts::install,
        v1::operations::create,
        v1::operations::list,
        v1::operations::list_of_cluster,
        v1::operations::get,
        v1::operations::steps,
        v1::operation_events::follow,
        v1::drift::get,
        v1::operations::cancel,
        v1::operations::retry,
        v1::operations::undo,
        v1::operations::delete,
        v1::rollouts::create,
        v1::rollouts::list,
        v1::rollouts::get,
        v1::rollouts::approve,
        v1::rollouts::halt,
        v1::rollouts::resume,
        v1::rollouts::retry,
        v1::rollouts::cancel,
        import::manifest,
        v2::generate_agent_id,
        v2::onboard,
        v2::clusters,
        v2::agents,
        v2::agent::view,
        v3::health,
        v3::namespaces,
        v3::connected_agents,
        kubeconfig::onboard::onboard,
        kubeconfig::clusters::list,
        kubeconfig::clusters::remove,
        kubeconfig::namespaces::select,
        kubeconfig::namespaces::list,
        kubeconfig::credentials::credentials,
        kubeconfig::execute::execute,
        kubeconfig::nodes::all,
        kubeconfig::nodes::one,
        kubeconfig::workloads::workloads,
        kubeconfig::apps::all,
        kubeconfig::apps::details,
        kubeconfig::yaml::get,
        kubeconfig::yaml::put,
    ),
    components(schemas(Refusal)),
    modifiers(&Aliases, &Credentials, &Refusals),
)]
struct Document;

/// A refusal (RFC 9457), with the members that clients of the seeds read.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what http-kit writes")]
struct Refusal {
    /// URN of the code.
    r#type: String,
    /// The code in words.
    title: String,
    /// HTTP status.
    status: u16,
    /// One sentence about this refusal.
    detail: String,
    /// The same sentence.
    error: String,
    /// Stable code; each has a page in `docs/errors`.
    code: String,
    /// Id to look for in the hub's log.
    request_id: String,
    /// Fields that are wrong.
    errors: Option<Vec<RefusedField>>,
}

/// A field that is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what http-kit writes")]
struct RefusedField {
    /// Where it is.
    loc: Vec<String>,
    /// What is wrong.
    msg: String,
    /// The kind of fault, in one word.
    r#type: String,
}

/// The configuration service's routes under their later prefix: the same, and only kept for those who call them so.
struct Aliases;

/// The two prefixes of seed 004, the one to use first.
const SEED_004: [&str; 2] = ["/kubeconfig/", "/api/v2.0/"];

impl Modify for Aliases {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let [canonical, later] = SEED_004;
        let paths = &mut openapi.paths.paths;
        let aliases: Vec<(String, PathItem)> = paths
            .iter()
            .filter_map(|(path, item)| Some((format!("{later}{}", path.strip_prefix(canonical)?), item.clone())))
            .filter(|(path, _)| !paths.contains_key(path))
            .collect();
        for (path, mut item) in aliases {
            for operation in operations(&mut item) {
                operation.deprecated = Some(Deprecated::True);
                operation.operation_id = operation.operation_id.take().map(|id| format!("{id}Alias"));
            }
            paths.insert(path, item);
        }
    }
}

/// Every operation may refuse, always in the same body.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for item in openapi.paths.paths.values_mut() {
            for operation in operations(item) {
                let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Refusal"))).build();
                let response = ResponseBuilder::new()
                    .description("Refused; the code says why")
                    .content("application/problem+json", content)
                    .build();
                operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components
            .add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
