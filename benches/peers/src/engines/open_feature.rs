//! `open-feature` with a provider that always says yes: what the facade costs by itself.

use futures_util::FutureExt as _;
use open_feature::provider::{FeatureProvider, ProviderMetadata, ResolutionDetails};
use open_feature::{Client, EvaluationContext, EvaluationResult, OpenFeature, StructValue};
use tower_flags_benches::workload::{Flag, User};

pub struct Facade {
    client: Client,
    names: Vec<String>,
}

struct Yes(ProviderMetadata);

#[async_trait::async_trait]
impl FeatureProvider for Yes {
    fn metadata(&self) -> &ProviderMetadata {
        &self.0
    }

    async fn resolve_bool_value(&self, _: &str, _: &EvaluationContext) -> EvaluationResult<ResolutionDetails<bool>> {
        Ok(ResolutionDetails::new(true))
    }

    async fn resolve_int_value(&self, _: &str, _: &EvaluationContext) -> EvaluationResult<ResolutionDetails<i64>> {
        Ok(ResolutionDetails::new(0))
    }

    async fn resolve_float_value(&self, _: &str, _: &EvaluationContext) -> EvaluationResult<ResolutionDetails<f64>> {
        Ok(ResolutionDetails::new(0.0))
    }

    async fn resolve_string_value(
        &self,
        _: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        Ok(ResolutionDetails::new(String::new()))
    }

    async fn resolve_struct_value(
        &self,
        _: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        Ok(ResolutionDetails::new(StructValue::default()))
    }
}

impl Facade {
    pub async fn new(flags: &[Flag]) -> Self {
        OpenFeature::singleton_mut().await.set_provider(Yes(ProviderMetadata::new("yes"))).await;
        let client = OpenFeature::singleton().await.create_client();
        Self { client, names: flags.iter().map(|flag| flag.name.clone()).collect() }
    }

    /// One call a flag.
    pub fn one_by_one(&self, user: &User) -> u64 {
        let all = async {
            let context = EvaluationContext::default().with_targeting_key(user.id.clone());
            let context = context.with_custom_field("groups", user.groups.join(","));
            let mut on = 0;
            for name in &self.names {
                on += u64::from(self.client.get_bool_value(name, Some(&context), None).await.unwrap_or_default());
            }
            on
        };
        all.now_or_never().expect("the provider is ready at once")
    }
}
