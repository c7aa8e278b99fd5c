use base64::engine::general_purpose::STANDARD;
use kube::config::Kubeconfig;

use super::*;

const CA: &str = "LS0tLS1CRUdJTiBDRVJU";

fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn jwt(expires: Option<&str>) -> String {
    let claims = match expires {
        Some(time) => format!(r#"{{"exp":{}}}"#, time.parse::<Timestamp>().unwrap().as_second()),
        None => "{}".to_owned(),
    };
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

/// Returns the outcome for a file with these entries for the cluster and the user (YAML flow, or lines of a block).
fn outcome(dir: &Path, about_cluster: &str, about_user: &str) -> Result<(Cluster, AuthInfo), String> {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         clusters:\n- name: c\n  cluster:\n{about_cluster}\nusers:\n- name: u\n  user:\n{about_user}\n"
    );
    let path = dir.join("config");
    std::fs::write(&path, text).unwrap();
    let config = Kubeconfig::read_from(&path).map_err(|error| error.to_string())?;
    let mut cluster = config.clusters[0].cluster.clone().unwrap();
    let mut user = config.auth_infos[0].auth_info.clone().unwrap_or_default();
    super::cluster("c", &mut cluster)?;
    super::user("u", &mut user, now())?;
    Ok((cluster, user))
}

const SERVER: &str = "    server: https://h:6443";
const TOKEN: &str = "    token: secret";

#[test]
fn shapes_that_kubectl_takes_are_brought_into_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.crt"), "").unwrap();
    std::fs::write(dir.path().join("token"), "secret").unwrap();
    let lines =
        format!("{SERVER}\n    certificate-authority-data: |\n      {}\n      {}", &CA[..8], &CA[8..]);
    let folded = format!("{SERVER}\n    certificate-authority-data: \"{} \\r\\n {}\"", &CA[..8], &CA[8..]);
    for several_lines in [lines, folded] {
        let (cluster, _) = outcome(dir.path(), &several_lines, TOKEN).unwrap();
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some(CA));
        assert!(STANDARD.decode(CA).is_ok());
    }
    let named = format!("{SERVER}\n    tls-server-name: inside\n    certificate-authority: ca.crt");
    let (cluster, _) = outcome(dir.path(), &named, TOKEN).unwrap();
    assert_eq!(cluster.tls_server_name.as_deref(), Some("inside"));
    assert_eq!(cluster.certificate_authority.map(Into::into), Some(dir.path().join("ca.crt")));
    let key = "    client-certificate-data: QQ\n    client-key-data: |\n      QU\n      JD";
    let (_, user) = outcome(dir.path(), SERVER, key).unwrap();
    assert_eq!(serde_json::to_value(&user).unwrap()["client-key-data"], "QUJD");
    let (_, user) = outcome(dir.path(), SERVER, "    tokenFile: token\n    token: old").unwrap();
    assert!(user.token.is_none() && user.token_file.is_some(), "what is renewed goes before what is not");
    let (_, user) = outcome(dir.path(), SERVER, "    token: |\n      secret").unwrap();
    assert_eq!(serde_json::to_value(&user).unwrap()["token"], "secret");
    let (_, user) =
        outcome(dir.path(), SERVER, "    token: t\n    as: admin\n    as-groups: [a, b]").unwrap();
    assert_eq!(user.impersonate.as_deref(), Some("admin"));
    outcome(dir.path(), "    server: https://h/k8s/clusters/c-1", TOKEN).unwrap();
    outcome(dir.path(), "    server: https://h\n    insecure-skip-tls-verify: true", TOKEN).unwrap();
}

#[test]
fn shapes_that_no_run_can_use_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let exec =
        "    exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}";
    let both = format!("{SERVER}\n    certificate-authority-data: {CA}\n    insecure-skip-tls-verify: true");
    let no_ca = format!("{SERVER}\n    certificate-authority: nowhere.crt");
    let cases = [
        ("    server: ''", TOKEN, "has no server"),
        ("    server: h:6443", TOKEN, "is not a URL"),
        ("    server: 10.0.0.1", TOKEN, "is not a URL"),
        (&both, TOKEN, "exclude each other"),
        (&no_ca, TOKEN, "certificate-authority"),
        (SERVER, exec, "a program of its own"),
        (SERVER, "    auth-provider: {name: gcp, config: {}}", "a program of its own"),
        (SERVER, "    {}", "no certificate, token or password"),
        (SERVER, "    token: ''", "no certificate, token or password"),
        (SERVER, "    username: me", "no certificate, token or password"),
        (SERVER, "    tokenFile: nowhere", "its tokenFile"),
        (SERVER, "    client-certificate: nowhere\n    client-key-data: QQ", "its client-certificate"),
        (SERVER, "    client-certificate-data: QQ", "but not both"),
        (SERVER, "    token: t\n    as-groups: [a]", "without as"),
    ];
    for (about_cluster, about_user, part) in cases {
        let told = outcome(dir.path(), about_cluster, about_user).unwrap_err();
        assert!(told.contains(part), "{about_cluster} {about_user}: {told}");
    }
}

#[test]
fn a_token_that_ends_too_soon_is_refused_and_one_that_ends_later_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let with = |expires| outcome(dir.path(), SERVER, &format!("    token: {}", jwt(expires)));
    let past = with(Some("2026-11-30T11:59:59Z")).unwrap_err();
    assert!(past.contains("expired at 2026-11-30T11:59:59Z"), "{past}");
    let soon = with(Some("2026-11-30T12:04:00Z")).unwrap_err();
    assert!(soon.contains("within five minutes"), "{soon}");
    let (_, later) = with(Some("2026-11-30T13:00:00Z")).unwrap();
    assert_eq!(expiry(&later).unwrap().to_string(), "2026-11-30T13:00:00Z");
    let (_, lasting) = with(None).unwrap();
    assert_eq!(expiry(&lasting), None);
    let (_, opaque) = outcome(dir.path(), SERVER, TOKEN).unwrap();
    assert_eq!(expiry(&opaque), None);
}
