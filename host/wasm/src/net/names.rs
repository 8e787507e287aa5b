//! Looking names up.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// So many names one sink may have looked up at a time.
const AT_ONCE: usize = 4;

/// Looks up the addresses of hosts. Called for names that were granted, on the thread of a sink or of
/// its connections; must not block.
pub trait Resolve: Send + Sync {
    /// All addresses of the host of this name.
    fn resolve(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>>;
}

/// Asks the system: its hosts file, its name servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            let mut addresses: Vec<_> = found.map(|address| address.ip().to_canonical()).collect();
            addresses.dedup();
            Ok(addresses)
        })
    }
}

/// Looks names up for one sink. Each lookup goes to its end, however soon nobody waits for it any more,
/// and counts until then: the system can't be called off, and its threads are those of all sinks.
#[derive(Clone)]
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolve>,
    permits: Arc<Semaphore>,
}

impl Lookups {
    pub(crate) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub(super) async fn resolve(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let lookup = self.resolver.resolve(name);
        let lookup = tokio::spawn(async move {
            let found = lookup.await;
            drop(permit);
            found
        });
        lookup.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers once its semaphore is closed.
    struct Slow {
        asked: AtomicUsize,
        answer: Arc<Semaphore>,
    }

    impl Resolve for Slow {
        fn resolve(
            &self,
            _: String,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let answer = self.answer.clone();
            Box::pin(async move {
                drop(answer.acquire().await);
                Ok(Vec::new())
            })
        }
    }

    #[test]
    fn who_drops_its_lookups_has_no_more_of_them_under_way_than_who_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let answer = Arc::new(Semaphore::new(0));
            let slow = Arc::new(Slow { asked: AtomicUsize::new(0), answer });
            let lookups = Lookups::new(slow.clone());
            for _ in 0..100 {
                let lookup = tokio::spawn({
                    let lookups = lookups.clone();
                    async move { lookups.resolve("a.test".to_owned()).await }
                });
                // On this runtime the others get on as far as they can.
                tokio::task::yield_now().await;
                lookup.abort();
            }
            assert_eq!(slow.asked.load(Ordering::SeqCst), AT_ONCE);
            slow.answer.close();
            assert!(lookups.resolve("b.test".to_owned()).await.is_ok());
            assert_eq!(slow.asked.load(Ordering::SeqCst), AT_ONCE + 1);
        });
    }
}
