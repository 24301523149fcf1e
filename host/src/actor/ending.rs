//! Ending: what an actor leaves when its node stops.

use super::Actor;

impl Actor {
    /// The node stops: what is worth keeping becomes the base. An actor that was to go back to the version before, and is
    /// told to end before that, goes back first: that version may read nothing else.
    ///
    /// # Errors
    /// Why the actor is lost and has to end.
    pub(crate) fn keep_at_the_end(&mut self) -> Result<(), String> {
        let live = self.group.live().map(|live| live.version);
        if let Some(live) = live.filter(|live| self.sandbox.keeps(live.digest())) {
            self.change(&live, |sandbox| sandbox.revert(&live)).1?;
        }
        self.checkpoint_if_new()
    }
}
