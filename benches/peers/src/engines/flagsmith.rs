//! `flagsmith-flag-engine`, the engine inside Flagsmith's SDK.

use std::cell::RefCell;
use std::collections::HashMap;

use flagsmith_flag_engine::engine::get_evaluation_result;
use flagsmith_flag_engine::engine_eval::context::{EngineEvaluationContext, IdentityContext};
use flagsmith_flag_engine::types::{FlagsmithValue, FlagsmithValueType};
use serde_json::{Map, Value, json};
use tower_flags_benches::workload::{Flag, Kind, Mix, RULE, User, VARIANTS};

pub struct Flagsmith {
    /// Its SDK copies the environment for each identity; here the identity is put in its place, which
    /// costs less.
    environment: RefCell<EngineEvaluationContext>,
    mix: Mix,
}

impl Flagsmith {
    pub fn new(flags: &[Flag], mix: Mix) -> Self {
        let (mut features, mut segments) = (Map::new(), Map::new());
        for (number, flag) in flags.iter().enumerate() {
            let mut feature = json!({ "key": flag.name, "name": flag.name, "enabled": false, "value": false });
            let mut segment = |conditions: Value| {
                let key = number.to_string();
                let on =
                    json!({ "key": flag.name, "name": flag.name, "enabled": true, "value": true, "priority": 1.0 });
                let rules = json!([{ "type": "ALL", "conditions": conditions }]);
                let segment = json!({ "key": key, "name": key, "rules": rules, "overrides": [on] });
                segments.insert(key, segment);
            };
            match &flag.kind {
                Kind::Plain(is_on) => feature["enabled"] = json!(is_on),
                Kind::Share(percent) => {
                    feature["enabled"] = json!(true);
                    feature["variants"] = json!([{ "key": "on", "value": true, "weight": percent, "priority": 1.0 }]);
                }
                Kind::Users(users) => {
                    segment(json!([{ "operator": "IN", "property": "$.identity.identifier", "value": users }]));
                }
                Kind::Group(group) => segment(json!([{ "operator": "EQUAL", "property": "group", "value": group }])),
                Kind::Variants => {
                    feature["enabled"] = json!(true);
                    let variant = |(name, weight): (&str, u32)| json!({ "key": name, "value": name, "weight": weight, "priority": 1.0 });
                    feature["variants"] = json!(VARIANTS.map(variant));
                }
                Kind::Rule => segment(json!([
                    { "operator": "EQUAL", "property": "plan", "value": RULE.0 },
                    { "operator": "IN", "property": "country", "value": RULE.1 },
                ])),
            }
            features.insert(flag.name.clone(), feature);
        }
        let environment = json!({ "key": "env", "name": "env" });
        let environment = json!({ "environment": environment, "features": features, "segments": segments });
        let environment = serde_json::from_value(environment).expect("Flagsmith reads it");
        Self { environment: RefCell::new(environment), mix }
    }

    /// All flags in one call; a flag with a split is on where it has not come out as `false`.
    pub fn all_at_once(&self, user: &User) -> u64 {
        let text = |value: &str| FlagsmithValue { value_type: FlagsmithValueType::String, value: value.to_owned() };
        let mut traits: HashMap<String, FlagsmithValue> = HashMap::new();
        // A trait is one text, so the first group has to do.
        traits.extend(user.groups.first().map(|group| ("group".to_owned(), text(group))));
        if self.mix == Mix::Rich {
            traits.insert("plan".to_owned(), text(user.plan));
            traits.insert("country".to_owned(), text(user.country));
        }
        let mut environment = self.environment.borrow_mut();
        environment.identity =
            Some(IdentityContext { identifier: user.id.clone(), key: format!("env_{}", user.id), traits });
        let result = get_evaluation_result(&environment);
        let is_on = |flag: &flagsmith_flag_engine::engine_eval::result::FlagResult| {
            flag.enabled && (flag.variant.as_deref() != Some("control") || flag.value.value == "control")
        };
        result.flags.values().filter(|flag| is_on(flag)).count() as u64
    }
}
