//! Pushes at random moments.

use std::rc::Rc;
use std::time::Duration;

use ringway::base::rng::Rng;
use ringway::io;

use super::control::Control;
use super::templates::CLUSTERS;

/// Pushes until it is dropped.
pub async fn live(control: Rc<Control>, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    loop {
        let longest_ms = if rng.below(4) == 0 { 3 } else { 700 };
        pause(longest_ms, &mut rng).await;
        match rng.below(10) {
            0..=3 => control.push_routes(&mut rng),
            4..=6 => push_hosts(&control, &mut rng).await,
            7 => push_cluster(&control, &mut rng).await,
            _ => control.push_listener(&mut rng),
        }
    }
}

async fn push_hosts(control: &Control, rng: &mut Rng) {
    let cluster = any_cluster(rng);
    if rng.below(6) == 0 {
        control.assign_none(cluster);
        pause(100, rng).await;
    }
    control.assign(cluster, rng);
}

async fn push_cluster(control: &Control, rng: &mut Rng) {
    let cluster = any_cluster(rng);
    if rng.below(2) == 0 {
        control.remove_cluster(cluster);
        pause(200, rng).await;
    }
    control.set_cluster(cluster, rng);
}

fn any_cluster(rng: &mut Rng) -> &'static str {
    CLUSTERS[rng.below(CLUSTERS.len() as u64) as usize]
}

async fn pause(longest_ms: u64, rng: &mut Rng) {
    io::sleep(Duration::from_micros(rng.below(longest_ms * 1_000))).await;
}
