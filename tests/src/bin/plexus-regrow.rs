//! The attack on the end of a run: a line of sleeping descendants that grows again as it is killed. Its one argument is its length.

fn main() {
    let length = std::env::args().nth(1).expect("a length");
    plexus_hostile::act(&["regrow", &length]).expect("it stays");
}
