//! `wasink plugins pull` and `wasink plugins push`, with a real registry.

use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::Value;

use super::operator::{Ended, Operator, end};
use super::swap::{PLUGIN, config, serve, version};
use crate::registry_server::{PASSWORD, Registry, USER};

const LOCK: &str = "plugins/wasink.lock";

/// An operator's directory with its plugins in `plugins`, and a registry.
struct Desk {
    operator: Operator,
    registry: Registry,
}

impl Desk {
    fn at(registry: Registry) -> Self {
        let operator = Operator::new();
        operator.write("wasink.toml", "plugin_dirs = ['plugins']\n");
        Self { operator, registry }
    }

    fn new() -> Option<Self> {
        Registry::start().map(Self::at)
    }

    /// `host:port/plugins/` and this.
    fn reference(&self, rest: &str) -> String {
        format!("{}/plugins/{rest}", self.registry.address())
    }

    fn says(&self, arguments: &str) -> Ended {
        let mut command = self.operator.wasink(arguments);
        command.env("DOCKER_CONFIG", self.operator.path("docker"));
        end(command, b"")
    }

    /// Pushes these bytes, and returns the reference with its digest.
    fn push(&self, bytes: &[u8], rest: &str) -> String {
        self.operator.write("new.wasm", bytes);
        let pushed = self.says(&format!("plugins push new.wasm {}", self.reference(rest)));
        pushed.expect(0).stdout.trim().to_owned()
    }

    fn pull(&self, rest: &str) -> Ended {
        self.says(&format!("plugins pull {}", self.reference(rest)))
    }

    fn installed(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.operator.path(path)).unwrap()
    }

    /// All that is in the plugin directory.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.operator.path("plugins")).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut files: Vec<_> = entries.map(name).collect();
        files.sort();
        files
    }
}

fn manifest(reference: &str) -> &str {
    reference.split_once('@').unwrap().1
}

#[test]
fn a_plugin_is_pushed_and_pulled_and_its_lock_says_what_it_was() {
    let Some(desk) = Desk::new() else { return };
    let pushed = desk.push(&version("one"), "ledger:1");
    let pulled = desk.pull("ledger:1").expect(0);
    assert!(pulled.stdout.starts_with("ledger "), "{pulled:?}");
    assert!(pulled.stdout.contains(&format!("  from {pushed}\n  in plugins/ledger.wasm\n")));
    assert_eq!(desk.installed(PLUGIN), version("one"));
    assert_eq!(desk.files(), ["ledger.wasm", "wasink.lock"]);
    let lock = desk.operator.read(LOCK);
    assert!(lock.contains(&format!("reference = \"{}\"", desk.reference("ledger:1"))), "{lock}");
    assert!(lock.contains(&format!("manifest = \"{}\"", manifest(&pushed))), "{lock}");
    let listed = desk.says("plugins list --json").expect(0).json();
    assert_eq!(listed["oddities"], Value::Array(Vec::new()), "{listed:#}");

    // Under another name, by its digest, told to programs.
    let by_digest = desk.reference(&format!("ledger@{}", manifest(&pushed)));
    let told = desk.says(&format!("plugins pull {by_digest} --name other --json")).expect(0).json();
    assert_eq!(told["plugins"][0]["reference"], by_digest);
    assert_eq!(told["plugins"][0]["path"], "plugins/other.wasm");
    assert!(lock.contains(told["plugins"][0]["digest"].as_str().unwrap()));

    // What comes with wasink can be pushed by its name; the ends of feeds have a folder of their own.
    let file = desk.reference("file:1");
    desk.says(&format!("plugins push file {file}")).expect(0);
    let source = wasink_bundled::FEED_SOURCES.iter().find(|(name, _)| *name == "file").unwrap().1;
    desk.push(source, "feed-file:1");
    desk.says(&format!("plugins pull {} --name file", desk.reference("feed-file:1"))).expect(0);
    assert_eq!(desk.installed("plugins/feed-sources/file.wasm"), source);
    desk.pull("file:1").expect(0);
    assert_eq!(desk.operator.read(LOCK).matches("name = \"file\"").count(), 2);
}

