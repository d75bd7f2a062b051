use super::*;

#[test]
fn the_task_can_be_spawned() {
    fn is_send<T: Send>(_: impl FnOnce(Publisher) -> T) {}
    is_send(Publisher::run);
}
