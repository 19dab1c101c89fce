//! The table of routes: method, path, who may call it, how often. What is mounted is what is listed, so the test that
//! walks the table walks every route.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::middleware::{Next, from_fn};
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, ResponseError, Route, guard, web};
use roadstead_contracts::Code;
use roadstead_contracts::identity::Action;

use crate::audit::Auditor;
use crate::gate::{self, Here, Meters};
use crate::rate::RateClass;
use crate::{ApiFailure, Front};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Public,
    /// Anyone; a credential that is shown must be good, and may show more.
    Optional,
    /// Anyone with a good credential.
    Authenticated,
    /// A caller whose role allows the action.
    Action(Action),
    /// Handed to another service, which decides.
    Delegated,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    /// Method; HEAD goes with GET.
    pub method: Method,
    /// Path template.
    pub path: String,
    /// Who may call it.
    pub access: Access,
    /// What it counts against.
    pub class: RateClass,
}

/// Collects routes and mounts them.
pub struct Routes {
    front: Arc<Front>,
    auditor: Option<Arc<dyn Auditor>>,
    rows: Vec<RouteRow>,
    resources: Vec<(String, Vec<Method>, Vec<Route>)>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Routes {
    /// An empty table behind this front.
    pub fn new(front: Arc<Front>) -> Self {
        Self { front, auditor: None, rows: Vec::new(), resources: Vec::new() }
    }

    /// Has what the routes added from here on change, or refuse to change, recorded.
    #[must_use]
    pub fn audited(self, auditor: Arc<dyn Auditor>) -> Self {
        Self { auditor: Some(auditor), ..self }
    }

    /// Adds a route.
    #[must_use]
    pub fn add<F, Args>(mut self, method: Method, path: &str, access: Access, class: RateClass, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let word = self.auditor.as_ref().and_then(|auditor| auditor.word(method.as_str(), path));
        let here = Arc::new(Here {
            front: Arc::clone(&self.front),
            template: path.to_owned(),
            access,
            class,
            auditor: self.auditor.clone().filter(|_| word.is_some()),
            word,
            meters: Meters::default(),
        });
        let pass = move |request: ServiceRequest, next: Next<BoxBody>| gate::pass(Arc::clone(&here), request, next);
        let matched = method.clone();
        let route = web::route()
            .guard(guard::fn_guard(move |context| {
                let method = &context.head().method;
                *method == matched || (*method == Method::HEAD && matched == Method::GET)
            }))
            .to(handler)
            .wrap(from_fn(pass));
        self.rows.push(RouteRow { method: method.clone(), path: path.to_owned(), access, class });
        match self.resources.iter_mut().find(|(known, ..)| known == path) {
            Some((_, methods, routes)) => {
                methods.push(method);
                routes.push(route);
            }
            None => self.resources.push((path.to_owned(), vec![method], vec![route])),
        }
        self
    }

    /// Adds a route under several paths: the seeds' aliases.
    #[must_use]
    pub fn add_at<F, Args>(
        mut self,
        method: &Method,
        paths: &[&str],
        access: Access,
        class: RateClass,
        handler: &F,
    ) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        for path in paths {
            self = self.add(method.clone(), path, access, class, handler.clone());
        }
        self
    }

    /// The rows, in the order they were added.
    pub fn rows(&self) -> &[RouteRow] {
        &self.rows
    }

    /// Mounts everything: a path with another method answers 405 with `Allow`, every other path 404.
    pub fn mount(self, config: &mut web::ServiceConfig) {
        for (path, methods, routes) in self.resources {
            let mut allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
            if methods.contains(&Method::GET) {
                allow.push("HEAD");
            }
            allow.push("OPTIONS");
            let allow = allow.join(", ");
            let resource = routes.into_iter().fold(Resource::new(path.as_str()), Resource::route);
            config.service(resource.default_service(web::to(move |method: Method| {
                let allow = allow.clone();
                async move { other_method(&method, allow) }
            })));
        }
        config.default_service(web::to(|| async { ApiFailure::from(Code::NotFound).error_response() }));
    }
}

/// OPTIONS tells the methods and does nothing else: no cross-origin answer is ever given (row R24).
fn other_method(method: &Method, allow: String) -> HttpResponse {
    if *method == Method::OPTIONS {
        return HttpResponse::NoContent().insert_header((ALLOW, allow)).finish();
    }
    ApiFailure::method_not_allowed(allow).error_response()
}
