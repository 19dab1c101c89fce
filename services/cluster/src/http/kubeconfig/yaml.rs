//! One object as YAML, to read and to put back: in the API's own spelling, so that what was read can be put back (K32).

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use roadstead_contracts::names::is_dns_label;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{ApiResult, Body, Caller, RequestContext};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{asker, cluster, no_number};
use crate::http::State;
use crate::kubectl::{AS_JSON, Ask, Failure, Resource, find, is_name, json as ask_json, masked};

/// Who owns the fields that are set here.
const MANAGER: &str = "roadstead-yaml";

/// Which object.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Place {
    /// Integer, id or name
    cluster: String,
    /// Namespace; any word for what is in none
    namespace: String,
    /// `deployments`, `deployment`, `deploy` or `plural.group`
    kind: String,
    /// Name
    name: String,
}

/// Gives an object as YAML. Of a Secret the values stay in the cluster.
#[utoipa::path(
    get, path = "/kubeconfig/clusters/{cluster}/yaml/{namespace}/{kind}/{name}", tag = "seed 004",
    operation_id = "kubeconfigGetYaml",
    params(Place),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 403, description = "The cluster's own rules forbid it"),
        (status = 404, description = "No such cluster or object, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn get(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<Place>,
    context: RequestContext,
) -> ApiResult {
    let Place { cluster: reference, namespace, kind, name } = path.into_inner();
    let seed = cluster(&app, &caller, &reference, &context, no_number).await?;
    check(&namespace, &name)?;
    let api = asker(&app, &request, seed.cluster.id, &context)?;
    let resource = find(&api, &kind).await.map_err(Failure::into_error)?;
    let asked = Ask::get(resource.path(Some(&namespace), Some(&name)));
    let mut object = ask_json(&api, asked).await.map_err(Failure::into_error)?;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let object = if resource.is_secret() { masked(object) } else { object };
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(roadstead_manifest::to_yaml(&object)))
}

/// Puts an object back. With the `resourceVersion` that was read, a change in between is a conflict.
#[utoipa::path(
    put, path = "/kubeconfig/clusters/{cluster}/yaml/{namespace}/{kind}/{name}", tag = "seed 004",
    operation_id = "kubeconfigPutYaml",
    params(Place),
    request_body(content = String, content_type = "text/plain", description = "One object as YAML or JSON"),
    responses(
        (status = 200, body = serde_json::Value, example = json!({"success": true})),
        (status = 403, description = "The cluster's own rules forbid it"),
        (status = 404, description = "No such cluster or object, or not the caller's"),
        (status = 409, description = "It was changed in between"),
        (status = 422, description = "It is not that object"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn put(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<Place>,
    context: RequestContext,
    body: Body,
) -> ApiResult {
    let Place { cluster: reference, namespace, kind, name } = path.into_inner();
    let seed = cluster(&app, &caller, &reference, &context, no_number).await?;
    check(&namespace, &name)?;
    let object = one_object(&body.0)?;
    let api = asker(&app, &request, seed.cluster.id, &context)?;
    let resource = find(&api, &kind).await.map_err(Failure::into_error)?;
    is_that(&object, &resource, &namespace, &name)?;
    let asked = Ask {
        method: "PUT",
        path: format!("{}?fieldManager={MANAGER}", resource.path(Some(&namespace), Some(&name))),
        accept: AS_JSON,
        body: Some((AS_JSON, object.to_string())),
    };
    ask_json(&api, asked).await.map_err(Failure::into_error)?;
    Ok(HttpResponse::Ok().json(json!({ "success": true })))
}

fn check(namespace: &str, name: &str) -> Result<()> {
    if is_dns_label(namespace) && is_name(name) { Ok(()) } else { Err(Error::not_found("there is no such object")) }
}

fn one_object(body: &[u8]) -> Result<Value> {
    let mut documents = roadstead_manifest::parse(body)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document.value),
        _ => Err(Error::field(&["body"], "value_error", "the body must be one object")),
    }
}

/// The text is the object that the path names, and holds no value that was only hidden.
fn is_that(object: &Value, resource: &Resource, namespace: &str, name: &str) -> Result<()> {
    let fault = |field: &str, why: &str| Err(Error::field(&["body", field], "value_error", why));
    if object["apiVersion"] != resource.api_version() || object["kind"] != resource.kind {
        return fault("kind", "apiVersion and kind must be those of the path");
    }
    let metadata = &object["metadata"];
    if metadata["name"] != name {
        return fault("metadata.name", "the name must be that of the path");
    }
    if resource.namespaced && metadata["namespace"].as_str().is_some_and(|other| other != namespace) {
        return fault("metadata.namespace", "the namespace must be that of the path");
    }
    let hidden =
        |field: &str| object[field].as_object().is_some_and(|values| values.values().any(|value| value == "***"));
    if resource.is_secret() && (hidden("data") || hidden("stringData")) {
        return fault("data", "values of a Secret are not shown; write the real ones in place of ***");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::Code;

    use super::*;

    fn resource(plural: &str, kind: &str) -> Resource {
        Resource {
            group: String::new(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            kind: kind.to_owned(),
            namespaced: true,
        }
    }

    #[test]
    fn an_object_is_the_one_of_the_path() {
        let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: n}\ndata: {labels: kept}\n";
        let object = one_object(good.as_bytes()).unwrap();
        let maps = resource("configmaps", "ConfigMap");
        assert!(is_that(&object, &maps, "n", "a").is_ok());
        assert!(is_that(&object, &maps, "n", "b").is_err());
        assert!(is_that(&object, &maps, "m", "a").is_err());
        assert!(is_that(&object, &resource("secrets", "Secret"), "n", "a").is_err());
        for bad in ["", "a: b", "[]", "x: {", "apiVersion: v1\nkind: A\n---\napiVersion: v1\nkind: B\n"] {
            let read = one_object(bad.as_bytes());
            assert!(read.is_err() || is_that(&read.unwrap(), &maps, "n", "a").is_err(), "{bad:?}");
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "***"}});
        let refused = is_that(&secret, &resource("secrets", "Secret"), "n", "s").unwrap_err();
        assert_eq!((refused.code, refused.errors[0].loc[1].as_str()), (Code::Validation, "data"));
    }
}
