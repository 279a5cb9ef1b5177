//! The description of the API for machines (OpenAPI 3.1) and for people, made of the table of
//! routes: what is not in the table is not there, and what is there is described.

use super::routes::{ROUTES, Route};
use axum::http::Method;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The description; `module` (`gw`, `platform`, `auth`) narrows it, as flespi's per-module
/// addresses do.
pub(super) fn description(module: Option<&str>) -> Value {
    let mut paths = Map::new();
    let wanted =
        |route: &&Route| module.is_none_or(|module| route.path.split('/').next() == Some(module));
    for route in ROUTES.iter().filter(wanted) {
        let path = paths
            .entry(format!("/{}", route.path))
            .or_insert_with(|| Value::Object(Map::new()));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Paths, fields and answers are flespi's where the two meet.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": components(),
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters = Vec::new();
    for part in route.path.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            parameters.push(json!({
                "name": name, "in": "path", "required": true,
                "description": "An id, a list of ids, `all`, `field=value`, or `{expression}`.",
                "schema": { "type": "string", "minLength": 1, "pattern": "^[^/]+$" },
                "example": "all",
            }));
        }
    }
    let reads = route.method == Method::GET;
    let told = ["/messages", "/logs", "/statistics"]
        .iter()
        .any(|end| route.path.ends_with(end));
    for (name, takes) in [
        ("cid", true),
        ("fields", true),
        ("data", reads && told),
        ("dry_run", !reads),
        ("limit", reads),
        ("offset", reads),
    ] {
        if takes {
            parameters.push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        }
    }
    let mut operation = json!({
        "summary": route.what,
        "operationId": format!("{} {}", route.method, route.path),
        "tags": [route.path.split('/').take(2).collect::<Vec<_>>().join("/")],
        "parameters": parameters,
        "responses": {
            "200": { "$ref": "#/components/responses/Answer" },
            "default": { "$ref": "#/components/responses/Errors" },
        },
    });
    if route.method != Method::GET && route.method != Method::DELETE {
        let list = route.method == Method::POST;
        let item = json!({ "type": "object" });
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": {
                "schema": if list {
                    json!({ "type": "array", "items": item, "minItems": 1 })
                } else {
                    item
                },
            } },
        });
    }
    operation
}

fn components() -> Value {
    let query = |name: &str, about: &str, schema: Value| {
        let mut parameter = json!({ "name": name, "in": "query" });
        parameter["description"] = about.into();
        parameter["schema"] = schema;
        parameter
    };
    let envelope = |about: &str| {
        json!({
            "description": about,
            "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/Envelope" } },
            },
        })
    };
    json!({
        "securitySchemes": { "token": {
            "type": "apiKey", "in": "header", "name": "Authorization",
            "description": "`FlespiToken <key>`",
        } },
        "parameters": {
            "cid": {
                "name": "x-flespi-cid", "in": "header",
                "description": "The account of the caller's branch that the call is for.",
                "schema": { "type": "integer", "minimum": 1 },
            },
            "fields": query("fields", "Names of fields, with commas; dots go into objects.", json!({ "type": "string" })),
            "data": query("data", "What the call is told, as JSON; it may stand in the body instead.", json!({ "type": "string" })),
            "dry_run": query("dry_run", "Says what the call would do, and does nothing.", json!({ "type": "boolean" })),
            "limit": query("limit", "So many rows at most.", json!({ "type": "integer", "minimum": 0 })),
            "offset": query("offset", "Rows to pass over.", json!({ "type": "integer", "minimum": 0 })),
        },
        "responses": {
            "Answer": envelope("What was done, and what was not."),
            "Errors": envelope("Nothing was done."),
        },
        "schemas": {
            "Envelope": {
                "type": "object",
                "required": ["result"],
                "properties": {
                    "result": { "type": "array", "items": { "type": "object" } },
                    "errors": { "type": "array", "items": { "$ref": "#/components/schemas/Error" } },
                },
            },
            "Error": {
                "type": "object",
                "required": ["code", "reason"],
                "additionalProperties": false,
                "properties": {
                    "code": { "type": "integer" },
                    "reason": { "type": "string" },
                    "id": { "type": "integer" },
                    "selector": { "type": "string" },
                    "field": { "type": "string" },
                },
            },
        },
    })
}

/// The same for people: one page, no script, nothing from elsewhere.
pub(super) fn page() -> String {
    let mut rows = String::new();
    let mut group = String::new();
    for route in ROUTES {
        let of: String = route.path.split('/').take(2).collect::<Vec<_>>().join("/");
        if of != group {
            write!(rows, "<tr><th colspan=3>/{of}</th></tr>").expect("a string takes it");
            group = of;
        }
        write!(
            rows,
            "<tr><td><code>{}</code></td><td><code>/{}</code></td><td>{}</td></tr>",
            route.method, route.path, route.what
        )
        .expect("a string takes it");
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Tollgate API</title>\
         <style>body{{font:15px/1.5 system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem}}\
         td,th{{text-align:left;padding:.2rem .8rem .2rem 0}}th{{padding-top:1rem}}</style>\
         <h1>Tollgate API</h1><p>Send <code>Authorization: FlespiToken KEY</code>. \
         For machines: <a href=\"/openapi.json\">/openapi.json</a>.</p><table>{rows}</table></html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once_and_every_reference_leads_somewhere() {
        let all = description(None);
        let mut seen = std::collections::BTreeSet::new();
        for route in ROUTES {
            assert!(
                seen.insert((route.path, route.method.as_str())),
                "{}",
                route.path
            );
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &all["paths"][format!("/{}", route.path)][&method];
            assert_eq!(operation["summary"], route.what);
            for parameter in operation["parameters"].as_array().expect("a list") {
                if let Some(reference) = parameter["$ref"].as_str() {
                    let pointer = reference.trim_start_matches('#');
                    assert!(all.pointer(pointer).is_some(), "{reference}");
                }
            }
        }
        let gw = description(Some("gw"));
        assert!(gw["paths"].get("/gw/devices/{devices}").is_some());
        assert!(gw["paths"].get("/platform/customer").is_none());
        assert!(page().contains("/gw/devices/{devices}/telemetry"));
    }
}
