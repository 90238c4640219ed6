//! `unleash-yggdrasil`, the engine inside Unleash's own SDKs.

use std::collections::HashMap;

use serde_json::{Value, json};
use tower_flags_benches::workload::{Flag, Kind, Mix, RULE, User, VARIANTS};
use unleash_yggdrasil::{Context, EngineState};

pub struct Unleash {
    engine: EngineState,
    /// Names, and whether the flag has variants.
    flags: Vec<(String, bool)>,
    mix: Mix,
}

impl Unleash {
    pub fn new(flags: &[Flag], mix: Mix) -> Self {
        let engine = EngineState::default();
        let features: Vec<Value> = flags.iter().map(feature).collect();
        let features = serde_json::from_value(json!({ "version": 2, "features": features })).expect("Unleash reads it");
        let warnings = engine.apply_client_features(features);
        assert!(warnings.is_none_or(|warnings| warnings.is_empty()));
        let flags = flags.iter().map(|flag| (flag.name.clone(), matches!(flag.kind, Kind::Variants))).collect();
        Self { engine, flags, mix }
    }

    pub fn context(&self, user: &User) -> Context {
        // A property is one text, so the first group has to do.
        let group = user.groups.first().map(|group| ("group".to_owned(), group.clone()));
        let mut properties: HashMap<String, String> = group.into_iter().collect();
        if self.mix == Mix::Rich {
            properties.insert("plan".to_owned(), user.plan.to_owned());
            properties.insert("country".to_owned(), user.country.to_owned());
        }
        Context { user_id: Some(user.id.clone()), properties: Some(properties), ..Context::default() }
    }

    /// One call a flag; `get_variant` for those with variants, which says both.
    pub fn one_by_one(&self, context: &Context) -> u64 {
        let is_on = |(name, has_variants): &&(String, bool)| {
            if *has_variants {
                self.engine.get_variant(name, context, &None).feature_enabled
            } else {
                self.engine.is_enabled(name, context, &None)
            }
        };
        self.flags.iter().filter(is_on).count() as u64
    }

    pub fn all_at_once(&self, context: &Context) -> u64 {
        let resolved = self.engine.resolve_all(context, &None).unwrap_or_default();
        resolved.values().filter(|flag| flag.enabled).count() as u64
    }
}

fn feature(flag: &Flag) -> Value {
    let everyone = json!({ "name": "default", "parameters": {} });
    let constrained = |constraints: Value| json!({ "name": "default", "parameters": {}, "constraints": constraints });
    let one_of =
        |property: &str, values: &[&str]| json!({ "contextName": property, "operator": "IN", "values": values });
    let mut feature = json!({ "name": flag.name, "type": "release", "enabled": true });
    feature["strategies"] = json!([match &flag.kind {
        Kind::Plain(is_on) => {
            feature["enabled"] = json!(is_on);
            everyone
        }
        Kind::Share(percent) => json!({ "name": "flexibleRollout", "parameters":
            { "rollout": percent.to_string(), "stickiness": "userId", "groupId": flag.name } }),
        Kind::Users(users) => json!({ "name": "userWithId", "parameters": { "userIds": users.join(",") } }),
        Kind::Group(group) => constrained(json!([one_of("group", &[group])])),
        Kind::Variants => {
            let variant = |(name, weight)| json!({ "name": name, "weight": weight * 10, "stickiness": "userId" });
            feature["variants"] = json!(VARIANTS.map(variant));
            everyone
        }
        Kind::Rule => constrained(json!([one_of("plan", &[RULE.0]), one_of("country", &RULE.1)])),
    }]);
    feature
}