#[test]
fn a_tag_that_has_moved_is_taken_only_where_that_is_said() {
    let Some(desk) = Desk::new() else { return };
    let one = desk.push(&version("one"), "ledger:1");
    desk.pull("ledger:1").expect(0);
    desk.pull("ledger:1").expect(0);
    let two = desk.push(&version("two"), "ledger:1");
    let moved = desk.pull("ledger:1").expect(1);
    for word in [manifest(&one), manifest(&two), "has moved", "`--update`"] {
        assert!(moved.stderr.contains(word), "{word}: {moved:?}");
    }
    assert_eq!(desk.installed(PLUGIN), version("one"));

    // What the lock says is there still, and comes to a directory where nothing else is.
    std::fs::remove_file(desk.operator.path(PLUGIN)).unwrap();
    let locked = desk.says("plugins pull --locked").expect(0);
    assert!(locked.stdout.contains(&one), "{locked:?}");
    assert_eq!(desk.installed(PLUGIN), version("one"));

    let update = format!("plugins pull {} --update", desk.reference("ledger:1"));
    assert!(desk.says(&update).expect(0).stdout.contains(&two));
    assert_eq!(desk.installed(PLUGIN), version("two"));
    desk.pull("ledger:1").expect(0);
    desk.says("plugins pull --locked").expect(0);
    assert_eq!(desk.installed(PLUGIN), version("two"));
}

#[test]
fn a_lock_file_that_is_cut_or_written_to_is_told_with_its_line() {
    let Some(desk) = Desk::new() else { return };
    let empty = desk.says("plugins pull --locked").expect(1);
    assert!(empty.stderr.contains("nothing has been fetched"), "{empty:?}");
    let one = desk.push(&version("one"), "ledger:1");
    desk.pull("ledger:1").expect(0);
    let whole = desk.operator.read(LOCK);
    let (cut, _) = whole.split_once("component").unwrap();
    let nothing = "0".repeat(64);
    let (kept, last) = whole.rsplit_once("sha256:").unwrap();
    let other = format!("{kept}sha256:{nothing}\"\n");
    assert_eq!(last.len(), 66);
    for (content, reason) in [
        (cut, ", line 5: missing field `component`"),
        (&whole.replace("version = 1", "version = 7"), ", line 2: its version is 7"),
        (&other, "somebody has written to the file"),
    ] {
        desk.operator.write(LOCK, content);
        let told = desk.says("plugins pull --locked").expect(1);
        assert!(told.stderr.contains(reason) && told.stderr.contains("lock file"), "{told:?}");
    }
    let gone = whole.replace(manifest(&one), &format!("sha256:{nothing}"));
    desk.operator.write(LOCK, gone);
    let told = desk.says("plugins pull --locked").expect(1);
    assert!(told.stderr.contains("(404"), "{told:?}");
    assert_eq!(desk.installed(PLUGIN), version("one"));
}

#[test]
fn what_is_not_what_it_should_be_leaves_everything_as_it_was() {
    let Some(desk) = Desk::new() else { return };
    desk.push(&version("one"), "ledger:1");
    desk.pull("ledger:1").expect(0);
    let lock = desk.operator.read(LOCK);
    desk.push(&version("two"), "ledger:2");
    let two = desk.says("plugins inspect new.wasm --json").expect(0).json();
    let digest = two["digest"].as_str().unwrap();
    let unchanged = |told: &Ended, word: &str| {
        assert!(told.stderr.contains(word), "{word}: {told:?}");
        assert_eq!(desk.installed(PLUGIN), version("one"));
        assert_eq!(desk.files(), ["ledger.wasm", "wasink.lock"]);
        assert_eq!(desk.operator.read(LOCK), lock);
    };
    let set = |more: &str| {
        desk.operator.write("wasink.toml", format!("plugin_dirs = ['plugins']\n{more}"));
    };

    // A sink's pin, and a limit, as for a swap.
    let pin = format!("sha256:{}", "0".repeat(64));
    set(&format!(
        "[[sink]]\nname = 'a'\nplugin = 'ledger'\nstreams = ['usage']\ndigest = '{pin}'\n"
    ));
    unchanged(&desk.pull("ledger:2").expect(69), "`sink[0].digest` allows only");
    set("limits.component = '1KiB'\n");
    unchanged(&desk.pull("ledger:2").expect(1), "allow it more with `limits.component`");
    let key = SigningKey::from_bytes(&[3; 32]);
    let pem = key.verifying_key().to_public_key_pem(Default::default()).unwrap();
    desk.operator.write("plugins.pem", pem);
    set("plugin_keys = ['plugins.pem']\n");
    unchanged(&desk.pull("ledger:2").expect(69), "it is not signed");
    set("");

    // Other bytes on the registry's disk, as many of them.
    let blob = desk.registry.blob(digest);
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    unchanged(&desk.pull("ledger:2").expect(1), "nothing of it is kept");

    desk.registry.put_image("plugins/image", "1");
    unchanged(&desk.pull("image:1").expect(1), "is no plugin but an image for containers");
    unchanged(&desk.pull("ledger:9").expect(1), "check the repository and the tag");
    unchanged(&desk.pull("my_ledger:1").expect(1), "choose a name with `--name`");
    unchanged(&desk.pull("ledger").expect(2), "add a tag or a digest");
    desk.says("plugins pull").expect(2);

    // Nor is it pushed.
    desk.operator.write("text.wasm", "this is no component");
    let text = desk.says(&format!("plugins push text.wasm {}", desk.reference("text:1")));
    unchanged(&text.expect(69), "it is not WebAssembly");
    let Desk { operator, mut registry } = desk;
    registry.kill();
    let reference = format!("{}/plugins/ledger:1", registry.address());
    let gone = operator.says(&format!("plugins pull {reference}")).expect(1);
    assert!(gone.stderr.contains("can't be reached"), "{gone:?}");
}

