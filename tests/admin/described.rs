//! The description and the server say the same: schemathesis asks whatever it can think of.

use std::path::Path;
use std::process::Command;

use super::api::{Api, EDITOR, store};

/// What schemathesis looks at: no 5xx, and no answer outside of the description. Whether it takes for valid what the
/// crate does (a plan that ascends, weights that sum to 100) no schema can say.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,ignored_auth,unsupported_method,missing_required_header";

/// What takes flags away.
const REMOVERS: &str = "removeFlag|importFlags";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs schemathesis, which tests/run.sh installs"]
async fn nothing_is_answered_that_the_description_does_not_say() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/bin/schemathesis");
    let flags = [
        ("search", r#"{"on": true, "rollout_percentage": 25.0, "rollout_stages": [1]}"#),
        ("checkout", r#"{"enabled":true,"schedule":[{"at":"2026-01-01T00:00:00Z","percentage":5}],"owner":"me"}"#),
        ("pricing", r#"{"enabled":true,"variants":{"a":50,"b":{"weight":50,"value":{"x":1}}},"requires":["search"]}"#),
    ];
    let store = store(&flags).await;
    let api = Api::over(store).await;
    let address = api.address;
    // The description is below the same door, so it is handed over as a file.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    let mut description = api.get("openapi.json").await;
    // What never ends is not for it; names that are there find more than names made up.
    description["paths"].as_object_mut().unwrap().remove("/events");
    description["components"]["parameters"]["name"]["schema"] =
        serde_json::json!({"enum": ["search", "checkout", "pricing", "new_one", "-bad"]});
    description["components"]["parameters"]["ifMatch"]["schema"] = serde_json::json!({"enum": ["*", "\"1-0\""]});
    std::fs::write(&file, description.to_string()).unwrap();
    let examples = std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "100".into());
    // Removing comes last: a name that was removed is mostly not to be had again.
    for which in ["--exclude-operation-id-regex", "--include-operation-id-regex"] {
        let mut command = Command::new(&program);
        command.args(["run", file.to_str().unwrap(), "--url", &format!("http://{address}"), which, REMOVERS]);
        command.args(["--header", &format!("Authorization: Bearer {EDITOR}")]);
        command.args(["--header", "Sec-Fetch-Site: same-origin", "--checks", CHECKS]);
        command.args(["--max-examples", &examples, "--seed", "1", "--no-color"]);
        command.current_dir(folder.path());
        let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap();
        assert!(status.expect("schemathesis runs").success());
    }
    let made = api.get("status").await["store"]["head"]["number"].as_u64().unwrap();
    assert!(made > 30, "{made} edits: most of what it asks for is refused");
}
