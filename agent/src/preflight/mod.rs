//! Walks the way that a dial and a request will take, and names the first broken step with its fix.

mod report;

use chrono::Duration;
use http::{Request, StatusCode};
use roadstead_contracts::agent::CONNECT_PATH;
use roadstead_contracts::identity::Role;
use roadstead_runtime::{Secret, SharedClock};

pub use report::{Outcome, Report};

use crate::Error;
use crate::dial::{SKEW_MAX, SKEW_TOLERATED, date_of};
use crate::keep::Keeper;
use crate::kubernetes::{Cluster, Failure};
use crate::net::door::Door;
use crate::net::{Step, Way, http as exchange};

/// What a pre-flight looks at.
#[derive(Debug)]
pub struct Plan<'a> {
    /// `--hub`.
    pub hub: &'a str,
    /// The join token, when there is one.
    pub token: Option<&'a Secret>,
    /// Where the key is or will be.
    pub keeper: Option<&'a Keeper>,
    /// The cluster, or why it cannot be opened.
    pub cluster: Result<&'a Cluster, &'a Error>,
}

/// Walks all of it. Steps that depend on a broken one are skipped.
pub async fn run(plan: &Plan<'_>, way: &Way, clock: &SharedClock) -> Report {
    let mut report = Report::default();
    if let Some(hub_time) = to_hub(plan.hub, way, &mut report).await {
        check_clock(hub_time - clock.now(), &mut report);
    } else {
        report.skip("clock", "the hub was not reached");
    }
    check_token(plan, &mut report).await;
    match plan.cluster {
        Ok(cluster) => check_cluster(cluster, &mut report).await,
        Err(error) => {
            report.fail("Kubernetes API", error, "give --kubeconfig FILE, or run the agent in the cluster");
            report.skip("RBAC", "the cluster was not reached");
        }
    }
    report
}

/// The steps to the hub. Gives the hub's time.
async fn to_hub(hub: &str, way: &Way, report: &mut Report) -> Option<chrono::DateTime<chrono::Utc>> {
    let steps = [Step::Dns, Step::Tcp, Step::Proxy, Step::Tls];
    let reached = async {
        let door = Door::find(way, hub).await?;
        // Without a credential the door answers 401; anything of the hub's will do.
        let request = Request::get(door.path(CONNECT_PATH)?)
            .body(bytes::Bytes::new())
            .map_err(|error| Error::Protocol(error.to_string()))?;
        let answer = exchange::exchange(way, request).await?;
        Ok::<_, Error>((door, answer))
    };
    match reached.await {
        Ok((door, answer)) => {
            let proxy = door.path("").ok().and_then(|uri| way.proxy_of(&uri));
            for step in steps {
                match (step, &proxy) {
                    (Step::Proxy, None) => report.pass("proxy", "none needed"),
                    (Step::Proxy, Some(proxy)) => report.pass("proxy", proxy),
                    (Step::Tls, _) if door.is_exposed() => {
                        report.warn("TLS", "none", "plain HTTP over a network shows the join token; use https");
                    }
                    (Step::Tls, _) if door.to_string().starts_with("http:") => {
                        report.pass("TLS", "none, on this machine");
                    }
                    _ => report.pass(step.name(), "ok"),
                }
            }
            let is_door = !matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
            if is_door {
                report.pass("hub", &door);
            } else {
                let fix = "give --hub the URL that the join line names";
                report.fail("hub", format!("no door for agents at {door}"), fix);
            }
            date_of(answer.headers())
        }
        Err(Error::Net(error)) => {
            for step in steps {
                if step == error.step {
                    break;
                }
                if step != Step::Proxy && matches!(error.step, Step::Tls | Step::Http) {
                    report.pass(step.name(), "ok");
                }
            }
            report.fail(error.step.name(), &error.detail, &error.fix);
            None
        }
        Err(error) => {
            report.fail("hub", error, "check --hub");
            None
        }
    }
}

fn check_clock(skew: Duration, report: &mut Report) {
    let text = format!("{} s off the hub's", skew.num_seconds());
    let fix = "set this machine's clock (NTP)";
    if skew.abs() > SKEW_MAX {
        report.fail("clock", text, fix);
    } else if skew.abs() > SKEW_TOLERATED {
        report.warn("clock", text, fix);
    } else {
        report.pass("clock", "ok");
    }
}

async fn check_token(plan: &Plan<'_>, report: &mut Report) {
    let fix = "make a token: roadstead join-token create";
    match plan.keeper {
        None => {}
        Some(keeper) => match keeper.load().await {
            Ok(Some(kept)) => {
                return report.pass("token", format!("not needed: joined already as cluster {}", kept.cluster_name));
            }
            Ok(None) => {
                if let Err(error) = keeper.check().await {
                    return report.fail("state", error, "give --state a folder that the agent can write");
                }
            }
            Err(error) => return report.fail("state", error, "repair or remove the agent's state"),
        },
    }
    match plan.token {
        None => report.fail("token", "none given, and the agent has not joined yet", fix),
        Some(token) if token.expose().starts_with("rsj_") => {
            report.pass("token", "looks right; the hub checks it when the agent joins");
        }
        Some(_) => report.fail("token", "not a join token (rsj_…)", fix),
    }
}

async fn check_cluster(cluster: &Cluster, report: &mut Report) {
    match cluster.version().await {
        Ok(version) => report.pass("Kubernetes API", format!("{version} at {}", cluster.address)),
        Err(failure) => {
            let fix = match &failure {
                Failure::Unauthorized => "give the agent a kubeconfig or service account that the cluster knows",
                _ => "check the server in the kubeconfig and that this machine reaches it",
            };
            report.fail("Kubernetes API", failure, fix);
            return report.skip("RBAC", "the API server did not answer");
        }
    }
    let manifest = "apply the manifest of the join line again: kubectl apply -f <hub>/import/<token>.yaml";
    match cluster.may_impersonate(Role::Viewer).await {
        Ok(true) => {}
        Ok(false) => return report.fail("RBAC", "the agent may not act as users of the hub", manifest),
        Err(failure) => return report.fail("RBAC", failure, manifest),
    }
    let mut unbound = Vec::new();
    for role in Role::ALL {
        if !cluster.is_bound(role).await.unwrap_or(false) {
            unbound.push(format!("roadstead:{}", role.as_str()));
        }
    }
    if unbound.is_empty() {
        return report.pass("RBAC", "the agent may act as users of the hub, and their roles are bound");
    }
    if cluster.inside {
        report.warn("RBAC", format!("no rights for {}", unbound.join(", ")), manifest);
    } else {
        // Which rights they get is said by the token's profile, which only the hub knows: bound once the agent has joined.
        report.pass(
            "RBAC",
            "the agent may act as users of the hub, and binds their roles as its profile says once it joined",
        );
    }
}
