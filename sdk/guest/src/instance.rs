//! What an instance of the component holds: one runtime, made by its first call.

use std::any::Any;
use std::cell::RefCell;
use std::panic;

use crate::host;

thread_local! {
    // Not generic, since a static cannot be; an instance only ever holds the one runtime it was built for.
    static RUNTIME: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Makes the runtime; panics are logged from now on.
pub(crate) fn start<R: 'static>(make: impl FnOnce() -> Result<R, String>) -> Result<(), String> {
    panic::set_hook(Box::new(|info| host::log(host::Level::Error, &describe(info))));
    let runtime = make()?;
    RUNTIME.set(Some(Box::new(runtime)));
    Ok(())
}

/// Runs one call of the host on the runtime.
pub(crate) fn with<R: 'static, T>(event: impl FnOnce(&mut R) -> T) -> T {
    RUNTIME.with_borrow_mut(|slot| {
        let runtime = slot.as_mut().and_then(|runtime| runtime.downcast_mut::<R>());
        event(runtime.expect("the first call of an instance is open or load"))
    })
}

fn describe(info: &panic::PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message =
        message.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    match info.location() {
        Some(place) => format!("panic at {}:{}: {message}", place.file(), place.line()),
        None => format!("panic: {message}"),
    }
}
