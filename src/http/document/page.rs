//! `/openapi.json` and `/docs`: the document for machines, and as a page for people.
//!
//! The page is Swagger UI, whose files are part of this program: nothing is fetched from elsewhere, when it is built or when it is read. The page
//! itself and its first script are ours, so that no script and no style stands in the page, and its content security policy can refuse both. A
//! key that is typed into it goes to this server alone (`connect-src`).

use std::sync::Arc;

use actix_web::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use actix_web::{HttpResponse, web};

use crate::http::problem::{Problem, ProblemCode};

/// What the page may load: its own scripts, styles and pictures, the pictures in its styles, and this server's answers.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Breakwater: the API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"><p>This page needs JavaScript. The same as JSON: <a href="openapi.json">openapi.json</a>.</p></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"#;

/// No validator is asked: it would be somebody else's server.
const START: &str = r##"SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
});
"##;

/// The files of Swagger UI that the page needs.
const FILES: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

/// `GET /openapi.json`.
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(super::text())
}

/// `GET /docs`.
pub async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .body(PAGE)
}

/// `GET /docs/{file}`.
pub async fn file(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    if name.as_str() == "start.js" {
        return Ok(HttpResponse::Ok().content_type("text/javascript").body(START));
    }
    let unknown = || Problem::new(ProblemCode::NotFound, "The page has no such file.");
    if !FILES.contains(&name.as_str()) {
        return Err(unknown());
    }
    let found = utoipa_swagger_ui::serve(&name, Arc::new(utoipa_swagger_ui::Config::from("openapi.json")));
    // Only what its own settings are written into can fail, and that file is not among ours.
    let file = found.ok().flatten().ok_or_else(unknown)?;
    Ok(HttpResponse::Ok().content_type(file.content_type).body(file.bytes.into_owned()))
}