#[test]
fn a_signature_goes_with_its_plugin() {
    let Some(desk) = Desk::new() else { return };
    let key = SigningKey::from_bytes(&[3; 32]);
    let pem = key.verifying_key().to_public_key_pem(Default::default()).unwrap();
    desk.operator.write("plugins.pem", pem);
    let toml = "plugin_dirs = ['plugins']\nplugin_keys = ['plugins.pem']\n";
    desk.operator.write("wasink.toml", toml);
    let signature = key.sign(&version("one")).to_bytes();
    desk.operator.write("new.wasm.sig", signature);
    desk.push(&version("one"), "ledger:1");
    desk.pull("ledger:1").expect(0);
    assert_eq!(desk.files(), ["ledger.wasm", "ledger.wasm.sig", "wasink.lock"]);
    assert_eq!(desk.installed("plugins/ledger.wasm.sig"), signature);
    desk.says("plugins inspect ledger").expect(0);

    // One over other bytes is taken by nobody.
    desk.operator.write("other.wasm", version("two"));
    desk.operator.write("other.wasm.sig", signature);
    let other = desk.says(&format!("plugins push other.wasm {}", desk.reference("ledger:2")));
    assert!(other.expect(69).stderr.contains("over other bytes"));
}

#[test]
fn a_password_is_in_a_file_in_the_environment_or_in_docker_s_configuration_and_shown_nowhere() {
    let Some(registry) = Registry::guarded() else { return };
    let desk = Desk::at(registry);
    desk.operator.write("new.wasm", version("one"));
    desk.operator.write("password", format!("{PASSWORD}\n"));
    let reference = desk.reference("ledger:1");
    let push = format!("plugins push new.wasm {reference}");
    let nobody = desk.says(&push).expect(1);
    assert!(
        nobody.stderr.contains("(401)") && nobody.stderr.contains("`--username`"),
        "{nobody:?}"
    );
    let without = desk.says(&format!("{push} --username {USER}")).expect(1);
    assert!(without.stderr.contains("WASINK_REGISTRY_PASSWORD"), "{without:?}");
    desk.says(&format!("{push} --username {USER} --password-file password")).expect(0);

    let with = |arguments: &str, password: &str| {
        let mut command = desk.operator.wasink(arguments);
        command.env("WASINK_REGISTRY_PASSWORD", password).env("HOME", desk.operator.path("."));
        end(command, b"")
    };
    let pull = format!("plugins pull {reference} --username {USER}");
    let wrong = with(&pull, "a wild guess").expect(1);
    assert!(wrong.stderr.contains("check the user's name and the password"), "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("a wild guess"), "{wrong:?}");
    let right = with(&pull, PASSWORD).expect(0);
    assert!(!format!("{right:?}").contains(PASSWORD), "{right:?}");
    // It is no key of the configuration.
    let shown = with("config", PASSWORD).expect(0);
    assert!(!shown.stdout.contains(PASSWORD), "{shown:?}");

    // `me:let me in`, in Base64.
    let docker = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"bWU6bGV0IG1lIGlu\"}}}}}}",
        desk.registry.address()
    );
    desk.operator.write("docker/config.json", docker);
    desk.pull("ledger:1").expect(0);
    desk.says("plugins pull --locked").expect(0);
}

#[test]
fn a_plugin_that_is_pulled_takes_over_where_wasink_runs() {
    let Some(desk) = Desk::new() else { return };
    desk.push(&version("one"), "ledger:1");
    desk.push(&version("two"), "ledger:2");
    desk.operator.write("wasink.toml", config("swap.watch = '20ms'", ""));
    desk.pull("ledger:1").expect(0);
    let running = serve(&desk.operator);
    let digest = |told: Ended| told.expect(0).json()["plugins"][0]["digest"].clone();
    let pull = format!("plugins pull {} --json", desk.reference("ledger:2"));
    let two = digest(desk.says(&pull));
    desk.operator.await_json("plugins list --json", |listed| {
        let plugins = listed["plugins"].as_array().unwrap();
        plugins.iter().any(|plugin| {
            plugin["name"] == "ledger" && plugin["in_charge"]["version"]["digest"] == two
        })
    });
    running.signal("TERM");
    running.end().expect(143);
}
