use super::super::guide::{Guide, expect};

/// More than there are replicas of `orders`, so that each is asked several times.
const CALLS: usize = 20;

/// 5: `orders` was written against version 1 of `inventory`. Each replica says once that it is deprecated, however often
/// it calls.
pub(super) async fn warned_once(guide: &mut Guide) -> Result<(), String> {
    let mut replicas = Vec::new();
    guide.quiet = true;
    for _ in 0..CALLS {
        let answer = guide.get_past_all_caches("/api/v2/orders/1/availability").await?;
        expect(answer.status == 200, || format!("availability answers {}", answer.status))?;
        replicas.push(answer.header("x-served-by").to_owned());
    }
    guide.quiet = false;
    for instance in guide.instances("orders") {
        let calls = replicas.iter().filter(|replica| **replica == instance).count();
        let lines = guide.logs(&instance, "tower_versioning").await?;
        let warnings =
            lines.iter().filter(|line| line["kind"] == "deprecated" && line["version"] == "1").count();
        println!("  {instance}: {calls} calls, warned about a deprecated inventory: {warnings}");
        expect(warnings == usize::from(calls > 0), || format!("{instance} warned {warnings} times"))?;
    }
    Ok(())
}
