//! tmp
use hotseat_build::*;
fn main() {
    let t = Toolchain::find(&mut |l| eprintln!("{l}")).unwrap();
    let mut a = std::env::args().skip(1);
    let dir = a.next().unwrap();
    let o = BuildOptions { features: a.collect(), target_dir: Some("/tmp/w/wasm".into()), debug: std::env::var("DBG").is_ok(), ..BuildOptions::new(dir) };
    match build(&t, &o, &mut |l| eprintln!("{l}")) {
        Ok(a) => { eprintln!("{:#?}", inspect(&a.bytes).unwrap()); std::fs::write("/tmp/w/a.wasm", &a.bytes).unwrap(); }
        Err(e) => { eprintln!("ERROR {e}"); std::process::exit(1) }
    }
}
