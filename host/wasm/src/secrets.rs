//! Secrets that a guest was granted by name.

use wasink_chassis::Secret;
use wasink_chassis::logger::Level;

use crate::bindings::wasink::plugin::secrets::Host;
use crate::host::HostState;

impl Host for HostState {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let find = |secret: &&Secret| secret.name() == name;
        let Some(secret) = self.secrets.iter().find(find).cloned() else { return Ok(None) };
        // It may have to be read, which must not hold up the deadline of the call.
        let text = tokio::task::spawn_blocking(move || secret.get()).await?;
        match text {
            Ok(text) => Ok(Some(text.expose().to_owned())),
            Err(error) => {
                let fields = [("reason".to_owned(), error.to_string().into())];
                self.words.tell(Level::Error, "a secret can't be read", &fields);
                Ok(None)
            }
        }
    }
}
