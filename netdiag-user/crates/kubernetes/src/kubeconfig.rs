//! A kubeconfig as it may be used: of bounded length, with the files that it names read here and
//! now, and without the programs that it names unless somebody said so.
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use kube::config::{AuthInfo, Cluster, Kubeconfig};

use crate::sys::{file, settings_file};

/// A kubeconfig larger than this is none.
const LARGEST: usize = 4 << 20;

/// Where to look for the API, and what may be done to be let in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    pub kubeconfig: Option<&'a Path>,
    /// The kubeconfig's context of that name, not its current one.
    pub context: Option<&'a str>,
    /// Root may run the program that the kubeconfig names to log in.
    pub plugins: bool,
}

/// One file, with paths in it taken from its own folder, as kubectl takes them.
pub fn read(path: &Path) -> Result<Kubeconfig> {
    let text = settings_file::text(path, LARGEST).map_err(|e| anyhow!("{e}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let config = Kubeconfig::from_yaml(text).map_err(sentence);
    let mut config = config.context("it is no kubeconfig")?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let absolute = |file: &mut Option<String>| {
        if let Some(relative) = file.as_mut().filter(|f| Path::new(f).is_relative()) {
            *relative = folder.join(&relative).to_string_lossy().into_owned();
        }
    };
    for cluster in config
        .clusters
        .iter_mut()
        .filter_map(|c| c.cluster.as_mut())
    {
        absolute(&mut cluster.certificate_authority);
    }
    for user in config
        .auth_infos
        .iter_mut()
        .filter_map(|a| a.auth_info.as_mut())
    {
        absolute(&mut user.client_certificate);
        absolute(&mut user.client_key);
        absolute(&mut user.token_file);
        if let Some(exec) = &mut user.exec
            && exec.command.as_ref().is_some_and(|c| c.contains('/'))
        {
            absolute(&mut exec.command);
        }
    }
    Ok(config)
}

/// What $KUBECONFIG names, several files as one.
pub fn from_environment() -> Result<Option<Kubeconfig>> {
    let paths = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let paths = std::env::split_paths(&paths).filter(|p| !p.as_os_str().is_empty());
    let mut all = None;
    for path in paths {
        let next = read(&path).with_context(|| format!("$KUBECONFIG: {}", path.display()))?;
        all = Some(match all {
            Some(before) => Kubeconfig::merge(before, next).map_err(sentence)?,
            None => next,
        });
    }
    Ok(all)
}

/// What the parser says goes on with lines of the file, which may be something else, or a secret.
fn sentence(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let text = format!("{:#}", anyhow!(error));
    anyhow!(text.lines().next().unwrap_or_default().to_owned())
}

/// Makes the context of that name the current one.
pub fn choose(config: &mut Kubeconfig, context: Option<&str>) -> Result<()> {
    let Some(wanted) = context else { return Ok(()) };
    if !config.contexts.iter().any(|it| it.name == wanted) {
        let known: Vec<&str> = config.contexts.iter().map(|it| it.name.as_str()).collect();
        let known = crate::model::text::line(&known.join(", "), 300);
        let wanted = crate::model::text::line(wanted, 100);
        bail!("it has no context '{wanted}', but {known}");
    }
    config.current_context = Some(wanted.to_owned());
    Ok(())
}

/// Refuses programs, and puts the certificates and the key of the chosen cluster and user in the
/// place of their files.
pub fn settle(config: &mut Kubeconfig, plugins: bool) -> Result<()> {
    let chosen = config.current_context.as_ref().and_then(|name| {
        let named = config.contexts.iter().find(|c| c.name == *name)?;
        named.context.clone()
    });
    let Some(chosen) = chosen else {
        return Ok(());
    };
    let clusters = config.clusters.iter_mut();
    let cluster = clusters.filter(|c| c.name == chosen.cluster);
    if let Some(cluster) = cluster.filter_map(|c| c.cluster.as_mut()).next() {
        of_cluster(cluster)?;
    }
    let users = config.auth_infos.iter_mut();
    let user = users.filter(|u| Some(&u.name) == chosen.user.as_ref());
    if let Some(user) = user.filter_map(|u| u.auth_info.as_mut()).next() {
        if !plugins && nix::unistd::geteuid().is_root() {
            refuse_programs(user)?;
        }
        of_user(user)?;
    }
    Ok(())
}

fn refuse_programs(user: &AuthInfo) -> Result<()> {
    let exec = user.exec.as_ref().map(|exec| &exec.command);
    let provider = user.auth_provider.as_ref();
    let provider = provider.and_then(|p| p.config.get("cmd-path"));
    let named = match (exec, provider) {
        (Some(command), _) => command.as_deref().unwrap_or("a program"),
        (None, Some(command)) => command,
        (None, None) => return Ok(()),
    };
    let named = crate::model::text::line(named, 100);
    bail!(
        "it logs in by running {named}, and root runs no program that a file names: \
         --allow-exec-plugin lets it, a token or a certificate needs none"
    )
}

fn of_cluster(cluster: &mut Cluster) -> Result<()> {
    if let (Some(file), None) = (
        &cluster.certificate_authority,
        &cluster.certificate_authority_data,
    ) {
        cluster.certificate_authority_data = Some(base64(&pem("certificate-authority", file)?));
        cluster.certificate_authority = None;
    }
    Ok(())
}

fn of_user(user: &mut AuthInfo) -> Result<()> {
    if let (Some(file), None) = (&user.client_certificate, &user.client_certificate_data) {
        user.client_certificate_data = Some(base64(&pem("client-certificate", file)?));
        user.client_certificate = None;
    }
    if let (Some(file), None) = (&user.client_key, &user.client_key_data) {
        user.client_key_data = Some(base64(&pem("client-key", file)?).into());
        user.client_key = None;
    }
    // Read again and again by who asks, as tokens are renewed.
    if let Some(file) = &user.token_file {
        pem("tokenFile", file)?;
    }
    Ok(())
}

fn pem(what: &str, file: &str) -> Result<Vec<u8>> {
    let bytes = settings_file::read(Path::new(file), file::CONFIG);
    bytes.map_err(|e| anyhow!("its {what} {file} cannot be read: {e}"))
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = word(0) << 16 | word(1) << 8 | word(2);
        for sextet in 0..4 {
            match sextet <= three.len() {
                true => {
                    let index = bits >> (18 - 6 * sextet) & 63;
                    text.push(char::from(ALPHABET[index as usize]));
                }
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kubeconfig(user: &str, cluster: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: \"https://192.0.2.1\"{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    fn settled(user: &str, cluster: &str, plugins: bool) -> Result<Kubeconfig> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), "ca!").expect("written");
        std::fs::write(folder.path().join("key.pem"), "key").expect("written");
        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU)
            .expect("made");
        let path = folder.path().join("config");
        std::fs::write(&path, kubeconfig(user, cluster)).expect("written");
        let mut config = read(&path)?;
        settle(&mut config, plugins)?;
        Ok(config)
    }

    #[test]
    fn files_are_read_once_and_must_be_plain() {
        let config = settled(
            "client-key: key.pem",
            ", certificate-authority: ca.pem",
            false,
        );
        let config = config.expect("settled");
        let cluster = config.clusters[0].cluster.as_ref().expect("a cluster");
        let data = cluster.certificate_authority_data.as_deref();
        assert_eq!(
            (data, &cluster.certificate_authority),
            (Some("Y2Eh"), &None)
        );
        let user = config.auth_infos[0].auth_info.as_ref().expect("a user");
        assert!(user.client_key_data.is_some() && user.client_key.is_none());
        for odd in ["/dev/zero", "pipe", "/", "none.pem"] {
            let cluster = format!(", certificate-authority: {odd}");
            let why = settled("", &cluster, false)
                .expect_err("refused")
                .to_string();
            assert!(why.contains("certificate-authority"), "{why}");
            let user = format!("tokenFile: {odd}");
            let why = settled(&user, "", false).expect_err("refused").to_string();
            assert!(why.contains("tokenFile"), "{why}");
        }
    }

    #[test]
    fn what_others_may_write_is_nobodys_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let open = |path: &Path| {
            let all = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(path, all).expect("set");
        };
        let ca = put("ca.pem", "ca!");
        put("config", &kubeconfig("", ", certificate-authority: ca.pem"));
        let mut config = read(&path).expect("it is its owner's");
        settle(&mut config.clone(), false).expect("settled");
        open(&ca);
        let why = settle(&mut config, false).expect_err("refused").to_string();
        assert!(why.contains("ca.pem can be written by others"), "{why}");
        open(&path);
        let why = read(&path).expect_err("refused").to_string();
        assert!(
            why.ends_with("config can be written by others than its owner (chmod go-w)"),
            "{why}"
        );
    }

    #[test]
    fn root_runs_no_program_unasked() {
        let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login}";
        let provider = "auth-provider: {name: gcp, config: {cmd-path: /bin/gcloud}}";
        let root = nix::unistd::geteuid().is_root();
        for user in [exec, provider] {
            let refused = settled(user, "", false);
            assert_eq!(refused.is_err(), root, "{refused:?}");
            if let Err(why) = refused {
                assert!(why.to_string().contains("--allow-exec-plugin"), "{why}");
            }
            settled(user, "", true).expect("let");
        }
        let config = settled(exec, "", true).expect("let");
        let user = config.auth_infos[0].auth_info.as_ref().expect("a user");
        let command = user.exec.as_ref().and_then(|e| e.command.clone());
        assert!(command.expect("a command").starts_with('/'));
    }

    #[test]
    fn bytes_as_text() {
        let texts = ["", "f", "fo", "foo", "foob"].map(|t| base64(t.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }
}
