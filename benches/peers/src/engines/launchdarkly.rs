//! `launchdarkly-server-sdk-evaluation`, the engine inside LaunchDarkly's SDK.

use launchdarkly_server_sdk_evaluation as engine;
use serde_json::{Value, json};
use tower_flags_benches::workload::{Flag, Kind, Mix, RULE, User, VARIANTS};

pub struct LaunchDarkly {
    flags: Vec<engine::Flag>,
    mix: Mix,
}

/// No flag of the workload asks for another one, or for a segment.
struct Nothing;

impl engine::Store for Nothing {
    fn flag(&self, _: &str) -> Option<engine::Flag> {
        None
    }

    fn segment(&self, _: &str) -> Option<engine::Segment> {
        None
    }
}

impl LaunchDarkly {
    pub fn new(flags: &[Flag], mix: Mix) -> Self {
        let flag = |flag| serde_json::from_value(definition(flag)).expect("LaunchDarkly reads it");
        Self { flags: flags.iter().map(flag).collect(), mix }
    }

    fn context(&self, user: &User) -> engine::Context {
        let text = |text: &str| engine::AttributeValue::String(text.to_owned());
        let mut context = engine::ContextBuilder::new(user.id.as_str());
        context
            .set_value("groups", engine::AttributeValue::Array(user.groups.iter().map(|group| text(group)).collect()));
        if self.mix == Mix::Rich {
            context.set_value("plan", text(user.plan));
            context.set_value("country", text(user.country));
        }
        context.build().expect("the user is a context")
    }

    /// One call a flag; off is the value `false`, on is anything else.
    pub fn one_by_one(&self, user: &User) -> u64 {
        let context = self.context(user);
        let is_on = |flag: &&engine::Flag| {
            let value = engine::evaluate(&Nothing, flag, &context, None).value;
            value.is_some_and(|value| value.as_bool() != Some(false))
        };
        self.flags.iter().filter(is_on).count() as u64
    }
}

fn definition(flag: &Flag) -> Value {
    let clause = |attribute: &str, values: &[&str]| json!({ "contextKind": "user", "attribute": attribute, "op": "in", "values": values, "negate": false });
    let rule = |clauses: Value| json!([{ "id": "rule", "variation": 1, "trackEvents": false, "clauses": clauses }]);
    let mut definition = json!({
        "key": flag.name, "version": 1, "on": true, "targets": [], "rules": [], "prerequisites": [],
        "fallthrough": { "variation": 0 }, "offVariation": 0, "variations": [false, true], "salt": "salt",
        "trackEvents": false, "clientSide": false,
    });
    match &flag.kind {
        Kind::Plain(true) => definition["fallthrough"] = json!({ "variation": 1 }),
        Kind::Plain(false) => definition["on"] = json!(false),
        Kind::Share(percent) => {
            definition["fallthrough"] = json!({ "rollout": { "variations": [
                { "variation": 1, "weight": percent * 1_000 },
                { "variation": 0, "weight": 100_000 - percent * 1_000 },
            ] } });
        }
        Kind::Users(users) => definition["targets"] = json!([{ "values": users, "variation": 1 }]),
        Kind::Group(group) => definition["rules"] = rule(json!([clause("groups", &[group])])),
        Kind::Variants => {
            definition["variations"] = json!(VARIANTS.map(|(name, _)| name));
            let weights = VARIANTS.iter().enumerate();
            let weights: Vec<Value> =
                weights.map(|(at, (_, weight))| json!({ "variation": at, "weight": weight * 1_000 })).collect();
            definition["fallthrough"] = json!({ "rollout": { "variations": weights } });
        }
        Kind::Rule => definition["rules"] = rule(json!([clause("plan", &[RULE.0]), clause("country", &RULE.1)])),
    }
    definition
}
