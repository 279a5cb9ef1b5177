//! The description of the API for machines (OpenAPI 3.1) and for people, made of the table of
//! routes: what is not in the table is not there, and what is there is described.

use super::forms::Format;
use super::routes::{ROUTES, Route};
use super::schema;
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

/// What stands between two slashes where the path has braces.
fn selector(name: &str) -> Value {
    match name {
        "telemetry" | "idents" | "parameters" | "settings" => json!({
            "name": name, "in": "path", "required": true,
            "description": "Names or masks (`position.*`), with commas; `all`.",
            "schema": { "type": "string", "minLength": 1 },
            "example": "all",
        }),
        _ => json!({
            "name": name, "in": "path", "required": true,
            "description": "An id, a list of ids, `all`, `field=value`, or `{expression}`.",
            "schema": { "anyOf": [
                { "type": "string", "pattern": SELECTOR },
                { "type": "string", "pattern": EXPRESSION },
            ] },
            "example": "all",
        }),
    }
}

/// Ids, `all` and `field=value`, with commas.
const SELECTOR: &str =
    "^[, ]*(all|[0-9]{1,20}|[^,={}]+=[^,]*)( *,( *(all|[0-9]{1,20}|[^,={}]+=[^,]*))?)* *$";
/// One comparison; more of them with `&&`, `||`, `!` and brackets.
const EXPRESSION: &str = "^\\{[a-z_]+(\\.[a-z_]+)* *(==|!=|<|<=|>|>=) *(-?[0-9]{1,15}|\"[a-zA-Z0-9 _.-]*\"|true|false|null)\\}$";

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(selector)
        .collect();
    let reads = route.method == Method::GET;
    let known = schema::body(route);
    for (name, takes) in [
        ("cid", true),
        ("fields", true),
        ("dry_run", !reads),
        ("limit", reads),
        ("offset", reads),
        ("format", route.has_forms()),
        ("if_match", !reads && route.method != Method::POST),
    ] {
        if takes {
            parameters.push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        }
    }
    if let Some(data) = schema::data(route) {
        parameters.push(json!({
            "name": "data", "in": "query",
            "description": "What the call is told; it may stand in the body instead.",
            "content": { "application/json": { "schema": data } },
        }));
    }
    let row = schema::row(route);
    let mut content = json!({ "application/json": { "schema": {
        "allOf": [
            { "$ref": "#/components/schemas/Envelope" },
            { "properties": { "result": {
                "items": { "$ref": format!("#/components/schemas/{row}") },
            } } },
        ],
    } } });
    for format in Format::ALL.into_iter().filter(|_| route.has_forms()) {
        let kind = format.content_type().split(';').next().unwrap_or_default();
        content[kind] = json!({});
    }
    let mut responses = Map::new();
    responses.insert(
        "200".into(),
        json!({
            "description": "What was done or found; `errors` says what was not.",
            "headers": {
                "ETag": {
                    "description": "The revision, where the answer is one item.",
                    "schema": { "type": "string" },
                },
            },
            "content": content,
        }),
    );
    for (status, _, writes_only) in STATUSES {
        if !writes_only || !reads {
            let reference = format!("#/components/responses/{status}");
            responses.insert((*status).into(), json!({ "$ref": reference }));
        }
    }
    let mut operation = json!({
        "summary": route.what,
        "operationId": format!("{} {}", route.method, route.path),
        "tags": [route.path.split('/').take(2).collect::<Vec<_>>().join("/")],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = known {
        operation["requestBody"] = json!({
            "required": true,
            "description": "JSON whatever the Content-Type; at most 8 MiB and 32 levels deep.",
            "content": { "application/json": { "schema": body } },
        });
    }
    operation
}

/// Every status of an answer that did nothing, what it means, and whether only writes have it.
const STATUSES: &[(&str, &str, bool)] = &[
    (
        "400",
        "A field, a selector or a body cannot be; `field` names it.",
        false,
    ),
    ("401", "The token is missing or not valid.", false),
    (
        "403",
        "Not allowed, not there, or a count limit has no room.",
        false,
    ),
    ("404", "There is no such path.", false),
    (
        "405",
        "The path does not know the method; `Allow` has those that it knows.",
        false,
    ),
    ("409", "It contradicts what there is.", true),
    (
        "412",
        "The item has another revision than `If-Match` says.",
        true,
    ),
    ("413", "The body is longer than 8 MiB.", false),
    ("414", "Path and query are longer than 64 KiB.", false),
    (
        "429",
        "A rate limit is reached; `Retry-After` has the seconds.",
        false,
    ),
    ("500", "A mistake of the gateway.", false),
    ("503", "The gateway cannot do it now.", false),
];

fn components() -> Value {
    let query = |name: &str, about: &str, schema: Value| {
        let mut parameter = json!({ "name": name, "in": "query" });
        parameter["description"] = about.into();
        parameter["schema"] = schema;
        parameter
    };
    let header = |name: &str, about: &str, schema: Value| {
        let mut parameter = query(name, about, schema);
        parameter["in"] = "header".into();
        parameter
    };
    let number = || json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    let responses: Map<String, Value> = STATUSES
        .iter()
        .map(|(status, about, _)| {
            let mut response = json!({
                "description": about,
                "content": {
                    "application/json": { "schema": { "$ref": "#/components/schemas/Envelope" } },
                },
            });
            if *status == "429" {
                response["headers"] = json!({
                    "Retry-After": { "schema": { "type": "integer", "minimum": 1 } },
                    "x-tollgate-refusal": {
                        "description": "JSON: the dimension, and what the caller may know of the limit.",
                        "schema": { "type": "string" },
                    },
                });
            }
            ((*status).to_owned(), response)
        })
        .collect();
    let mut schemas = schema::rows();
    schemas.insert(
        "Envelope".into(),
        json!({
            "type": "object",
            "required": ["result"],
            "properties": {
                "result": { "type": "array", "items": { "type": "object" } },
                "errors": { "type": "array", "items": { "$ref": "#/components/schemas/Error" } },
                "next_key": { "type": "integer" },
                "pagination": { "type": "object" },
            },
            "additionalProperties": false,
        }),
    );
    schemas.insert(
        "Error".into(),
        json!({
            "type": "object",
            "required": ["code", "reason"],
            "additionalProperties": false,
            "properties": {
                "code": { "type": "integer", "minimum": 1, "maximum": 6 },
                "reason": { "type": "string" },
                "id": { "type": "integer" },
                "selector": { "type": "string" },
                "field": { "type": "string" },
            },
        }),
    );
    json!({
        "securitySchemes": { "token": {
            "type": "apiKey", "in": "header", "name": "Authorization",
            "description": "`FlespiToken <key>`",
        } },
        "parameters": {
            "cid": header("x-flespi-cid", "The account of the caller's branch that the call is for.",
                json!({ "type": "integer", "minimum": 1, "maximum": i64::MAX })),
            "if_match": header("If-Match", "Only if the item still has this revision: the `ETag`, or `*`.",
                json!({ "type": "string", "pattern": "^(\\*|\"[0-9]{1,18}\")$" })),
            "fields": query("fields", "Names of fields, with commas; dots go into objects.", json!({ "type": "string" })),
            "dry_run": query("dry_run", "Says what the call would do, and does nothing.",
                json!({ "enum": ["true", "false", "1", "0", ""] })),
            "limit": query("limit", "So many rows at most.", number()),
            "offset": query("offset", "Rows to pass over.", number()),
            "format": query("format", "What messages are written as; `Accept` says it too.",
                json!({ "enum": ["json", "ndjson", "csv", "gpx"] })),
        },
        "responses": responses,
        "schemas": schemas,
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
