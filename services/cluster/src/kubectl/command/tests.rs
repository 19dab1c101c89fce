use proptest::prelude::*;

use super::super::Failure;
use super::*;

fn read(line: &str) -> Command {
    Command::read(line).unwrap_or_else(|fault| panic!("{line}: {fault:?}")).0
}

fn refused(line: &str) -> String {
    match Command::read(line) {
        Err(Failure::Said(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn lines_of_the_seeds_frontends_are_read() {
    let Command::Get(get) = read("kubectl get pods -n production-app") else { panic!() };
    assert_eq!((get.scope, get.output), (Scope::One("production-app".into()), Output::Table { wide: false }));
    for kind in ["pods", "deployments", "services", "statefulsets", "daemonsets", "jobs", "cronjobs"] {
        let Command::Get(get) = read(&format!("kubectl get {kind} -n shop -o json")) else { panic!() };
        assert_eq!((get.targets[0].kind.as_str(), get.output), (kind, Output::Json));
    }
    let line =
        "kubectl get events --field-selector involvedObject.name=web-1 -n shop --sort-by='.lastTimestamp' -o json";
    let Command::Get(get) = read(line) else { panic!() };
    assert_eq!(get.fields.as_deref(), Some("involvedObject.name=web-1"));
    assert_eq!(get.sort_by.as_deref(), Some(".lastTimestamp"));
    let Command::Logs(logs) = read("kubectl logs web-1 -n shop --tail=100") else { panic!() };
    assert_eq!((logs.pod.as_str(), logs.namespace.as_str(), logs.tail), ("web-1", "shop", Some(100)));
    assert!(matches!(read("kubectl describe nodes"), Command::Describe(_)));
    assert!(
        matches!(read("kubectl get nodes -o wide"), Command::Get(get) if get.output == Output::Table { wide: true })
    );
}

#[test]
fn every_spelling_of_a_flag_is_one() {
    for line in [
        "kubectl get pods -nshop",
        "kubectl get pods -n=shop",
        "kubectl get pods --namespace shop",
        "kubectl -n shop get pods",
        "kubectl get --namespace=shop pods",
    ] {
        let Command::Get(get) = read(line) else { panic!() };
        assert_eq!(get.scope, Scope::One("shop".into()), "{line}");
    }
    let Command::Get(get) = read("kubectl get pod/a deploy/b -ojson") else { panic!() };
    assert_eq!(get.targets.len(), 2);
    let Command::Get(get) = read("kubectl get po,svc -A") else { panic!() };
    assert_eq!((get.targets.len(), get.scope), (2, Scope::All));
    let Command::Logs(logs) = read("kubectl logs pod/a main -p --since 1h30m") else { panic!() };
    assert_eq!((logs.container.as_deref(), logs.previous, logs.since), (Some("main"), true, Some(5_400)));
    let Command::Restart(restart) = read("kubectl rollout restart deployment/web -n shop") else { panic!() };
    assert_eq!(restart.targets[0].name.as_deref(), Some("web"));
    let Command::Scale(scale) = read("kubectl scale deploy web --replicas=3") else { panic!() };
    assert_eq!(scale.replicas, 3);
}

#[test]
fn k1_what_is_not_on_the_list_is_refused() {
    for line in [
        "",
        "ls",
        "bash -c id",
        "/usr/bin/kubectl get pods",
        "kubectl",
        "kubectl exec a -- id",
        "kubectl apply -f x",
        "kubectl edit pod a",
        "kubectl config view",
        "kubectl proxy",
        "kubectl plugin list",
        "kubectl port-forward a 1",
        "kubectl cp a:/x y",
        "kubectl auth can-i",
        "kubectl delete pods",
        "kubectl delete pods --all",
        "kubectl delete pods -l a=b",
        "kubectl scale deploy web",
        "kubectl scale deploy web --replicas=-1",
        "kubectl rollout undo deploy/web",
        "kubectl get",
        "kubectl get pods --output=jsonpath={.items}",
        "kubectl get pods ../../x",
        "kubectl get pod/..",
        "kubectl get pod/a%2fb",
        "kubectl get pods -n a/b",
        "kubectl logs",
        "kubectl logs deploy/web",
        "kubectl logs a --tail=x",
        "kubectl logs -f a",
        "kubectl get pods -w",
        "kubectl get pods -n a -n b",
        "kubectl get pods --all-namespaces=perhaps",
        "kubectl get pods -- x",
    ] {
        assert!(refused(line).starts_with("error: "), "{line}");
    }
}

#[test]
fn k2_where_and_as_whom_is_not_a_commands_to_say() {
    for flag in [
        "--server=https://evil",
        "-s https://evil",
        "--token=canary",
        "--token canary",
        "--kubeconfig=/etc/x",
        "--context=x",
        "--as=system:admin",
        "--as-group=system:masters",
        "--insecure-skip-tls-verify=true",
        "--certificate-authority=/x",
        "--client-key=/x",
        "--password=canary",
        "-f /etc/passwd",
        "--filename=/etc/passwd",
        "-k .",
        "--raw=/api",
        "--user=x",
        "--cache-dir=/x",
        "--template=x",
    ] {
        let text = refused(&format!("kubectl get pods {flag}"));
        assert!(text.contains("is not taken") && !text.contains("canary"), "{flag}: {text}");
    }
    let unknown = refused("kubectl get pods --canary-secret-that-is-very-long-indeed=x");
    assert!(unknown.starts_with("error: unknown flag: ") && unknown.len() < 60, "{unknown}");
    assert_eq!(Command::shown("kubectl get pods --token=canary"), "kubectl get");
    assert_eq!(Command::shown("canary"), "kubectl");
    assert_eq!(Command::shown("kubectl CANARY; x"), "kubectl");
}

proptest! {
    #[test]
    fn garbage_does_not_panic(line in "kubectl [a-z/,=.' -]{0,60}") {
        let _ = Command::read(&line);
    }
}
