//! `growthbook-rust`, GrowthBook's SDK: its evaluator without its client, which copies all features
//! for each call.

use std::collections::HashMap;

use growthbook_rust::growthbook::GrowthBook;
use growthbook_rust::model_public::GrowthBookAttribute;
use serde_json::{Value, json};
use tower_flags_benches::workload::{Flag, Kind, Mix, RULE, User, VARIANTS};

pub struct Growth {
    engine: GrowthBook,
    names: Vec<String>,
    mix: Mix,
}

impl Growth {
    pub fn new(flags: &[Flag], mix: Mix) -> Self {
        let feature = |flag: &Flag| {
            (flag.name.clone(), serde_json::from_value(definition(&flag.kind)).expect("GrowthBook reads it"))
        };
        let engine = GrowthBook {
            forced_variations: None,
            features: flags.iter().map(feature).collect(),
            attributes: None,
            sticky_bucket_service: None,
            saved_groups: HashMap::new(),
        };
        Self { engine, names: flags.iter().map(|flag| flag.name.clone()).collect(), mix }
    }

    /// One call a flag.
    pub fn one_by_one(&self, user: &User) -> u64 {
        let mut attributes = json!({ "id": user.id, "groups": user.groups });
        if self.mix == Mix::Rich {
            attributes["plan"] = json!(user.plan);
            attributes["country"] = json!(user.country);
        }
        let attributes = GrowthBookAttribute::from(attributes).ok();
        self.names.iter().filter(|name| self.engine.check(name, &attributes).on).count() as u64
    }
}

fn definition(kind: &Kind) -> Value {
    let forced =
        |condition: Value| json!({ "defaultValue": false, "rules": [{ "force": true, "condition": condition }] });
    match kind {
        Kind::Plain(is_on) => json!({ "defaultValue": is_on }),
        Kind::Share(percent) => json!({ "defaultValue": false, "rules": [
            { "force": true, "coverage": f64::from(*percent) / 100.0, "hashAttribute": "id" },
        ] }),
        Kind::Users(users) => forced(json!({ "id": { "$in": users } })),
        Kind::Group(group) => forced(json!({ "groups": { "$in": [group] } })),
        Kind::Variants => json!({ "defaultValue": false, "rules": [{
            "variations": VARIANTS.map(|(name, _)| name),
            "weights": VARIANTS.map(|(_, weight)| f64::from(weight) / 100.0),
            "hashAttribute": "id",
        }] }),
        Kind::Rule => forced(json!({ "plan": RULE.0, "country": { "$in": RULE.1 } })),
    }
}
