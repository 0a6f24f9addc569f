//! Tests on a resource that not every machine has.

use libtest_mimic::{Completion, Trial};

/// A test on what `open` returns, such as a server; ignored if `open` returns why that is missing.
pub fn trial<R, T: Future<Output = ()>>(
    name: &str,
    open: impl FnOnce() -> Result<R, String> + Send + 'static,
    test: impl FnOnce(R) -> T + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        let resource = match open() {
            Ok(resource) => resource,
            Err(lack) => return Ok(Completion::ignored_with(lack)),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(test(resource));
        Ok(Completion::Completed)
    })
}
