//! Hostile: players whose rooms turn greedy, in a process of their own.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use greedy::GREED;
use hotseat_client::{Client, Login};

/// What tells this process that it is to be hostile.
pub(crate) const ARGUMENT: &str = "--hostile";
/// What it says before the rooms turn greedy.
pub(crate) const READY: &str = "ready";

/// Plays: ADDRESS ROOMS GREED NUMBER. Until it is killed.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [address, rooms, greed, number] = arguments else {
        anyhow::bail!("{ARGUMENT} takes ADDRESS ROOMS GREED NUMBER");
    };
    let rooms: usize = rooms.parse()?;
    let mut request = vec![greed.parse::<u8>()?];
    request.extend(number.parse::<u32>()?.to_be_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut players = Vec::new();
        for at in 0..rooms {
            let mut client = Client::connect(address.as_str()).await?.with_timeout(Duration::from_secs(600));
            client.login(&Login::device(format!("hostile {at}"))).await?;
            players.push(client);
        }
        writeln!(std::io::stdout(), "{READY}")?;
        std::io::stdout().flush()?;
        let mut tasks = Vec::new();
        for mut client in players {
            let request = request.clone();
            tasks.push(tokio::spawn(async move {
                client.send(GREED, &request).await?;
                // It reads whatever comes.
                while client.recv().await.is_ok() {}
                anyhow::Ok(())
            }));
        }
        for task in tasks {
            task.await.context("a hostile player ended in a panic")??;
        }
        std::future::pending::<Result<()>>().await
    })
}
